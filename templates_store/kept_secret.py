"""Other secrets of the device, kept under the store's key source: a board's channel key, the keys of the cards, the one
that opens what is sealed for the device.

    secret (KeySource) ─ HKDF, one label a kind ──► wrapping key ─ AES-256-GCM ──► the file

Where the store's secret is itself a plain file they are plain files beside it: wrapping them under a key that lies next
to them would only look safer. Elsewhere a plain file (carried here, or of an earlier version) is taken in when it is
first read: wrapped, put in its own place, and the old bytes overwritten.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from canteen.private_file import PrivateFileRefused, read_private_file
from templates_store.epoch_keys import replace_private_file
from templates_store.errors import KeyUnavailable, StoreUnavailable
from templates_store.key_source import KeySource
from templates_store.sealing import NONCE_BYTES, derive, seal, unseal

_log = logging.getLogger("canteen.templates_store.kept_secret")

_MAGIC = b"canteen wrapped secret 1\n"
_LABEL = b"canteen kept secret v1: "
_TAG_BYTES = 16
_MORE_BYTES = len(_MAGIC) + NONCE_BYTES + _TAG_BYTES


class SecretKind(StrEnum):
    """What it is for; its wrapping key is derived for that alone, so that no file opens in the place of another."""

    CHANNEL_KEY = "channel key"
    CARD_READING = "card reading keys"
    CARD_MASTER = "card master secret"
    OPENING_KEY = "opening key"
    """Of what is sealed for this device, hands among it."""


class Keeping(StrEnum):
    """How a secret lies on the disk."""

    WRAPPED = "wrapped"
    PLAIN = "plain"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class KeptSecrets:
    """Reads and keeps them. It holds the way to the secret, never the secret.

    Attributes:
        may_create: the store is new, so the secret that everything rests on is made where there is none.
    """

    source: KeySource
    may_create: bool = False

    def read(self, path: Path, size: int, kind: SecretKind) -> bytes:
        """The `size` bytes kept in `path`; a plain file is taken in.

        Raises:
            PrivateFileRefused: no such file, of another size, or open to others.
            KeyUnavailable: the key source does not answer, or it was wrapped under another one, or changed.
        """
        if self.keeping(path, size) is Keeping.WRAPPED:
            return self._unwrap(path, size, kind)
        if self.source.in_the_clear:
            return read_private_file(path, size)
        with _held(path):
            # Of two programs that start at once, one takes it in; the other would read what was just overwritten.
            if self.keeping(path, size) is Keeping.WRAPPED:
                return self._unwrap(path, size, kind)
            secret = read_private_file(path, size)
            try:
                self.keep(path, secret, kind)
            except OSError as error:  # a full or read-only disk stops no lunch; the doctor says that it is still plain
                _log.warning("%s could not be wrapped: %s", path, error.strerror)
            else:
                _log.info("%s: the plain key was wrapped and overwritten", path)
        return secret

    def read_or_make(self, path: Path, size: int, kind: SecretKind) -> bytes:
        """As `read`; on first use `size` random bytes are made and kept there. Raises OSError where they cannot be."""
        if not path.exists():
            self.keep(path, secrets.token_bytes(size), kind)
        return self.read(path, size, kind)

    def keep(self, path: Path, secret: bytes, kind: SecretKind) -> None:
        """Put `secret` into `path`, in the place of what was there: whole or not at all, the old bytes overwritten.

        Raises:
            KeyUnavailable: the key source does not answer; nothing was changed.
            OSError: it could not be written; what was there stands.
        """
        content = secret
        if not self.source.in_the_clear:
            content = _MAGIC + seal(self._wrapping_key(kind), secret, _bound(kind, len(secret)))
        replace_private_file(path, content)

    def keeping(self, path: Path, size: int) -> Keeping:
        """How the secret of `size` bytes in `path` lies there, without opening it."""
        try:
            held = path.lstat().st_size
        except OSError:
            return Keeping.MISSING
        return Keeping.WRAPPED if held == _MORE_BYTES + size else Keeping.PLAIN

    def _unwrap(self, path: Path, size: int, kind: SecretKind) -> bytes:
        untrusted = read_private_file(path, _MORE_BYTES + size)
        if not untrusted.startswith(_MAGIC):
            raise PrivateFileRefused(path, f"does not hold {size} bytes")
        try:
            return unseal(self._wrapping_key(kind), untrusted[len(_MAGIC) :], _bound(kind, size))
        except KeyUnavailable:
            raise
        except StoreUnavailable as error:
            raise KeyUnavailable(f"{path}: wrapped under another key source, or damaged") from error

    def _wrapping_key(self, kind: SecretKind) -> bytes:
        return derive(self.source.secret(may_create=self.may_create), _LABEL + kind.value.encode())


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """The file of this name is ours alone while it is taken in. Raises PrivateFileRefused if there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PrivateFileRefused(path, f"cannot be opened ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(path, descriptor):  # otherwise it was replaced while we waited
                yield
                return
        finally:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _bound(kind: SecretKind, size: int) -> bytes:
    return f"{kind.value}|{size}".encode()
