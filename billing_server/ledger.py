"""The ledger: verified journal entries, each in its one place for ever.

(device, generation, sequence) is the permanent key. The same entry again is harmless, another one in its place is a
fork (kept, with an alarm), a hole stops the journal there until it is filled. Nothing is overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.models import Device, Entry, ForkedEntry, Journal
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import canonical, digest
from sync.errors import BadSignature
from sync.facts import FactKind
from sync.messages import GENESIS, JournalEntry
from sync.signing import Purpose, VerifyingKey

FORGOTTEN_BODIES = frozenset({FactKind.REFERENCE_SEALED.value, FactKind.CARD_ISSUED.value})
"""Bodies that are acted on in the same transaction and not kept: a copy of a sealed reference in the ledger would
outlive its purge, and a card number would stay readable to us. The chain and the signature hold without them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a journal is durable here."""

    generation: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: the new entries in order, and where each journal of it now stands.

    Attributes:
        bad_signatures: entries that were not signed by the device; nothing of the journal after one is taken.
    """

    entries: list[JournalEntry]
    marks: list[Mark]
    bad_signatures: int


@dataclass(slots=True)
class _Tail:
    """A journal while entries are appended to it."""

    up_to: int
    digest: str
    new: list[tuple[JournalEntry, str, str]] = field(default_factory=list)


def append(session: Session, device: Device, untrusted_entries: Iterable[JournalEntry], now: datetime) -> Appended:
    """Take in what verifies, chains and follows; `untrusted_entries` are all of `device`.

    Raises:
        UnicodeEncodeError: a body that has no canonical bytes, so that nobody can have signed it.
    """
    result = Appended([], [], 0)
    bad_signatures = 0
    in_order = sorted(untrusted_entries, key=lambda entry: (entry.generation, entry.sequence))
    for generation, group in groupby(in_order, key=lambda entry: entry.generation):
        mark, new, bad = _append_to_journal(session, device, generation, list(group), now)
        result.entries.extend(new)
        result.marks.append(mark)
        bad_signatures += bad
    return Appended(result.entries, result.marks, bad_signatures)


def stored_entry(row: Entry) -> JournalEntry:
    """A stored entry as it was signed; its body must still be here."""
    return JournalEntry(
        device=DeviceId(row.device),
        generation=row.generation,
        sequence=row.sequence,
        previous=row.previous,
        recorded_at=row.recorded_at,
        clock_trust=ClockTrust(row.clock_trust),
        kind=row.kind,
        body=json.loads(row.body or "{}"),
        signature=row.signature,
    )


def _append_to_journal(
    session: Session, device: Device, generation: str, untrusted_entries: Sequence[JournalEntry], now: datetime
) -> tuple[Mark, list[JournalEntry], int]:
    key = VerifyingKey(device.verifying_key)
    journal = session.get(Journal, (device.device, generation), with_for_update=True, populate_existing=True)
    durable = 0 if journal is None else journal.up_to
    tail = _Tail(durable, GENESIS if journal is None else journal.last_digest)
    stored = _stored_digests(session, device, generation, untrusted_entries, durable)
    bad = 0
    about = f"{device.device}/{generation}"
    for untrusted_entry in untrusted_entries:
        header = untrusted_entry.header
        entry_digest = digest(canonical(header))
        place = untrusted_entry.sequence
        if stored.get(place) == entry_digest:
            continue  # it was sent again
        try:
            key.verify(Purpose.JOURNAL_ENTRY, header, untrusted_entry.signature)
        except BadSignature:
            bad += 1
            break
        entry = untrusted_entry
        if place > tail.up_to + 1:
            detail = f"{tail.up_to + 1}-{place - 1}"
            raise_alarm(session, AlarmKind.GAP, about, now, device=device.device, detail=detail)
            break
        if place in stored or entry.previous != tail.digest:
            _keep_fork(session, entry, entry_digest, now)
            continue
        tail.new.append((entry, entry_digest, header["body_digest"]))
        tail.up_to, tail.digest = place, entry_digest
        stored[place] = entry_digest
    if tail.new:
        _store(session, device, generation, journal, tail, now)
        close_alarm(session, AlarmKind.GAP, about, now)
    elif journal is not None:
        journal.last_received_at = now
    return Mark(generation, tail.up_to, tail.digest), [entry for entry, _, _ in tail.new], bad


def _stored_digests(
    session: Session, device: Device, generation: str, entries: Sequence[JournalEntry], durable: int
) -> dict[int, str]:
    """The digests that stand in the places `entries` claim, as far as the journal reaches."""
    first = entries[0].sequence
    if first > durable:
        return {}
    rows = session.execute(
        select(Entry.sequence, Entry.digest).where(
            Entry.device == device.device,
            Entry.generation == generation,
            Entry.sequence.between(first, entries[-1].sequence),
        )
    )
    return {row.sequence: row.digest for row in rows}


def _store(
    session: Session, device: Device, generation: str, journal: Journal | None, tail: _Tail, now: datetime
) -> None:
    if journal is None:
        earlier = session.scalars(select(Journal.generation).where(Journal.device == device.device).limit(1)).first()
        if earlier is not None:
            about = f"{device.device}/{generation}"
            raise_alarm(session, AlarmKind.NEW_GENERATION, about, now, device=device.device)
        journal = Journal(device=device.device, generation=generation, first_received_at=now)
        session.add(journal)
    journal.up_to, journal.last_digest, journal.last_received_at = tail.up_to, tail.digest, now
    session.flush()
    rows = [
        {
            "device": entry.device,
            "generation": entry.generation,
            "sequence": entry.sequence,
            "previous": entry.previous,
            "digest": entry_digest,
            "recorded_at": entry.recorded_at,
            "clock_trust": entry.clock_trust.value,
            "kind": entry.kind,
            "body": _kept_body(entry),
            "body_digest": body_digest,
            "signature": entry.signature,
            "received_at": now,
        }
        for entry, entry_digest, body_digest in tail.new
    ]
    session.execute(insert(Entry.__table__), rows)  # type: ignore[arg-type]  # a mapped class's table is a Table


def _keep_fork(session: Session, entry: JournalEntry, entry_digest: str, now: datetime) -> None:
    kept = select(ForkedEntry.id).where(
        ForkedEntry.device == entry.device,
        ForkedEntry.generation == entry.generation,
        ForkedEntry.sequence == entry.sequence,
        ForkedEntry.digest == entry_digest,
    )
    if session.scalars(kept).first() is not None:
        return
    session.add(
        ForkedEntry(
            device=entry.device,
            generation=entry.generation,
            sequence=entry.sequence,
            digest=entry_digest,
            header=canonical(entry.header).decode(),
            body=_kept_body(entry),
            signature=entry.signature,
            received_at=now,
        )
    )
    session.flush()
    about = f"{entry.device}/{entry.generation}"
    raise_alarm(session, AlarmKind.FORK, about, now, device=entry.device, detail=f"{entry.sequence}")


def _kept_body(entry: JournalEntry) -> str | None:
    return None if entry.kind in FORGOTTEN_BODIES else canonical(entry.body).decode()
