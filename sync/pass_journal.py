"""The pass journal: append-only, gapless, chained, signed. It is also the outbox: nothing else knows what to send.

One SQLite file that the terminal (or station) appends to and `canteen-sync` reads; the only thing sync writes in it
is the ledger's acknowledgement, or that it contradicts this journal: then an older copy of the file was put back, and
the writer begins a new generation. WAL with synchronous=FULL: when `append` returns, the fact survives a power cut.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import canonical, instant_text, octets_text
from sync.errors import JournalBroken, JournalUnavailable
from sync.fact_bodies import write_fact
from sync.facts import Fact, FactKind, JournalBegun, OrdersHeld
from sync.messages import GENESIS, JournalEntry, entry_header, entry_text, join_batch
from sync.shared_database import BUSY_S, open_shared_database
from sync.signing import Purpose, SigningKey

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    only INTEGER PRIMARY KEY CHECK (only = 1), device TEXT NOT NULL, generation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    sequence INTEGER PRIMARY KEY, previous TEXT NOT NULL, digest TEXT NOT NULL, recorded_at TEXT NOT NULL,
    clock_trust TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS acknowledged (
    only INTEGER PRIMARY KEY CHECK (only = 1), sequence INTEGER NOT NULL, issued_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (
    only INTEGER PRIMARY KEY CHECK (only = 1), sequence INTEGER NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contradiction (
    only INTEGER PRIMARY KEY CHECK (only = 1), generation TEXT NOT NULL, sequence INTEGER NOT NULL,
    digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS past_entry (
    generation TEXT NOT NULL, sequence INTEGER NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL,
    recorded_at TEXT NOT NULL, clock_trust TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    signature BLOB NOT NULL, PRIMARY KEY (generation, sequence));
"""

_COLUMNS = "sequence, previous, recorded_at, clock_trust, kind, body, signature"
_ENTRIES = f"SELECT (SELECT generation FROM journal), {_COLUMNS} FROM entry "  # noqa: S608 - names of ours
_PAST_SINCE = f"SELECT generation, {_COLUMNS} FROM past_entry WHERE recorded_at >= ? ORDER BY recorded_at, sequence"  # noqa: S608
_ENTRIES_AFTER = _ENTRIES + "WHERE sequence > ? ORDER BY sequence LIMIT ?"
_ENTRIES_SINCE = _ENTRIES + "WHERE recorded_at >= ? ORDER BY sequence"
_FIRST_OF_NEWEST = (
    "SELECT min(sequence) FROM (SELECT sequence FROM entry WHERE recorded_at >= ? ORDER BY sequence DESC LIMIT ?)"
)

_NONCE_BYTES = 12
_FORGOTTEN_AT_ONCE = 500
"""Entries a commit: a lane waits for it between two pupils."""
_BATCH_ENTRIES_MOST = 1000


@dataclass(frozen=True, slots=True)
class JournalBatch:
    """Entries as they are published, and the number of the last of them."""

    payload: bytes
    up_to: int


