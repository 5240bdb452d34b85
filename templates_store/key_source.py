"""Where the store's secret comes from: a port, and the plainest source, a file of mode 0600.

The others: `systemd_credential.py`, `tpm.py`, `split_key.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from canteen.private_file import PrivateFileRefused, read_or_create_private_file, read_private_file
from templates_store.epoch_keys import EpochKeeper, FileEpochKeeper
from templates_store.errors import KeyUnavailable

SECRET_BYTES = 32
"""All keys of a store are derived from this many random bytes (AES-256 and HMAC-SHA256 want no more)."""


class KeySource(Protocol):
    """Gives the one secret of a store, and says where the epochs' secrets are kept.

    A file, a systemd credential, a TPM and a split key differ in who else could get at them.
    """

    @property
    def in_the_clear(self) -> bool:
        """Whether whoever has the disk has the secret."""
        ...

    def secret(self, *, may_create: bool) -> bytes:
        """The secret, 32 bytes.

        Args:
            may_create: the store is new, so a secret that does not exist yet is made. For a store that exists a missing
                secret is never replaced: a fresh one would open nothing and hide what went wrong.

        Raises:
            KeyUnavailable: there is none, or others could have read it.
        """
        ...

    def epochs(self, store: Path) -> EpochKeeper:
        """The keeper of the epochs' secrets for the store in the file `store`."""
        ...


def epochs_beside(store: Path) -> FileEpochKeeper:
    """The epochs' secrets in a file beside the store."""
    return FileEpochKeeper(store.with_name(store.name + ".epoch"))


@dataclass(frozen=True, slots=True)
class FileKeySource:
    """The secret in a file that only its owner can touch.

    Whoever takes the whole memory card has the file and the store: this source protects a copy of the store, a backup
    and a returned disk, not a stolen terminal. A TPM does better.
    """

    path: Path

    @property
    def in_the_clear(self) -> bool:
        return True

    def secret(self, *, may_create: bool) -> bytes:
        read = read_or_create_private_file if may_create else read_private_file
        try:
            return read(self.path, SECRET_BYTES)
        except (PrivateFileRefused, OSError) as error:
            raise KeyUnavailable(f"the store's key cannot be used: {error}") from error

    def epochs(self, store: Path) -> EpochKeeper:
        return epochs_beside(store)
