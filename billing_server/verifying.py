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
from sync.encoding import Fields
from sync.errors import MalformedMessage
from sync.purge_receipts import BYTES_MOST, Verdict, check_document


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
        untrusted_document = json.loads(untrusted)
        document = Fields(untrusted_document)
        purpose = StatementPurpose(document.text("purpose"))
        statement = document.mapping("statement")
        signature, key = document.signature(), document.octets("verifying_key", 100)
        findings = [Finding("server signature", statement_holds(key, purpose, statement, signature))]
        if expected_key is not None:
            findings.append(Finding("server key is the expected one", key == expected_key))
        if purpose is StatementPurpose.RECEIPTS:
            findings += _receipts(untrusted_document)
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


def _receipts(document: dict[str, Any]) -> list[Finding]:
    words = {
        Verdict.MISSING: "no receipt",
        Verdict.LEASE_ENDED: "no receipt, lease ended",
        Verdict.ABOUT_ANOTHER: "receipt of another purge",
    }
    return [
        Finding(f"{one.purge} {one.device}: {words.get(one.verdict, 'receipt')}", one.good)
        for one in check_document(document).receipts
    ]
