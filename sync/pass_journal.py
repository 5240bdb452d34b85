"""The pass journal: append-only, gapless, chained, signed. It is also the outbox: nothing else knows what to send.

One SQLite file that the terminal (or station) appends to and `canteen-sync` reads; the only thing sync writes in it
is the ledger's acknowledgement. WAL with synchronous=FULL: when `append` returns, the fact survives a power cut.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import canonical, instant_text, octets_text
from sync.errors import JournalBroken, JournalUnavailable
from sync.facts import Fact, write_fact
from sync.messages import GENESIS, JournalEntry, entry_header, entry_text, join_batch
from sync.shared_database import open_shared_database
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
"""

_ENTRIES = "SELECT sequence, previous, recorded_at, clock_trust, kind, body, signature FROM entry "
_ENTRIES_AFTER = _ENTRIES + "WHERE sequence > ? ORDER BY sequence LIMIT ?"
_ENTRIES_SINCE = _ENTRIES + "WHERE recorded_at >= ? ORDER BY sequence"

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

    def batch_after(self, sequence: int, most_octets: int) -> JournalBatch | None:
        """The entries that follow `sequence`, as many as make a batch of about `most_octets`, but one; None: none."""
        head = self._one("SELECT device, generation FROM journal")
        if head is None:
            return None
        device, generation = head
        texts: list[str] = []
        octets, up_to = 0, sequence
        with self._lock:
            try:
                rows = self._connection.execute(_ENTRIES_AFTER, (sequence, _BATCH_ENTRIES_MOST))
                for up_to, previous, recorded_at, clock_trust, kind, body, signature in rows:
                    texts.append(
                        entry_text(device, generation, up_to, previous, recorded_at, clock_trust, kind, body, signature)
                    )
                    octets += len(texts[-1])
                    if octets >= most_octets:
                        break
            except sqlite3.Error as error:
                raise JournalUnavailable(f"journal cannot be read: {error}") from error
        return JournalBatch(join_batch(texts), up_to) if texts else None

    def entries_since(self, instant: datetime) -> list[JournalEntry]:
        """The entries recorded at or after `instant`, in order."""
        return self._entries(_ENTRIES_SINCE, instant_text(instant))

    def acknowledge(self, generation: str, sequence: int, entry_digest: str, issued_at: datetime) -> bool:
        """Note that the ledger has all up to `sequence`; False if the acknowledgement is not about this journal.

        The mark moves back only for an acknowledgement that was issued later than any before: a server restored from
        its backup has lost what came after, and gets it again. A repeated or late one is harmless.
        """
        if generation != self.generation or entry_digest != self.digest_of(sequence):
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
        head = self._one("SELECT device, generation FROM journal")
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
                generation=head[1],
                sequence=sequence,
                previous=previous,
                recorded_at=datetime.fromisoformat(recorded_at),
                clock_trust=ClockTrust(clock_trust),
                kind=kind,
                body=json.loads(body),
                signature=signature,
            )
            for sequence, previous, recorded_at, clock_trust, kind, body, signature in rows
        ]

    def _one(self, query: str, *parameters: object) -> tuple[Any, ...] | None:
        with self._lock:
            try:
                row: tuple[Any, ...] | None = self._connection.execute(query, parameters).fetchone()
            except sqlite3.Error as error:
                raise JournalUnavailable(f"journal cannot be read: {error}") from error
        return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
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
        written under a clock that ran ahead, and goes with its neighbours. The last entry always stays.

        Raises:
            JournalUnavailable: nothing was deleted.
        """
        with self._transaction():
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
            last = min(newest - 1, acknowledged, oldest + most - 1, newest if young is None else young[0] - 1)
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

    def append_all(self, facts: list[Fact], recorded_at: datetime, clock_trust: ClockTrust) -> list[JournalEntry]:
        """Record several facts in one commit: all of them or none. Raises JournalUnavailable."""
        entries = []
        with self._transaction():
            generation = self._connection.execute("SELECT generation FROM journal").fetchone()[0]
            last = self._connection.execute(
                "SELECT sequence, digest FROM entry ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            sequence, previous = last or (0, GENESIS)
            for fact in facts:
                sequence += 1
                kind, body = write_fact(fact)
                body["nonce"] = octets_text(secrets.token_bytes(_NONCE_BYTES))
                header = entry_header(
                    self._device, generation, sequence, previous, recorded_at, clock_trust, kind, body
                )
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
                previous = entry.digest
                self._connection.execute(
                    "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        sequence,
                        entry.previous,
                        previous,
                        instant_text(recorded_at),
                        clock_trust.value,
                        entry.kind,
                        canonical(body).decode(),
                        entry.signature,
                    ),
                )
                entries.append(entry)
        return entries
