"""Statements that the server signs for people outside: a day's figures, a purge. Ed25519 over canonical JSON.

The same bytes as the protocol's own signatures (see docs/sync-protocol.md, Encoding), with purposes of their own, so
that anybody with the server's public key can check them, offline, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sync.encoding import canonical, octets_text
from sync.signing import SigningKey


class StatementPurpose(StrEnum):
    """What is stated; prefixed to the signed bytes."""

    DAY = "canteen day certificate v1"
    PURGE = "canteen purge certificate v1"
    RECEIPTS = "canteen purge receipts v1"
    RENEWAL = "canteen certificate renewal v1"
    """The one that a device signs: its wish for a fresh certificate."""


def sign_statement(key: SigningKey, purpose: StatementPurpose, statement: Mapping[str, Any]) -> bytes:
    """64 bytes over `purpose` and the canonical `statement`."""
    return Ed25519PrivateKey.from_private_bytes(key.octets).sign(_signed_bytes(purpose, statement))


def statement_holds(key: bytes, purpose: StatementPurpose, statement: Mapping[str, Any], signature: bytes) -> bool:
    """Whether the owner of the public `key` (32 bytes) signed `statement` for `purpose`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed_bytes(purpose, statement))
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_document(key: SigningKey, purpose: StatementPurpose, statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement with its signature and the public key, ready to be written as JSON."""
    return {
        "purpose": purpose.value,
        "statement": dict(statement),
        "signature": octets_text(sign_statement(key, purpose, statement)),
        "verifying_key": octets_text(key.verifying_key.octets),
    }


def _signed_bytes(purpose: StatementPurpose, statement: Mapping[str, Any]) -> bytes:
    return purpose.value.encode() + b"\x00" + canonical(statement)
