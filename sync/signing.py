"""Ed25519 signatures (RFC 8032) over canonical JSON,
with the purpose signed along so that no message passes for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from canteen.private_file import read_or_create_private_file
from sync.encoding import canonical
from sync.errors import BadSignature, MalformedMessage

_KEY_BYTES = 32


class Purpose(StrEnum):
    """What a signature is for; prefixed to the signed bytes."""

    JOURNAL_ENTRY = "canteen journal entry v1"
    ORDER = "canteen order v1"
    ACKNOWLEDGEMENT = "canteen acknowledgement v1"
    REFERENCE = "canteen reference v1"
    PURGE_RECEIPTS = "canteen purge receipts v1"
    PURGE_REQUEST = "canteen purge request v1"
    GREETING = "canteen greeting v1"
    CERTIFICATE = "canteen certificate v1"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public Ed25519 key, 32 bytes."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != _KEY_BYTES:
            raise MalformedMessage("a verifying key has 32 bytes")

    def verify(self, purpose: Purpose, statement: Mapping[str, Any], signature: bytes) -> None:
        """Raises BadSignature unless this key signed `statement` for `purpose`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.octets).verify(signature, _signed_bytes(purpose, statement))
        except InvalidSignature as error:
            raise BadSignature(purpose.value) from error


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private Ed25519 key; a device's never leaves it."""

    octets: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in `path` (mode 0600), made on first use.

        Raises:
            PrivateFileRefused: the file is open to others or damaged.
        """
        return cls(read_or_create_private_file(path, _KEY_BYTES))

    @property
    def verifying_key(self) -> VerifyingKey:
        return VerifyingKey(self._private().public_key().public_bytes_raw())

    def sign(self, purpose: Purpose, statement: Mapping[str, Any]) -> bytes:
        """64 bytes over `purpose` and the canonical `statement`."""
        return self._private().sign(_signed_bytes(purpose, statement))

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.octets)


def _signed_bytes(purpose: Purpose, statement: Mapping[str, Any]) -> bytes:
    return purpose.value.encode() + b"\x00" + canonical(statement)
