"""Whose hand should be taken anew, and from which day: what terminals found, and stand-ins with no usual hand behind.

One small document in the store; whoever holds no such reference any more (taken anew, purged, departed) falls out.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from canteen.identifiers import PupilId, parse_pupil_id
from sync.encoding import Fields
from sync.errors import MalformedMessage
from templates_store.encrypted_store import EncryptedStore

_DOCUMENT = "enroll-anew"


@dataclass(frozen=True, slots=True)
class Advice:
    """Take the hand behind `revision` anew, from `due` on (None: now)."""

    revision: int
    due: date | None = None


@dataclass(frozen=True, slots=True)
class AdviceList:
    """The list in the store."""

    store: EncryptedStore
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, pupil: PupilId, advice: Advice) -> None:
        """Remember it, unless the hand has been taken since. Raises StoreUnavailable."""
        with self.lock:
            self._write({**self._read(), pupil: advice})

    def tidy(self) -> None:
        """After a purge or a roster: nobody stays on the list who holds nothing here."""
        with self.lock:
            before = self._read()
            if before:
                self._write(before)

    def due(self, today: date) -> dict[PupilId, int]:
        """Who should come, with the revision that it is about. Raises StoreUnavailable."""
        with self.lock:
            return {
                pupil: advice.revision
                for pupil, advice in self._read().items()
                if advice.due is None or advice.due <= today
            }

    def _write(self, listed: dict[PupilId, Advice]) -> None:
        held = {pupil: self.store.reference_revision(pupil) for pupil in listed}
        content: dict[str, Any] = {
            pupil: {"revision": advice.revision, "due": None if advice.due is None else advice.due.isoformat()}
            for pupil, advice in sorted(listed.items())
            if 0 < held[pupil] <= advice.revision
        }
        self.store.put_document(_DOCUMENT, content)

    def _read(self) -> dict[PupilId, Advice]:
        listed = {}
        for name, untrusted in (self.store.document(_DOCUMENT) or {}).items():
            fields = Fields(untrusted)
            due = fields.optional_text("due")
            try:
                listed[parse_pupil_id(name)] = Advice(
                    fields.integer("revision", 1), None if due is None else date.fromisoformat(due)
                )
            except ValueError as error:
                raise MalformedMessage("a day in the list of hands to take anew cannot be read") from error
        return listed
