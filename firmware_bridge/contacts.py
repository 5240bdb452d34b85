"""A board's contacts as last reported, and the events their changes mean."""

from __future__ import annotations

from firmware_bridge.devices import (
    BoardEvent,
    EmergencyEnded,
    EmergencyReleased,
    PassageAbandoned,
    PassageCompleted,
    RotationRefused,
    TamperDetected,
    TraysChanged,
    TrayState,
)
from firmware_bridge.osdp_messages import StatusReport


class Contacts:
    """The board reports every contact at every change and at every new session: edges survive a cut.

    Reports queue up in the board, one a poll. So what comes just after an unlock may have been said before it, of
    somebody else's passage: the latch counts once it was reported clear, the lock once it was reported open.
    """

    def __init__(self) -> None:
        self._passage_latched: bool | None = None
        self._rotation_refused: bool | None = None
        self._emergency = False
        self._unlocked = False
        self._seen_open = False
        self._tampered = False

    def unlocked(self) -> None:
        """The board confirmed an unlock, which clears its passage latch."""
        self._passage_latched, self._unlocked, self._seen_open = None, True, False

    def locking(self) -> None:
        """We are about to lock: what locks from here on is our doing, not an abandoned passage."""
        self._unlocked = False

    def session_began(self) -> None:
        """What it held from before is void there too: from here on every report is fresh."""
        self._seen_open = True
        if self._unlocked and self._passage_latched is None:
            self._passage_latched = False

    def forget(self) -> None:
        """The board was lost: what the turnstile did meanwhile is unresolved, contacts are taken as they are found."""
        self._passage_latched = self._rotation_refused = None
        self._unlocked = False

    def update(self, report: StatusReport) -> list[BoardEvent]:
        """Take a report; the events of its edges."""
        events: list[BoardEvent] = []
        if report.passage_latched is not None:
            if report.passage_latched and self._passage_latched is False:
                self._unlocked = False
                events.append(PassageCompleted())
            self._passage_latched = report.passage_latched
        self._seen_open = self._seen_open or report.unlocked is True
        if report.unlocked is False and self._unlocked and self._seen_open:
            self._unlocked = False
            events.append(PassageAbandoned())
        if report.rotation_refused is not None:
            if report.rotation_refused and self._rotation_refused is False:
                events.append(RotationRefused())
            self._rotation_refused = report.rotation_refused
        # Not only its edge: a terminal that starts during an alarm must know.
        if report.emergency is not None and report.emergency is not self._emergency:
            self._emergency = report.emergency
            events.append(EmergencyReleased() if report.emergency else EmergencyEnded())
        return events + self.tamper(report)

    def tamper(self, report: StatusReport) -> list[BoardEvent]:
        """The cover alone: what matters of a peripheral that is no gate."""
        if report.tampered is None:
            return []
        opened = report.tampered and not self._tampered
        self._tampered = report.tampered
        return [TamperDetected()] if opened else []


class TrayContacts:
    """Jam and emptiness of the dispenser; a jam is told first, for it is what a hand can put right."""

    def __init__(self) -> None:
        self._jammed = self._empty = False
        self._state: TrayState | None = None

    def lost(self) -> list[BoardEvent]:
        """Its board does not answer."""
        return self._become(TrayState.LOST)

    def update(self, report: StatusReport) -> list[BoardEvent]:
        """Take a report; the change, if it is one. The first says how it stands."""
        if report.tray_jammed is None and report.tray_empty is None:
            return []
        self._jammed, self._empty = bool(report.tray_jammed), bool(report.tray_empty)
        if self._jammed:
            return self._become(TrayState.JAMMED)
        return self._become(TrayState.EMPTY if self._empty else TrayState.READY)

    def _become(self, state: TrayState) -> list[BoardEvent]:
        if state is self._state:
            return []
        self._state = state
        return [TraysChanged(state)]
