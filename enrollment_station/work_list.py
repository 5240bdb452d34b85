"""What was begun and must be finished, even if the power goes between two files.

Store and journal are two files, so "erase and say so" is two steps. Each such piece of work is put down here (in the
store) before its first step and struck out after its last; at the next start, whatever is still down is done again.
Every piece is harmless to repeat.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from canteen.identifiers import DeviceId, PupilId, parse_device_id, parse_pupil_id
from sync.encoding import Fields
from sync.fact_bodies import read_fact, write_fact
from sync.facts import ConsentRecorded, FactKind
from templates_store.store import TemplateStore

_DOCUMENT = "unfinished"


@dataclass(slots=True)
class Unfinished:
    """The pieces of work under way."""

    consents: dict[PupilId, ConsentRecorded] = field(default_factory=dict)
    """Consents whose effect or fact may be missing."""
    enrolled: set[PupilId] = field(default_factory=set)
    """Pupils whose new reference the terminals may not have been sent."""
    terminals: set[DeviceId] = field(default_factory=set)
    """Terminals that need every reference there is."""

    def __bool__(self) -> bool:
        return bool(self.consents or self.enrolled or self.terminals)


class WorkList:
    """The list in the store; one thread at a time changes it."""

    def __init__(self, store: TemplateStore) -> None:
        self._store = store
        self._lock = threading.Lock()

    def read(self) -> Unfinished:
        """What is down. Raises StoreUnavailable, or MalformedMessage if the store holds something else there."""
        with self._lock:
            return self._read()

    def begin_consent(self, fact: ConsentRecorded) -> None:
        with self._lock:
            work = self._read()
            work.consents[fact.pupil] = fact
            self._write(work)

    def end_consent(self, pupil: PupilId) -> None:
        with self._lock:
            work = self._read()
            if work.consents.pop(pupil, None) is not None:
                self._write(work)

    def begin_enrolled(self, pupil: PupilId) -> None:
        with self._lock:
            work = self._read()
            work.enrolled.add(pupil)
            self._write(work)

    def end_enrolled(self, pupil: PupilId) -> None:
        with self._lock:
            work = self._read()
            if pupil in work.enrolled:
                work.enrolled.discard(pupil)
                self._write(work)

    def begin_terminals(self, terminals: set[DeviceId]) -> None:
        with self._lock:
            work = self._read()
            if not terminals <= work.terminals:
                work.terminals |= terminals
                self._write(work)

    def end_terminals(self, terminals: set[DeviceId]) -> None:
        with self._lock:
            work = self._read()
            if terminals & work.terminals:
                work.terminals -= terminals
                self._write(work)

    def _read(self) -> Unfinished:
        fields = Fields(self._store.document(_DOCUMENT) or {"consents": [], "enrolled": [], "terminals": []})
        consents = [read_fact(FactKind.CONSENT_RECORDED, item) for item in fields.items("consents")]
        return Unfinished(
            consents={fact.pupil: fact for fact in consents if isinstance(fact, ConsentRecorded)},
            enrolled={parse_pupil_id(item) for item in fields.items("enrolled")},
            terminals={parse_device_id(item) for item in fields.items("terminals")},
        )

    def _write(self, work: Unfinished) -> None:
        self._store.put_document(
            _DOCUMENT,
            {
                "consents": [write_fact(fact)[1] for fact in work.consents.values()],
                "enrolled": sorted(work.enrolled),
                "terminals": sorted(work.terminals),
            },
        )
