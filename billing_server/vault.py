"""Columns that a thief of the database must not read: names, codes, card numbers.

AES-256-GCM with the row's identity as associated data, so that a value cannot be moved to another row; beside it a
keyed
digest where a value must be found again. Codes are few enough to try them all: without the key file a plain digest
would tell them in minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from billing_server.errors import VaultBroken
from canteen.private_file import read_or_create_private_file

_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals and finds; made once from the key file."""

    _sealing: AESGCM = field(repr=False)
    _finding: bytes = field(repr=False)

    @classmethod
    def from_key(cls, key: bytes) -> Vault:
        """The vault of a 32-byte `key`."""
        return cls(AESGCM(_derived(key, b"canteen billing seal v1")), _derived(key, b"canteen billing find v1"))

    @classmethod
    def load_or_create(cls, path: Path) -> Vault:
        """The vault of the key in `path` (mode 0600), made on first use. Raises PrivateFileRefused."""
        return cls.from_key(read_or_create_private_file(path, _KEY_BYTES))

    def seal(self, plaintext: str, place: str) -> bytes:
        """`plaintext` sealed for its `place`, for example "code:p-0123456789abcdef"."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._sealing.encrypt(nonce, plaintext.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """Raises VaultBroken if this was not sealed with our key for this place."""
        try:
            return self._sealing.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise VaultBroken(f"{place.partition(':')[0]} does not open") from error

    def lookup(self, what: str, value: str) -> str:
        """The keyed digest under which a `what` ("code", "card") is found again."""
        return hmac.new(self._finding, f"{what}\x00{value}".encode(), hashlib.sha256).hexdigest()


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, None, purpose).derive(key)