class JournalReader:
    """What has been recorded, and how far the ledger has it. Safe to use beside one writer in another process."""

    def __init__(self, path: Path) -> None:
        """Opens, or makes, the journal file.

        Raises:
            JournalUnavailable: the file cannot be opened or is no journal.
        """
        self._lock = threading.Lock()
        try:
            self._connection = open_shared_database(path, _SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise JournalUnavailable(f"journal cannot be opened: {error}") from error

    def close(self) -> None:
        self._connection.close()

    @property
    def generation(self) -> str | None:
        """The journal's own random name, or None before its first entry."""
        row = self._one("SELECT generation FROM journal")
        return None if row is None else str(row[0])

    @property
    def last_sequence(self) -> int:
        """The number of the latest entry; 0 when there is none."""
        row = self._one("SELECT max(sequence) FROM entry")
        return 0 if row is None or row[0] is None else int(row[0])

    @property
    def acknowledged_up_to(self) -> int:
        """The number of the latest entry that the ledger has acknowledged."""
        row = self._one("SELECT sequence FROM acknowledged")
        return 0 if row is None else int(row[0])

    @property
    def backlog(self) -> int:
        """How many entries the ledger has not acknowledged."""
        return self.last_sequence - self.acknowledged_up_to

    def digest_of(self, sequence: int) -> str | None:
        """The digest of an entry, or None if there is no such entry (any more, but for the last that was forgotten)."""
        row = self._one("SELECT digest FROM entry WHERE sequence = ?", sequence)
        if row is None:
            row = self._one("SELECT digest FROM forgotten WHERE sequence = ?", sequence)
        return None if row is None else str(row[0])

    @property
    def anchor(self) -> tuple[int, str]:
        """Number and digest of the last entry that was forgotten: what the first one that is left names before it."""
        row = self._one("SELECT sequence, digest FROM forgotten")
        return (0, GENESIS) if row is None else (int(row[0]), str(row[1]))

    def entries_after(self, sequence: int, limit: int = 200) -> list[JournalEntry]:
        """Up to `limit` entries that follow `sequence`, in order."""
        return self._entries(_ENTRIES_AFTER, sequence, limit)

    def batch_after(
        self,
        sequence: int,
        most_octets: int,
        most: int = _BATCH_ENTRIES_MOST,
        kinds: Collection[str] | None = None,
    ) -> JournalBatch | None:
        """The entries that follow `sequence`, as many as make a batch of about `most_octets`, but one; None: none.

        Of the next `most` entries, only those of `kinds`: if there is none among them, the batch has no payload.
        """
        head = self._one("SELECT device FROM journal")
        if head is None:
            return None
        device = head[0]
        texts: list[str] = []
        octets, up_to = 0, sequence
        with self._lock:
            try:
                rows = self._connection.execute(_ENTRIES_AFTER, (sequence, most))
                for generation, up_to, previous, recorded_at, clock_trust, kind, body, signature in rows:
                    if kinds is not None and kind not in kinds:
                        continue
                    texts.append(
                        entry_text(device, generation, up_to, previous, recorded_at, clock_trust, kind, body, signature)
                    )
                    octets += len(texts[-1])
                    if octets >= most_octets:
                        break
            except sqlite3.Error as error:
                raise JournalUnavailable(f"journal cannot be read: {error}") from error
        return JournalBatch(join_batch(texts) if texts else b"", up_to) if up_to > sequence else None

    def first_of_newest(self, most: int, instant: datetime) -> int | None:
        """The number of the oldest of the newest `most` entries recorded at or after `instant`; None: there is none."""
        row = self._one(_FIRST_OF_NEWEST, instant_text(instant), most)
        return None if row is None or row[0] is None else int(row[0])

    def entries_since(self, instant: datetime) -> list[JournalEntry]:
        """The entries recorded at or after `instant`, in order."""
        return self._entries(_ENTRIES_SINCE, instant_text(instant))

    def past_entries_since(self, instant: datetime) -> list[JournalEntry]:
        """The entries of earlier generations recorded at or after `instant`; some of them may be told again in this."""
        return self._entries(_PAST_SINCE, instant_text(instant))

    def latest_of(self, kinds: Collection[str]) -> JournalEntry | None:
        """The newest entry that is of one of `kinds`."""
        marks = ", ".join("?" for _ in kinds)
        found = self._entries(_ENTRIES + f"WHERE kind IN ({marks}) ORDER BY sequence DESC LIMIT 1", *kinds)
        return found[0] if found else None

    def acknowledge(self, generation: str, sequence: int, entry_digest: str, issued_at: datetime) -> bool:
        """Note that the ledger has all up to `sequence`; False if the acknowledgement is not about this journal.

        One that is about this journal and names an entry that is not in it is kept for the writer: the ledger has got
        other entries in our name, so ours is an older copy; or, in its latest word, it stands before what is left here,
        and could never be told what follows.

        The mark moves back only for an acknowledgement that was issued later than any before: a server restored from
        its backup has lost what came after, and gets it again. A repeated or late one is harmless.
        """
        if generation != self.generation:
            return False
        forgotten_up_to, _ = self.anchor
        if sequence < forgotten_up_to:
            latest = self._one("SELECT issued_at FROM acknowledged")
            if latest is not None and instant_text(issued_at) <= latest[0]:
                return False
        if sequence < forgotten_up_to or entry_digest != (self.digest_of(sequence) if sequence else GENESIS):
            with self._transaction():
                self._connection.execute(
                    "INSERT OR REPLACE INTO contradiction VALUES (1, ?, ?, ?)", (generation, sequence, entry_digest)
                )
            return False
        with self._transaction():
            self._connection.execute(
                "INSERT INTO acknowledged VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE"
                " SET sequence = CASE WHEN excluded.issued_at > issued_at THEN excluded.sequence"
                " ELSE max(sequence, excluded.sequence) END, issued_at = max(issued_at, excluded.issued_at)",
                (sequence, instant_text(issued_at)),
            )
        return True

    def _entries(self, query: str, *parameters: object) -> list[JournalEntry]:
        head = self._one("SELECT device FROM journal")
        if head is None:
            return []
        with self._lock:
            try:
                rows = self._connection.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                raise JournalUnavailable(f"journal cannot be read: {error}") from error
        return [
            JournalEntry(
                device=DeviceId(head[0]),
                generation=generation,
                sequence=sequence,
                previous=previous,
                recorded_at=datetime.fromisoformat(recorded_at),
                clock_trust=ClockTrust(clock_trust),
                kind=kind,
                body=json.loads(body),
                signature=signature,
            )
            for generation, sequence, previous, recorded_at, clock_trust, kind, body, signature in rows
        ]

    def _one(self, query: str, *parameters: object) -> tuple[Any, ...] | None:
        with self._lock:
            try:
                row: tuple[Any, ...] | None = self._connection.execute(query, parameters).fetchone()
            except sqlite3.Error as error:
                raise JournalUnavailable(f"journal cannot be read: {error}") from error
        return row

    @contextmanager
    def _transaction(self, within_s: float = BUSY_S) -> Iterator[None]:
        until_s = time.monotonic() + within_s
        if not self._lock.acquire(timeout=within_s):
            raise JournalUnavailable("journal cannot be written: it is being read")
        try:
            try:
                left_s = max(0.0, until_s - time.monotonic())  # one bound for both waits
                self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * left_s)}")
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise JournalUnavailable(f"journal cannot be written: {error}") from error
        finally:
            self._lock.release()


