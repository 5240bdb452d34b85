"""The board's contacts as last reported, and the events their changes mean."""

from __future__ import annotations

from firmware_bridge.devices import BoardEvent, PassageAbandoned, PassageCompleted, TamperDetected
from firmware_bridge.osdp_messages import StatusReport


class Contacts:
    """The board reports passage latch and lock at every change and at every new session: edges survive a cut."""

    def __init__(self) -> None:
        self._passage_latched: bool | None = None
        self._unlocked = False
        self._tampered = False

    def unlocked(self) -> None:
        """The board confirmed an unlock, which clears its passage latch."""
        self._passage_latched, self._unlocked = False, True

    def locking(self) -> None:
        """We are about to lock: what locks from here on is our doing, not an abandoned passage."""
        self._unlocked = False

    def forget(self) -> None:
        """The board was lost: what the turnstile did meanwhile is unresolved, contacts are taken as they are found."""
        self._passage_latched, self._unlocked = None, False

    def update(self, report: StatusReport) -> list[BoardEvent]:
        """Take a report; the events of its edges."""
        events: list[BoardEvent] = []
        if report.passage_latched is not None:
            if report.passage_latched and self._passage_latched is False:
                self._unlocked = False
                events.append(PassageCompleted())
            self._passage_latched = report.passage_latched
        if report.unlocked is False and self._unlocked:
            self._unlocked = False
            events.append(PassageAbandoned())
        if report.tampered is not None:
            if report.tampered and not self._tampered:
                events.append(TamperDetected())
            self._tampered = report.tampered
        return events
