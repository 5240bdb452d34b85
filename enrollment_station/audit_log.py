"""Who looked at, or changed, what of whom, and when. Append-only; pseudonyms, no pupil's name, no code, no hand.

A line is kept for a year (the CNIL's deliberation 2021-122 gives such logs six months to a year), and goes then.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from canteen.identifiers import PupilId, parse_pupil_id
from enrollment_station.errors import AuditUnavailable
from sync.encoding import instant_text


class AuditedAction(StrEnum):
    """What an operator did."""

    ROSTER_SEEN = "roster-seen"
    PUPIL_SEEN = "pupil-seen"
    CODE_SEEN = "code-seen"
    CONSENT_RECORDED = "consent-recorded"
    HAND_TRIED = "hand-tried"
    HAND_SUBMITTED = "hand-submitted"
    HAND_RESTED = "hand-rested"
    HAND_RESUMED = "hand-resumed"
    CAPTURE_FORBIDDEN = "capture-forbidden"
    CARD_ISSUED = "card-issued"
    CARD_ENCODING = "card-encoding"
    """Asked for; whether a card came of it, the next `CARD_ISSUED` says."""
    CARD_CHECKED = "card-checked"
    CARD_WIPED = "card-wiped"
    READER_CALIBRATED = "reader-calibrated"
    REFERENCES_RESENT = "references-resent"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log; `pupil` is None where it is about the list."""

    at: datetime
    operator: str
    action: AuditedAction
    pupil: PupilId | None


_SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, operator TEXT NOT NULL, action TEXT NOT NULL,
    pupil TEXT);
CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
DROP TRIGGER IF EXISTS audit_is_not_shortened;
CREATE TRIGGER IF NOT EXISTS audit_is_kept_for_a_year BEFORE DELETE ON audit
    WHEN julianday(OLD.at) > (SELECT julianday(MAX(at)) FROM audit) - 365
    BEGIN SELECT RAISE(ABORT, 'the audit log is kept for a year'); END;
"""

_SHORTEN = """
DELETE FROM audit WHERE at < ? AND julianday(at) <= (SELECT julianday(MAX(at)) FROM audit) - 365
"""
_KEPT = timedelta(days=365)


class AuditLog:
    """One SQLite file that refuses changes and deletions; safe between threads."""

    def __init__(self, path: Path) -> None:
        """Raises AuditUnavailable if the file cannot be opened."""
        self._lock = threading.Lock()
        self._shortened_for: date | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise AuditUnavailable(f"the audit log cannot be opened: {error}") from error

    def note(self, at: datetime, operator: str, action: AuditedAction, pupil: PupilId | None = None) -> None:
        """One line, on disk before what it is about is shown or done. Raises AuditUnavailable."""
        with self._lock:
            try:
                self._connection.execute(
                    "INSERT INTO audit (at, operator, action, pupil) VALUES (?, ?, ?, ?)",
                    (instant_text(at), operator, action.value, pupil),
                )
            except sqlite3.Error as error:
                raise AuditUnavailable(f"the audit log cannot be written: {error}") from error

    def keep(self, certain: datetime | None) -> None:
        """Let go of lines over a year old, once a day. `certain` is no later than the true time; None: not known.

        Raises AuditUnavailable.
        """
        if certain is None or certain.date() == self._shortened_for:
            return
        with self._lock:
            try:
                self._connection.execute(_SHORTEN, (instant_text(certain - _KEPT),))
            except sqlite3.Error as error:
                raise AuditUnavailable(f"the audit log cannot be shortened: {error}") from error
        self._shortened_for = certain.date()

    def entries(self, latest: int = 100) -> list[AuditEntry]:
        """The latest lines, newest first. Raises AuditUnavailable."""
        with self._lock:
            try:
                rows = self._connection.execute(
                    "SELECT at, operator, action, pupil FROM audit ORDER BY number DESC LIMIT ?", (latest,)
                ).fetchall()
            except sqlite3.Error as error:
                raise AuditUnavailable(f"the audit log cannot be read: {error}") from error
        return [
            AuditEntry(
                datetime.fromisoformat(at),
                operator,
                AuditedAction(action),
                None if pupil is None else parse_pupil_id(pupil),
            )
            for at, operator, action, pupil in rows
        ]

    def close(self) -> None:
        self._connection.close()
