"""The order box: where sync leaves the server's orders and the terminal takes them, in number order.

Sync checks the server's signature before it leaves an order here, the terminal checks it again before it acts. What has
been acted on is erased from the box (secure_delete): a sealed reference must not outlive its purge in here. The box
also
tells the terminal how the line is: since when there is contact, or none.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sync.encoding import instant_text
from sync.errors import MalformedMessage, OrderBoxUnavailable
from sync.greeting import OrderProof, read_order_proof, write_order_proof
from sync.messages import (
    JournalEntry,
    SignedOrder,
    read_entry,
    read_signed_order,
    write_entry,
    write_signed_order,
)
from sync.shared_database import open_shared_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, wire BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS neighbour (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, digest TEXT NOT NULL, recorded_at TEXT NOT NULL,
    wire BLOB NOT NULL, UNIQUE (device, digest));
CREATE TABLE IF NOT EXISTS state (
    only INTEGER PRIMARY KEY CHECK (only = 1), done_up_to INTEGER NOT NULL, connected INTEGER NOT NULL,
    since TEXT, last_contact TEXT, signed_time TEXT);
INSERT OR IGNORE INTO state VALUES (1, 0, 0, NULL, NULL, NULL);
CREATE TABLE IF NOT EXISTS newest (
    only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL, proof BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS asked (only INTEGER PRIMARY KEY CHECK (only = 1));
CREATE TABLE IF NOT EXISTS stick (
    only INTEGER PRIMARY KEY CHECK (only = 1), asked INTEGER NOT NULL, at TEXT, taken INTEGER, refused INTEGER,
    written INTEGER, trouble TEXT);
INSERT OR IGNORE INTO stick (only, asked) VALUES (1, 0);
"""


_NEIGHBOURS_KEPT = 8000
"""Of one neighbour: two days of 2,000 passes with their outcomes."""

