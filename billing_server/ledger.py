"""The ledger: verified journal entries, each in its one place for ever.

(device, generation, sequence) is the permanent key. The same entry again is harmless, another one in its place is a
fork (kept, with an alarm), a hole stops the journal there until it is filled. Nothing is overwritten.

Each entry names the digest of the one before it, so one good signature at the end of a straight chain vouches for all
of it; entry by entry is verified only what is to convince others by itself, or what is not straight.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.bulk import (
    NOTHING,
    digest_field,
    insert_rows,
    instant_field,
    octets_field,
    whole_field,
    word_field,
)
from billing_server.models import Device, Entry, ForkedEntry, Journal
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import canonical
from sync.errors import BadSignature
from sync.facts import FactKind
from sync.messages import GENESIS, JournalEntry
from sync.signing import VerifyingKey

FORGOTTEN_BODIES = frozenset({FactKind.REFERENCE_SEALED.value, FactKind.CARD_ISSUED.value, FactKind.CARD_RETIRED.value})
"""Bodies that are acted on in the same transaction and not kept: a copy of a sealed reference in the ledger would
outlive its purge, and a card number would stay readable to us. The chain and the signature hold without them."""

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
    """What became of a batch: the new entries in order, and where each journal of it now stands.

    Attributes:
        bad_signatures: entries that were not signed by the device; nothing of the journal after one is taken.
    """

    entries: list[ReadEntry]
    marks: list[Mark]
    bad_signatures: int


@dataclass(slots=True)
class _Tail:
    """A journal while entries are appended to it."""

    up_to: int
    digest: str
    new: list[ReadEntry] = field(default_factory=list)


def append(session: Session, device: Device, untrusted_entries: Iterable[ReadEntry], now: datetime) -> Appended:
    """Take in what verifies, chains and follows; `untrusted_entries` are all of `device`."""
    result = Appended([], [], 0)
    bad_signatures = 0
    in_order = sorted(untrusted_entries, key=_SEQUENCE)
    in_order.sort(key=_GENERATION)  # twice by one field is three times as fast as once by a pair
    for generation, group in groupby(in_order, key=_GENERATION):
        mark, new, bad = _append_to_journal(session, device, generation, list(group), now)
        result.entries.extend(new)
        result.marks.append(mark)
        bad_signatures += bad
    return Appended(result.entries, result.marks, bad_signatures)


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
    session: Session, device: Device, generation: str, untrusted_entries: Sequence[ReadEntry], now: datetime
) -> tuple[Mark, list[ReadEntry], int]:
    key = VerifyingKey(device.verifying_key)
    journal = session.get(Journal, (device.device, generation), with_for_update=True, populate_existing=True)
    durable = 0 if journal is None else journal.up_to
    tail = _Tail(durable, GENESIS if journal is None else journal.last_digest)
    stored = _stored_digests(session, device, generation, untrusted_entries, durable)
    bad = 0
    straight = _straight(key, tail, stored, untrusted_entries)
    if straight is None:
        bad = _judge_each(session, key, tail, stored, untrusted_entries, now)
    elif straight:
        tail.new = straight
        tail.up_to, tail.digest = straight[-1].sequence, straight[-1].digest
    if tail.new:
        _store(session, device, generation, journal, tail, now)
        close_alarm(session, AlarmKind.GAP, f"{device.device}/{generation}", now)
    elif journal is not None:
        journal.last_received_at = now
    return Mark(generation, tail.up_to, tail.digest), tail.new, bad


def _straight(
    key: VerifyingKey, tail: _Tail, stored: dict[int, str], untrusted_entries: Sequence[ReadEntry]
) -> list[ReadEntry] | None:
    """The new entries, if all of them simply continue the journal under one signature; None if each must be judged."""
    new: list[ReadEntry] = []
    place, previous = tail.up_to, tail.digest
    for untrusted in untrusted_entries:
        if stored.get(untrusted.sequence) == untrusted.digest:
            continue  # it was sent again
        if untrusted.sequence != place + 1 or untrusted.previous != previous:
            return None
        place, previous = untrusted.sequence, untrusted.digest
        new.append(untrusted)
    try:
        for untrusted in new:
            if untrusted is new[-1] or untrusted.kind in EVIDENCE:
                untrusted.entry.verify(key)
    except BadSignature:
        return None
    return new


def _judge_each(
    session: Session,
    key: VerifyingKey,
    tail: _Tail,
    stored: dict[int, str],
    untrusted_entries: Sequence[ReadEntry],
    now: datetime,
) -> int:
    """Entry by entry: append what follows, keep forks apart, stop at a hole or a bad signature; how many were bad."""
    for untrusted in untrusted_entries:
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
    session: Session, device: Device, generation: str, entries: Sequence[ReadEntry], durable: int
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
    received_at = instant_field(now)
    insert_rows(session, Entry, (_row(read, received_at) for read in tail.new))


def _row(read: ReadEntry, received_at: bytes) -> bytes:
    return b"".join(
        (
            word_field(read.device),
            word_field(read.generation),
            whole_field(read.sequence),
            digest_field(read.previous),
            digest_field(read.digest),
            read.instant,
            word_field(read.clock_trust),
            word_field(read.kind),
            NOTHING if read.kind in FORGOTTEN_BODIES else octets_field(read.body),
            digest_field(read.body_digest),
            octets_field(read.signature),
            received_at,
        )
    )


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
