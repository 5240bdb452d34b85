"""The ledger: verified journal entries, each in its one place for ever.

(device, generation, sequence) is the permanent key. The same entry again is harmless, another one in its place is a
fork (kept, with an alarm), a hole stops the journal there until it is filled. Nothing is overwritten.

Each entry names the digest of the one before it, so one good signature at the end of a straight chain vouches for all
of it; entry by entry is verified only what is to convince others by itself, or what is not straight.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.bulk import insert_rows, instant_field
from billing_server.entry_rows import FORGOTTEN_BODIES, ROW_COLUMNS, shared_fields
from billing_server.models import Device, Entry, ForkedEntry, Journal
from billing_server.read_batch import ReadBatch, made_ready
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import canonical
from sync.errors import BadSignature
from sync.facts import FactKind
from sync.messages import GENESIS, JournalEntry
from sync.signing import VerifyingKey

EVIDENCE = frozenset({FactKind.PURGE_RECEIPT.value, FactKind.CONSENT_RECORDED.value})
"""Entries that must convince somebody who has nothing else: their own signature is verified, not only the chain's."""

_SEQUENCE, _GENERATION = attrgetter("sequence"), attrgetter("generation")


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a journal is durable here."""

    generation: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of batches: the new entries in order, and where each journal of them now stands.

    Attributes:
        bad_signatures: entries that were not signed by the device; nothing of the journal after one is taken.
    """

    batches: list[ReadBatch]
    marks: list[Mark]
    bad_signatures: int


@dataclass(slots=True)
class _Tail:
    """A journal while entries are appended to it."""

    up_to: int
    digest: str
    new: list[ReadEntry] = field(default_factory=list)


def append(session: Session, device: Device, untrusted_batches: Sequence[ReadBatch], now: datetime) -> Appended:
    """Take in what verifies, chains and follows; `untrusted_batches` are all of `device`."""
    appended, marks = [], []
    bad_signatures = 0
    for generation, batches in sorted(_by_generation(untrusted_batches).items()):
        mark, new, bad = _append_to_journal(session, device, generation, batches, now)
        appended += new
        marks.append(mark)
        bad_signatures += bad
    return Appended(appended, marks, bad_signatures)


def _by_generation(batches: Sequence[ReadBatch]) -> dict[str, list[ReadBatch]]:
    """Batches of one journal each; what is of several, or out of order, becomes one batch a journal."""
    if not all(batch.follows for batch in batches):
        entries = [read for batch in batches for read in batch.untrusted_entries]
        entries.sort(key=_GENERATION)
        batches = [
            made_ready(group[0].device, group)
            for _, some in groupby(entries, _GENERATION)
            if (group := sorted(some, key=_SEQUENCE))
        ]
    by_generation: dict[str, list[ReadBatch]] = {}
    for batch in batches:
        by_generation.setdefault(batch.untrusted_entries[0].generation, []).append(batch)
    return by_generation


def mark_of(session: Session, device: str, generation: str) -> Mark:
    """How far a journal is durable here; nothing of one that is not known."""
    journal = session.get(Journal, (device, generation), populate_existing=True)
    if journal is None or journal.up_to == 0:
        return Mark(generation, 0, GENESIS)
    return Mark(generation, journal.up_to, journal.last_digest)


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
    session: Session, device: Device, generation: str, untrusted_batches: Sequence[ReadBatch], now: datetime
) -> tuple[Mark, list[ReadBatch], int]:
    key = VerifyingKey(device.verifying_key)
    journal = session.get(Journal, (device.device, generation), with_for_update=True, populate_existing=True)
    durable = 0 if journal is None else journal.up_to
    tail = _Tail(durable, GENESIS if journal is None else journal.last_digest)
    stored = _stored_digests(session, device, generation, untrusted_batches, durable)
    bad = 0
    new = _straight(key, tail, stored, untrusted_batches)
    if new is None:
        bad = _judge_each(session, key, tail, stored, untrusted_batches, now)
        new = [made_ready(untrusted_batches[0].device, tail.new)] if tail.new else []
    elif new:
        last = new[-1].untrusted_entries[-1]
        tail.up_to, tail.digest = last.sequence, last.digest
    if new:
        _advance(session, device, generation, journal, tail, now)
        shared = shared_fields(device.device, generation, instant_field(now))
        insert_rows(
            session, Entry, [read.row for batch in new for read in batch.untrusted_entries], ROW_COLUMNS, shared
        )
        close_alarm(session, AlarmKind.GAP, f"{device.device}/{generation}", now)
    elif journal is not None:
        journal.last_received_at = now
    return Mark(generation, tail.up_to, tail.digest), new, bad