class PassJournal(JournalReader):
    """The writer's side: one per device."""

    def __init__(self, path: Path, device: DeviceId, key: SigningKey) -> None:
        """Opens the journal of `device`, or begins a new generation.

        Raises:
            JournalUnavailable: the file cannot be opened.
            JournalBroken: it is another device's, or its last entry was not signed with `key`.
        """
        super().__init__(path)
        self._device, self._key = device, key
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO journal VALUES (1, ?, ?)", (device, secrets.token_hex(8)))
        row = self._one("SELECT device FROM journal")
        if row is None or row[0] != device:
            raise JournalBroken("the journal belongs to another device")
        for entry in self.entries_after(self.last_sequence - 1, 1):
            if entry.digest != self.digest_of(entry.sequence):
                raise JournalBroken("the journal's last entry was changed")
            entry.verify(key.verifying_key)

    def forget_before(self, instant: datetime, believed_until: datetime, most: int = _FORGOTTEN_AT_ONCE) -> int:
        """Delete entries from the beginning that the ledger has and that were recorded before `instant`; how many.

        The first one recorded in between the two instants stays, with all that follow. One that bears a later time was
        written under a clock that ran ahead: it goes when one that follows it is old, and so tells its age.

        Raises:
            JournalUnavailable: nothing was deleted.
        """
        with self._transaction():
            self._connection.execute("DELETE FROM past_entry WHERE recorded_at < ?", (instant_text(instant),))
            first = self._connection.execute(
                "SELECT min(sequence), max(sequence), (SELECT sequence FROM acknowledged) FROM entry"
            ).fetchone()
            oldest, newest, acknowledged = first
            if oldest is None or not acknowledged:
                return 0
            young = self._connection.execute(
                "SELECT sequence FROM entry WHERE recorded_at >= ? AND recorded_at < ? ORDER BY sequence LIMIT 1",
                (instant_text(instant), instant_text(believed_until)),
            ).fetchone()
            old = self._connection.execute(
                "SELECT sequence FROM entry WHERE recorded_at < ? AND sequence < ? ORDER BY sequence DESC LIMIT 1",
                (instant_text(instant), newest if young is None else young[0]),
            ).fetchone()
            last = 0 if old is None else min(old[0], acknowledged, oldest + most - 1)
            if last < oldest:
                return 0
            self._connection.execute(
                "INSERT OR REPLACE INTO forgotten SELECT 1, sequence, digest FROM entry WHERE sequence = ?", (last,)
            )
            self._connection.execute("DELETE FROM entry WHERE sequence <= ?", (last,))
        return int(last - oldest + 1)

    def append(self, fact: Fact, recorded_at: datetime, clock_trust: ClockTrust) -> JournalEntry:
        """Record `fact`; when this returns, it is on disk.

        Raises:
            JournalUnavailable: it is not: the disk is full, or worse. Whatever it was to allow must not happen.
        """
        return self.append_all([fact], recorded_at, clock_trust)[0]

    def append_all(
        self, facts: list[Fact], recorded_at: datetime, clock_trust: ClockTrust, within_s: float = BUSY_S
    ) -> list[JournalEntry]:
        """Record several facts in one commit: all of them or none. Raises JournalUnavailable.

        `within_s` bounds the wait for whoever else has the file; a disk that hangs knows no bound.
        """
        with self._transaction(within_s):
            return [self._insert(*write_fact(fact), recorded_at, clock_trust) for fact in facts]

    def begin_anew_if_contradicted(
        self, now: datetime, clock_trust: ClockTrust, orders_up_to: int
    ) -> JournalBegun | None:
        """Where the ledger has another journal under our generation's name: a new one, on the record; what was begun.

        Everything that the ledger may lack (what follows its mark here) is told again, with its own instants: the
        ledger knows a pass by its name and bills it once. It ends with the orders that are done here (`orders_up_to`),
        since answers may have been forgotten. The old generation stays in this file. All of it in one commit. To be
        called while no pass is open.

        Raises:
            JournalUnavailable: nothing has changed; try again later.
        """
        if self._one("SELECT 1 FROM contradiction") is None:
            return None
        with self._transaction():
            execute = self._connection.execute
            generation, sequence, entry_digest = execute(
                "SELECT generation, sequence, digest FROM contradiction"
            ).fetchone()
            execute("DELETE FROM contradiction")
            if generation != execute("SELECT generation FROM journal").fetchone()[0]:
                return None
            lacking = execute(
                "SELECT recorded_at, clock_trust, kind, body FROM entry WHERE kind NOT IN (?, ?)"
                " AND sequence > min(?, coalesce((SELECT sequence FROM acknowledged), 0)) ORDER BY sequence",
                (FactKind.JOURNAL_BEGUN, FactKind.ORDERS_HELD, sequence),
            ).fetchall()
            execute(
                "INSERT INTO past_entry SELECT ?, sequence, previous, digest, recorded_at, clock_trust, kind, body,"
                " signature FROM entry",
                (generation,),
            )
            for table in ("entry", "acknowledged", "forgotten"):
                execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
            execute("UPDATE journal SET generation = ?", (secrets.token_hex(8),))
            begun = JournalBegun(generation, sequence, entry_digest, len(lacking))
            self._insert(*write_fact(begun), now, clock_trust)
            for recorded_at, trust, kind, body in lacking:
                self._insert(FactKind(kind), json.loads(body), datetime.fromisoformat(recorded_at), ClockTrust(trust))
            self._insert(*write_fact(OrdersHeld(orders_up_to)), now, clock_trust)
        return begun

    def _insert(
        self, kind: FactKind, body: dict[str, Any], recorded_at: datetime, clock_trust: ClockTrust
    ) -> JournalEntry:
        """Chain, sign and write one entry, inside a transaction."""
        generation = self._connection.execute("SELECT generation FROM journal").fetchone()[0]
        last = self._connection.execute("SELECT sequence, digest FROM entry ORDER BY sequence DESC LIMIT 1").fetchone()
        sequence, previous = last or (0, GENESIS)
        sequence += 1
        body = {**body, "nonce": octets_text(secrets.token_bytes(_NONCE_BYTES))}
        header = entry_header(self._device, generation, sequence, previous, recorded_at, clock_trust, kind, body)
        entry = JournalEntry(
            self._device,
            generation,
            sequence,
            previous,
            recorded_at,
            clock_trust,
            kind.value,
            body,
            self._key.sign(Purpose.JOURNAL_ENTRY, header),
        )
        self._connection.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sequence,
                previous,
                entry.digest,
                instant_text(recorded_at),
                clock_trust.value,
                entry.kind,
                canonical(body).decode(),
                entry.signature,
            ),
        )
        return entry
