"""Sealing for one reader: HPKE (RFC 9180), X25519, HKDF-SHA256, AES-256-GCM; the context is bound as `info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from canteen.private_file import read_or_create_private_file
from sync.encoding import canonical
from sync.errors import MalformedMessage, SealBroken

KEY_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public half: anyone may seal for its owner."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_BYTES:
            raise MalformedMessage("a sealing key has 32 bytes")

    def seal(self, plaintext: bytes, context: Mapping[str, Any]) -> bytes:
        """Ciphertext that only the owner opens, and only in the same `context`.

        Raises:
            SealBroken: this is no point an X25519 key can agree with (a small-order one).
        """
        try:
            return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(self.octets), canonical(context))
        except ValueError as error:
            raise SealBroken("not a usable sealing key") from error


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """The private half; never leaves its device."""

    octets: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path) -> OpeningKey:
        """The key in `path` (mode 0600), made on first use.

        Raises:
            PrivateFileRefused: the file is open to others or damaged.
        """
        return cls(read_or_create_private_file(path, KEY_BYTES))

    @property
    def sealing_key(self) -> SealingKey:
        return SealingKey(self._private().public_key().public_bytes_raw())

    def open(self, sealed: bytes, context: Mapping[str, Any]) -> bytes:
        """The plaintext.

        Raises:
            SealBroken: sealed for another, in another context, or changed on the way.
        """
        try:
            return _SUITE.decrypt(sealed, self._private(), canonical(context))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the seal does not open") from error

    def _private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.octets)
