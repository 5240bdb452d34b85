"""A secret in two parts: what is on the flash card alone opens nothing, and no code can be looked up with it.

The second part is the machine's: a credential, a TPM, or a file on another medium that staff plug in at start. All
keys of the store rest on both, also the one that codes and cards are looked up by: with one part, trying all 10,000
codes tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from templates_store.epoch_keys import EpochKeeper
from templates_store.key_source import KeySource
from templates_store.sealing import derive

_LABEL = b"canteen templates_store: split secret"


@dataclass(frozen=True, slots=True)
class SplitKeySource:
    """The secret derived from the first part and the device's; the epochs are kept as the device's source does it."""

    first: KeySource
    device: KeySource

    @property
    def in_the_clear(self) -> bool:
        """The second part is elsewhere, or it would be no split: a file is on another medium."""
        return False

    def secret(self, *, may_create: bool) -> bytes:
        device = self.device.secret(may_create=may_create)
        # HKDF: neither part says anything of the result, and the order of the two matters.
        return derive(self.first.secret(may_create=may_create), _LABEL, device)

    def epochs(self, store: Path) -> EpochKeeper:
        return self.device.epochs(store)
