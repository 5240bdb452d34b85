"""The mark of how far the store had come, kept outside its file: an older copy put back stands behind it.

Epochs already stop a copy of before a purge. The mark also notices one of the same epoch, where blocked cards,
consents and the time that has passed would be undone. Two slots, written in turn and in place: a torn write spoils one,
and the other is at most one change behind, which is no rollback.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import NamedTuple

from templates_store.errors import StoreUnavailable
from templates_store.sealing import keyed_digest

_SLOTS = 2
_SLOT_BYTES = 512
"""A sector: what storage writes whole or not at all."""
_NUMBER_BYTES = 8
_DIGEST_BYTES = 32

SALT_BYTES = 16
"""At the head of a SQLCipher file, the one thing in it that is in clear; encrypting anew does not change it."""


class Place(NamedTuple):
    """How far a store has come; places are ordered."""

    epoch: int
    changes: int


class ChangeMark:
    """The latest place that was durable."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Opens, or makes, the mark's file.

        Raises:
            StoreUnavailable: it cannot be opened or made.
        """
        self._key = key
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"the store's mark cannot be opened: {error.strerror}") from error

    def read(self) -> Place | None:
        """The mark, or None where there is none that we wrote."""
        content = os.pread(self._descriptor, _SLOTS * _SLOT_BYTES, 0)
        slots = (content[at : at + _SLOT_BYTES] for at in range(0, len(content), _SLOT_BYTES))
        places = [place for slot in slots if (place := self._parse(slot)) is not None]
        return max(places, default=None)

    def salt(self) -> bytes | None:
        """The salt of the store's file, noted when it was made; None where none was noted."""
        salt = os.pread(self._descriptor, SALT_BYTES, _SLOTS * _SLOT_BYTES)
        return salt if len(salt) == SALT_BYTES else None

    def note_salt(self, salt: bytes) -> None:
        """Raises OSError; written once, it tells an older copy of this store from the file of another."""
        os.pwrite(self._descriptor, salt, _SLOTS * _SLOT_BYTES)

    def write(self, place: Place) -> None:
        """Raises OSError; durable when it returns."""
        numbers = b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in place)
        slot = (numbers + keyed_digest(self._key, numbers)).ljust(_SLOT_BYTES, b"\x00")
        os.pwrite(self._descriptor, slot, place.changes % _SLOTS * _SLOT_BYTES)
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _parse(self, slot: bytes) -> Place | None:
        numbers, digest = slot[: 2 * _NUMBER_BYTES], slot[2 * _NUMBER_BYTES : 2 * _NUMBER_BYTES + _DIGEST_BYTES]
        if not hmac.compare_digest(keyed_digest(self._key, numbers), digest):
            return None
        return Place(int.from_bytes(numbers[:_NUMBER_BYTES], "big"), int.from_bytes(numbers[_NUMBER_BYTES:], "big"))