_NEIGHBOURS_ENTRY_BYTES = 2000
"""A pass with its signature is 700 bytes; what is larger is none."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """How the line to the server is.

    Attributes:
        since: when the present state began; None before the first attempt.
        last_contact: when the ledger last acknowledged something or an order last came.
        signed_time: the latest instant in a message the server signed.
    """

    connected: bool
    since: datetime | None
    last_contact: datetime | None
    signed_time: datetime | None


@dataclass(frozen=True, slots=True)
class StickVisit:
    """What became of a stick that was plugged in.

    Attributes:
        taken: the server's messages that were believed.
        refused: lines that were not.
        written: entries of the journal that the stick now carries.
        trouble: empty, "no-stick", "no-seal" or the system's own words.
    """

    at: datetime
    taken: int
    refused: int
    written: int
    trouble: str = ""


class OrderBox:
    """One SQLite file between two processes; each opens its own."""

    def __init__(self, path: Path) -> None:
        """Raises OrderBoxUnavailable if the file cannot be opened."""
        self._lock = threading.Lock()
        try:
            self._connection = open_shared_database(path, _SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise OrderBoxUnavailable(f"order box cannot be opened: {error}") from error

    def close(self) -> None:
        self._connection.close()

    def put(self, orders: list[SignedOrder]) -> None:
        """Leave verified orders; one that is here already, or done, is left as it is."""
        with self._transaction():
            done = self._connection.execute("SELECT done_up_to FROM state").fetchone()[0]
            for order in orders:
                if order.number > done:
                    self._connection.execute(
                        "INSERT OR IGNORE INTO waiting VALUES (?, ?)", (order.number, write_signed_order(order))
                    )
                    self._connection.execute(
                        "INSERT INTO newest VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE"
                        " SET number = excluded.number, proof = excluded.proof WHERE excluded.number > number",
                        (order.number, write_order_proof(OrderProof.of(order))),
                    )

    def next_waiting(self) -> SignedOrder | None:
        """The order whose turn it is, or None: nothing waits, or an earlier one is still on its way.

        Raises:
            MalformedMessage: somebody wrote into the box what sync would not have left there.
        """
        with self._lock:
            try:
                row = self._connection.execute(
                    "SELECT wire FROM waiting WHERE number = (SELECT done_up_to + 1 FROM state)"
                ).fetchone()
            except sqlite3.Error as error:
                raise OrderBoxUnavailable(f"order box cannot be read: {error}") from error
        return None if row is None else read_signed_order(row[0])

    def mark_done(self, number: int) -> None:
        """The order `number` has been applied or refused, and its fact is in the journal: erase it here."""
        with self._transaction():
            self._connection.execute("UPDATE state SET done_up_to = max(done_up_to, ?)", (number,))
            self._connection.execute("DELETE FROM waiting WHERE number <= ?", (number,))
        with self._lock, self._connection_errors():
            # The write-ahead log keeps erased pages until it is folded back; an order must not linger there.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def done_up_to(self) -> int:
        return int(self._state()[0])

    @property
    def received_up_to(self) -> int:
        """The highest number with none missing before it: what Hello tells the server."""
        number = self.done_up_to
        with self._lock, self._connection_errors():
            rows = self._connection.execute("SELECT number FROM waiting ORDER BY number").fetchall()
        for (waiting,) in rows:
            if waiting == number + 1:
                number = waiting
        return number

    @property
    def newest_order(self) -> OrderProof | None:
        """The server's own signature on the highest order that ever came, without the order."""
        with self._lock, self._connection_errors():
            row = self._connection.execute("SELECT proof FROM newest").fetchone()
        return None if row is None else read_order_proof(row[0])

    def note_asked(self) -> None:
        """The server asks on which order this device stands; the program with the key is to answer."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO asked VALUES (1)")

    @property
    def is_asked(self) -> bool:
        """Whether that question waits for its answer."""
        with self._lock, self._connection_errors():
            return self._connection.execute("SELECT 1 FROM asked").fetchone() is not None

    def note_answered(self) -> None:
        """The answer is in the journal."""
        with self._transaction():
            self._connection.execute("DELETE FROM asked")

    def ask_stick(self) -> None:
        """Somebody at the device wants the stick exchanged (again)."""
        with self._transaction():
            self._connection.execute("UPDATE stick SET asked = 1")

    @property
    def stick_asked(self) -> bool:
        """Whether that wish waits."""
        with self._lock, self._connection_errors():
            return bool(self._connection.execute("SELECT asked FROM stick").fetchone()[0])

    def note_stick(self, visit: StickVisit) -> None:
        """A stick was exchanged, or could not be."""
        with self._transaction():
            self._connection.execute(
                "UPDATE stick SET asked = 0, at = ?, taken = ?, refused = ?, written = ?, trouble = ?",
                (instant_text(visit.at), visit.taken, visit.refused, visit.written, visit.trouble),
            )

    @property
    def stick(self) -> StickVisit | None:
        """The last visit."""
        with self._lock, self._connection_errors():
            at, taken, refused, written, trouble = self._connection.execute(
                "SELECT at, taken, refused, written, trouble FROM stick"
            ).fetchone()
        instant = _instant(at)
        return None if instant is None else StickVisit(instant, taken, refused, written, trouble)

    def note_link(self, connected: bool, now: datetime) -> None:
        """Sync says how the line is; `since` moves only when it changes."""
        with self._transaction():
            self._connection.execute(
                "UPDATE state SET since = CASE WHEN since IS NULL OR connected <> ? THEN ? ELSE since END,"
                " connected = ?",
                (int(connected), instant_text(now), int(connected)),
            )

    def note_contact(self, now: datetime, signed_time: datetime, *, newest_order: bool = False) -> None:
        """A message signed by the server came in, dated `signed_time`.

        The date of the newest order counts as it is, also backwards: a server whose clock was ahead once puts it right
        with the next one, and orders cannot be played again. An acknowledgement can: it only moves the date forward.
        """
        with self._transaction():
            self._connection.execute(
                "UPDATE state SET last_contact = ?,"
                " signed_time = CASE WHEN ? THEN ? ELSE max(coalesce(signed_time, ''), ?) END",
                (instant_text(now), newest_order, instant_text(signed_time), instant_text(signed_time)),
            )

    def put_neighbours(self, entries: list[JournalEntry]) -> None:
        """Keep passes that neighbouring terminals told of, for this terminal to verify and to remember.

        Of each neighbour so many and no more: nobody may fill this terminal's disk under a neighbour's name.
        """
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO neighbour (device, digest, recorded_at, wire) VALUES (?, ?, ?, ?)",
                [
                    (e.device, e.digest, instant_text(e.recorded_at), wire)
                    for e in entries
                    if len(wire := write_entry(e)) <= _NEIGHBOURS_ENTRY_BYTES
                ],
            )
            for device in {entry.device for entry in entries}:
                self._connection.execute(
                    "DELETE FROM neighbour WHERE device = ? AND arrival <= (SELECT arrival FROM neighbour"
                    " WHERE device = ? ORDER BY arrival DESC LIMIT 1 OFFSET ?)",
                    (device, device, _NEIGHBOURS_KEPT),
                )

    def neighbours_after(self, arrival: int, limit: int = 500) -> list[tuple[int, JournalEntry]]:
        """Neighbours' entries in the order of their arrival, after the one numbered `arrival`; not yet verified.

        Raises:
            MalformedMessage: somebody wrote into the box what sync would not have left there.
        """
        with self._lock, self._connection_errors():
            rows = self._connection.execute(
                "SELECT arrival, wire FROM neighbour WHERE arrival > ? ORDER BY arrival LIMIT ?", (arrival, limit)
            ).fetchall()
        return [(number, read_entry(wire)) for number, wire in rows]

    def forget_neighbours_before(self, instant: datetime) -> None:
        """Passes of earlier days stand in nobody's way any more."""
        with self._transaction():
            self._connection.execute("DELETE FROM neighbour WHERE recorded_at < ?", (instant_text(instant),))

    @property
    def link(self) -> LinkState:
        _, connected, since, last_contact, signed_time = self._state()
        return LinkState(bool(connected), _instant(since), _instant(last_contact), _instant(signed_time))

    def _state(self) -> tuple[int, int, str | None, str | None, str | None]:
        with self._lock, self._connection_errors():
            row: tuple[int, int, str | None, str | None, str | None] = self._connection.execute(
                "SELECT done_up_to, connected, since, last_contact, signed_time FROM state"
            ).fetchone()
        return row

    @contextmanager
    def _connection_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OrderBoxUnavailable(f"order box failed: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._connection_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedMessage("the order box holds no instant where one should be") from error
