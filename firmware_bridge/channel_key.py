"""The secure channel's key (SCBK): 16 random bytes in a file that only its owner reads."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from firmware_bridge.errors import ChannelKeyRefused

KEY_BYTES = 16
_DEFAULT_KEY = bytes(range(0x30, 0x40))
"""The standard's public installation key (SCBK-D): whoever knows the standard knows it."""


def read_channel_key(path: Path) -> bytes:
    """The key in `path`.

    Raises:
        ChannelKeyRefused: no such file, someone else's, readable by others, not 16 bytes, or a publicly known key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ChannelKeyRefused(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
            raise ChannelKeyRefused(f"{path}: must be a regular file of mode 0600 of this user")
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    check_channel_key(key)
    return key


def create_channel_key(path: Path) -> None:
    """Write a new random key to `path`, mode 0600; an existing file is never replaced.

    Raises:
        FileExistsError: there is a key already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())


def check_channel_key(key: bytes) -> None:
    """Refuse a key of the wrong length, and keys that are no secret.

    Raises:
        ChannelKeyRefused: see above.
    """
    if len(key) != KEY_BYTES:
        raise ChannelKeyRefused(f"a secure channel key has {KEY_BYTES} bytes")
    if key == _DEFAULT_KEY or len(set(key)) == 1:
        raise ChannelKeyRefused("a publicly known key is no key")
