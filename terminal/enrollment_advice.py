"""Whose hand has left its reference, or whose reference no hand can be held against here: read anew each time."""

from __future__ import annotations

from canteen.clock import Clock
from templates_store.store import PupilRecord, StoredReference
from terminal.devices import HandReader, TerminalStore


def to_enroll_anew(store: TerminalStore, hand_reader: HandReader, clock: Clock) -> list[PupilRecord]:
    """The pupils of whom staff were told, by class and first name; a third of a millisecond a pupil.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    now, found = clock.utc_now(), []
    for pupil in store.pupils():
        reference = store.reference(pupil.pupil, now)
        if isinstance(reference, StoredReference):
            memory = store.adaptation_history(reference)
            if hand_reader.awaits_enrollment(reference, memory):
                found.append(pupil)
    return sorted(found, key=lambda pupil: (pupil.class_name, pupil.first_name))
