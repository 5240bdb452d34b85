"""Checks what this server has signed, from the file alone: no configuration, no database, no network."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_server.errors import NotADocument
from billing_server.signed_statement import StatementPurpose, statement_holds
from sync.encoding import Fields, canonical, digest
from sync.errors import BadSignature, MalformedMessage
from sync.facts import FactKind, PurgeReceipt, read_fact
from sync.signing import Purpose, VerifyingKey

BYTES_MOST = 256 * 1024 * 1024
"""A country's school has a few thousand purges of a few kilobytes; a Pi should not read more than this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    what: str
    good: bool


def verify_file(path: Path, expected_key: bytes | None = None) -> list[Finding]:
    """Everything in a certificate or in a file of receipts that can be checked.

    Args:
        path: the JSON file.
        expected_key: the server's public key, if it is known from elsewhere; else the file's own is used, which proves
            only that the file is whole.

    Raises:
        NotADocument: it is none of ours; nothing can be said about it.
    """
    try:
        with path.open("rb") as file:
            untrusted = file.read(BYTES_MOST + 1)
        if len(untrusted) > BYTES_MOST:
            raise NotADocument(f"{path}: too large")
        document = Fields(json.loads(untrusted))
        purpose = StatementPurpose(document.text("purpose"))
        statement = document.mapping("statement")
        signature, key = document.octets("signature", 100), document.octets("verifying_key", 100)
        findings = [Finding("server signature", statement_holds(key, purpose, statement, signature))]
        if expected_key is not None:
            findings.append(Finding("server key is the expected one", key == expected_key))
        if purpose is StatementPurpose.RECEIPTS:
            findings += _receipts(Fields(statement))
    except OSError as error:
        raise NotADocument(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError, MalformedMessage) as error:
        raise NotADocument(f"{path}: not a document of this program") from error
    return findings


def key_octets(text: str) -> bytes:
    """A public key as `canteen-billing keys` prints it. Raises NotADocument."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotADocument("a key is 32 bytes in base64") from error
    if len(octets) != 32:
        raise NotADocument("a key is 32 bytes in base64")
    return octets


def _receipts(statement: Fields) -> list[Finding]:
    keys = {}
    for untrusted in statement.items("devices", 10_000):
        device = Fields(untrusted)
        keys[device.text("device")] = VerifyingKey(device.octets("verifying_key", 100))
    findings = []
    for untrusted_purge in statement.items("purges", 1_000_000):
        purge = Fields(untrusted_purge)
        name = purge.text("purge")
        for untrusted_holder in purge.items("holders"):
            holder = Fields(untrusted_holder)
            what = f"{name} {holder.text('device')}"
            if not holder.flag("confirmed"):
                lease_ended = purge.optional_text("lease_ended_at")
                findings.append(
                    Finding(f"{what}: no receipt" + (", lease ended" if lease_ended else ""), bool(lease_ended))
                )
            else:
                good = _receipt_holds(holder.mapping("receipt"), holder.text("device"), purge, keys)
                findings.append(Finding(f"{what}: receipt", good))
    return findings


def _receipt_holds(receipt: dict[str, Any], device: str, purge: Fields, keys: dict[str, VerifyingKey]) -> bool:
    """Signed with the device's key, a receipt, its own body, of this purge and pupil."""
    fields = Fields(receipt)
    header, body = fields.mapping("header"), fields.mapping("body")
    key = keys.get(device)
    if key is None or header.get("device") != device or header.get("body_digest") != digest(canonical(body)):
        return False
    try:
        key.verify(Purpose.JOURNAL_ENTRY, header, fields.octets("signature", 100))
        fact = read_fact(str(header.get("kind")), body)
    except (BadSignature, MalformedMessage):
        return False
    wanted = (purge.text("purge"), purge.text("pupil"), purge.text("scope"))
    return (
        header.get("kind") == FactKind.PURGE_RECEIPT.value
        and isinstance(fact, PurgeReceipt)
        and (fact.purge, fact.pupil, fact.scope.value) == wanted
    )