def _straight(
    key: VerifyingKey, tail: _Tail, stored: dict[int, str], untrusted_batches: Sequence[ReadBatch]
) -> list[ReadBatch] | None:
    """What is new, if all of it simply continues the journal under one signature; None if each must be judged."""
    new: list[ReadBatch] = []
    place, previous = tail.up_to, tail.digest
    for batch in sorted(untrusted_batches, key=_first_place):
        untrusted = _without(batch, stored)
        if not untrusted.untrusted_entries:
            continue
        first, last = untrusted.untrusted_entries[0], untrusted.untrusted_entries[-1]
        if not untrusted.follows or first.sequence != place + 1 or first.previous != previous:
            return None
        place, previous = last.sequence, last.digest
        new.append(untrusted)
    try:
        for batch in new:
            for one in batch.untrusted_entries if not EVIDENCE.isdisjoint(batch.kinds) else ():
                if one.kind in EVIDENCE:
                    one.entry.verify(key)
        if new:
            new[-1].untrusted_entries[-1].entry.verify(key)
    except BadSignature:
        return None
    return new


def _first_place(batch: ReadBatch) -> int:
    return batch.untrusted_entries[0].sequence


def _without(batch: ReadBatch, stored: dict[int, str]) -> ReadBatch:
    """What of a batch was not sent before."""
    if not stored:
        return batch
    entries = [read for read in batch.untrusted_entries if stored.get(read.sequence) != read.digest]
    return batch if len(entries) == len(batch.untrusted_entries) else made_ready(batch.device, entries)


def _judge_each(
    session: Session,
    key: VerifyingKey,
    tail: _Tail,
    stored: dict[int, str],
    untrusted_batches: Sequence[ReadBatch],
    now: datetime,
) -> int:
    """Entry by entry: append what follows, keep forks apart, stop at a hole or a bad signature; how many were bad."""
    for untrusted in sorted([read for batch in untrusted_batches for read in batch.untrusted_entries], key=_SEQUENCE):
        place = untrusted.sequence
        if stored.get(place) == untrusted.digest:
            continue
        try:
            untrusted.entry.verify(key)
        except BadSignature:
            return 1
        if place > tail.up_to + 1:
            about, detail = f"{untrusted.device}/{untrusted.generation}", f"{tail.up_to + 1}-{place - 1}"
            raise_alarm(session, AlarmKind.GAP, about, now, device=untrusted.device, detail=detail)
            break
        if place in stored or untrusted.previous != tail.digest:
            _keep_fork(session, untrusted, now)
            continue
        tail.new.append(untrusted)
        tail.up_to, tail.digest = place, untrusted.digest
        stored[place] = untrusted.digest
    return 0


def _stored_digests(
    session: Session, device: Device, generation: str, batches: Sequence[ReadBatch], durable: int
) -> dict[int, str]:
    """The digests that stand in the places `batches` claim, as far as the journal reaches."""
    first = min(batch.untrusted_entries[0].sequence for batch in batches)
    last = max(batch.untrusted_entries[-1].sequence for batch in batches)
    if first > durable:
        return {}
    rows = session.execute(
        select(Entry.sequence, Entry.digest).where(
            Entry.device == device.device,
            Entry.generation == generation,
            Entry.sequence.between(first, last),
        )
    )
    return {row.sequence: row.digest for row in rows}


def _advance(
    session: Session, device: Device, generation: str, journal: Journal | None, tail: _Tail, now: datetime
) -> None:
    if journal is None:
        earlier = session.scalars(select(Journal.generation).where(Journal.device == device.device).limit(1)).first()
        if earlier is not None:
            about = f"{device.device}/{generation}"
            raise_alarm(session, AlarmKind.NEW_GENERATION, about, now, device=device.device)
        session.add(
            Journal(
                device=device.device,
                generation=generation,
                up_to=tail.up_to,
                last_digest=tail.digest,
                first_received_at=now,
                last_received_at=now,
            )
        )
        session.flush()
    else:
        journal.up_to, journal.last_digest, journal.last_received_at = tail.up_to, tail.digest, now


def _keep_fork(session: Session, read: ReadEntry, now: datetime) -> None:
    entry = read.entry
    kept = select(ForkedEntry.id).where(
        ForkedEntry.device == entry.device,
        ForkedEntry.generation == entry.generation,
        ForkedEntry.sequence == entry.sequence,
        ForkedEntry.digest == read.digest,
    )
    if session.scalars(kept).first() is not None:
        return
    session.add(
        ForkedEntry(
            device=entry.device,
            generation=entry.generation,
            sequence=entry.sequence,
            digest=read.digest,
            header=canonical(entry.header).decode(),
            body=_kept_body(read),
            signature=entry.signature,
            received_at=now,
        )
    )
    session.flush()
    about = f"{entry.device}/{entry.generation}"
    raise_alarm(session, AlarmKind.FORK, about, now, device=entry.device, detail=f"{entry.sequence}")


def _kept_body(read: ReadEntry) -> str | None:
    return None if read.kind in FORGOTTEN_BODIES else read.body.decode()
