"""Purge receipts checked from their bytes: each by the public key of the device that erased, and by nothing else.

What is told of a receipt stands in what that device signed; the rest of the file only says which receipts there should
be. The keys may come from the devices themselves (`canteen-terminal keys`), so that nobody has to believe the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sync.encoding import Fields, canonical, digest, octets_text
from sync.errors import BadSignature, MalformedMessage
from sync.fact_bodies import read_fact
from sync.facts import FactKind, PurgeReceipt
from sync.messages import JournalEntry
from sync.pass_journal import JournalReader
from sync.signing import Purpose, VerifyingKey

BYTES_MOST = 256 * 1024 * 1024
"""A country's school has a few thousand purges of a few kilobytes; a Pi should not read more than this."""

OF_ONE_DEVICE = "canteen device receipts v1"
"""What a device writes of its own journal: no signature around it, each receipt has its own."""
_PAGE = 500


class NotReceipts(MalformedMessage):
    """It is no file of receipts; nothing can be said about it."""


class Verdict(StrEnum):
    """What a receipt comes to."""

    HOLDS = "holds"
    BAD_SIGNATURE = "bad-signature"
    """Not signed by that device's key, or changed since."""
    ABOUT_ANOTHER = "about-another"
    """Signed by that device, but of another purge, pupil or scope."""
    MISSING = "missing"
    LEASE_ENDED = "lease-ended"
    """No receipt, but the lease of what that device held is over."""


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """One holder's part in one purge.

    Attributes:
        receipt: what the device signed; None unless it did.
        key_given: whether the key is one that the caller brought, not one out of the file.
    """

    purge: str
    device: str
    verdict: Verdict
    receipt: PurgeReceipt | None = None
    key_given: bool = False

    @property
    def good(self) -> bool:
        """Whether the officer has nothing to ask."""
        return self.verdict in {Verdict.HOLDS, Verdict.LEASE_ENDED}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A whole file of receipts.

    Attributes:
        server_signed: whether the file is whole as the server made it; None for a device's own file.
        server_key: the key it was signed with, as the file says.
        false_keys: devices for which the file names another key than the caller brought.
    """

    server_signed: bool | None
    server_key: bytes | None
    false_keys: tuple[str, ...]
    receipts: tuple[CheckedReceipt, ...]


def check_receipts(path: Path, keys: Mapping[str, VerifyingKey] | None = None) -> CheckedFile:
    """Check every receipt in the file; `keys` go before the file's own.

    Raises:
        NotReceipts: it cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file:
            untrusted = file.read(BYTES_MOST + 1)
        if len(untrusted) > BYTES_MOST:
            raise NotReceipts(f"{path}: too large")
        return check_document(json.loads(untrusted), keys)
    except OSError as error:
        raise NotReceipts(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise NotReceipts(f"{path}: not a file of receipts") from error


def check_document(untrusted: object, keys: Mapping[str, VerifyingKey] | None = None) -> CheckedFile:
    """As `check_receipts`, of what was in the file. Raises MalformedMessage."""
    given = keys or {}
    document = Fields(untrusted)
    purpose = document.text("purpose")
    if purpose == OF_ONE_DEVICE:
        device = document.text("device")
        named = {device: VerifyingKey(document.octets("verifying_key", 100))}
        bare = (_bare(receipt, device, named, given) for receipt in document.items("receipts", 10_000_000))
        return CheckedFile(None, None, _false_keys(named, given), tuple(bare))
    if purpose != Purpose.PURGE_RECEIPTS:
        raise NotReceipts("not a file of receipts")
    statement = document.mapping("statement")
    server_key = VerifyingKey(document.octets("verifying_key", 100))
    fields = Fields(statement)
    named = {}
    for untrusted_device in fields.items("devices", 10_000):
        one = Fields(untrusted_device)
        named[one.text("device")] = VerifyingKey(one.octets("verifying_key", 100))
    return CheckedFile(
        _is_signed(server_key, statement, document.signature()),
        server_key.octets,
        _false_keys(named, given),
        tuple(_holders(fields, named, given)),
    )


def device_receipts(journal: JournalReader, device: str, key: VerifyingKey) -> dict[str, Any]:
    """Every receipt in a device's own journal, as a document that `check_document` takes."""
    receipts, place = [], 0
    while entries := journal.entries_after(place, _PAGE):
        receipts += [_written(entry) for entry in entries if entry.kind == FactKind.PURGE_RECEIPT]
        place = entries[-1].sequence
    octets = octets_text(key.octets)
    return {"purpose": OF_ONE_DEVICE, "device": device, "verifying_key": octets, "receipts": receipts}


def _written(entry: JournalEntry) -> dict[str, Any]:
    return {"header": entry.header, "body": entry.body, "signature": octets_text(entry.signature)}


def _holders(
    fields: Fields, named: Mapping[str, VerifyingKey], given: Mapping[str, VerifyingKey]
) -> Iterator[CheckedReceipt]:
    for untrusted_purge in fields.items("purges", 1_000_000):
        purge = Fields(untrusted_purge)
        name, wanted = purge.text("purge"), (purge.text("purge"), purge.text("pupil"), purge.text("scope"))
        for untrusted_holder in purge.items("holders"):
            holder = Fields(untrusted_holder)
            device = holder.text("device")
            if not holder.flag("confirmed"):
                ended = purge.optional_text("lease_ended_at") is not None
                yield CheckedReceipt(name, device, Verdict.LEASE_ENDED if ended else Verdict.MISSING)
                continue
            receipt = _signed_receipt(holder.mapping("receipt"), device, given.get(device) or named.get(device))
            if receipt is None:
                yield CheckedReceipt(name, device, Verdict.BAD_SIGNATURE)
                continue
            is_it = (receipt.purge, receipt.pupil, receipt.scope.value) == wanted
            verdict = Verdict.HOLDS if is_it else Verdict.ABOUT_ANOTHER
            yield CheckedReceipt(name, device, verdict, receipt, device in given)


def _bare(
    untrusted: object, device: str, named: Mapping[str, VerifyingKey], given: Mapping[str, VerifyingKey]
) -> CheckedReceipt:
    """A receipt that nothing in the file announces: what it says is all there is."""
    fields = Fields(untrusted)
    receipt = _signed_receipt(
        {**untrusted} if isinstance(untrusted, dict) else {}, device, given.get(device, named[device])
    )
    if receipt is None:
        return CheckedReceipt(str(fields.mapping("body").get("purge"))[:40], device, Verdict.BAD_SIGNATURE)
    return CheckedReceipt(receipt.purge, device, Verdict.HOLDS, receipt, device in given)


def _signed_receipt(untrusted: dict[str, Any], device: str, key: VerifyingKey | None) -> PurgeReceipt | None:
    """The receipt, if this device's key signed it, its own body included."""
    fields = Fields(untrusted)
    header, body = fields.mapping("header"), fields.mapping("body")
    signature = fields.signature()
    if key is None or header.get("device") != device or header.get("body_digest") != digest(canonical(body)):
        return None
    if header.get("kind") != FactKind.PURGE_RECEIPT:
        return None
    try:
        key.verify(Purpose.JOURNAL_ENTRY, header, signature)
        fact = read_fact(FactKind.PURGE_RECEIPT, body)
    except (BadSignature, MalformedMessage):
        return None
    return fact if isinstance(fact, PurgeReceipt) else None


def _is_signed(key: VerifyingKey, statement: Mapping[str, Any], signature: bytes) -> bool:
    try:
        key.verify(Purpose.PURGE_RECEIPTS, statement, signature)
    except BadSignature:
        return False
    return True


def _false_keys(named: Mapping[str, VerifyingKey], given: Mapping[str, VerifyingKey]) -> tuple[str, ...]:
    return tuple(sorted(device for device, key in given.items() if device in named and named[device] != key))
