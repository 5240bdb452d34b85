"""The secure channel's key (SCBK): 16 random bytes, in a file that only its owner reads, or as `ChannelKeys` does."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Protocol

from canteen.private_file import PrivateFileRefused, create_private_file, read_private_file
from firmware_bridge.errors import ChannelKeyRefused

KEY_BYTES = 16
_DEFAULT_KEY = bytes(range(0x30, 0x40))
"""The standard's public installation key (SCBK-D): whoever knows the standard knows it."""


class ChannelKeys(Protocol):
    """Where a panel keeps the channel keys of its peripherals."""

    def read(self, path: Path) -> bytes:
        """The key that is kept under this name. Raises CanteenError: none, or none to be used."""
        ...

    def keep(self, path: Path, key: bytes) -> None:
        """Keep it under this name, in the place of an earlier one. Raises CanteenError, OSError: that one stands."""
        ...


class PlainChannelKeys:
    """In plain files of mode 0600."""

    def read(self, path: Path) -> bytes:
        return read_channel_key(path)

    def keep(self, path: Path, key: bytes) -> None:
        replace_channel_key(path, key)


def new_channel_key() -> bytes:
    """16 random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def read_channel_key(path: Path) -> bytes:
    """The key in `path`.

    Raises:
        ChannelKeyRefused: no such file, someone else's, readable by others, not 16 bytes, or a publicly known key.
    """
    try:
        key = read_private_file(path, KEY_BYTES)
    except PrivateFileRefused as error:
        raise ChannelKeyRefused(str(error)) from error
    check_channel_key(key)
    return key


def create_channel_key(path: Path) -> None:
    """Write a new random key to `path`, mode 0600; an existing file is never replaced.

    Raises:
        FileExistsError: there is a key already.
    """
    create_private_file(path, new_channel_key())


def replace_channel_key(path: Path, key: bytes) -> None:
    """Put another key in the place of the one in `path`, whole or not at all.

    Raises:
        ChannelKeyRefused: no usable key.
    """
    check_channel_key(key)
    fresh = path.with_name(path.name + ".fresh")
    fresh.unlink(missing_ok=True)
    create_private_file(fresh, key)
    fresh.replace(path)


def check_channel_key(key: bytes) -> None:
    """Refuse a key of the wrong length, and keys that are no secret.

    Raises:
        ChannelKeyRefused: see above.
    """
    if len(key) != KEY_BYTES:
        raise ChannelKeyRefused(f"a secure channel key has {KEY_BYTES} bytes")
    if key == _DEFAULT_KEY or len(set(key)) == 1:
        raise ChannelKeyRefused("a publicly known key is no key")
