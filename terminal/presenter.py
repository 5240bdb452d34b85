"""From state and attempt to screen, lamp and buzzer; and the foot line that staff read."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from canteen.errors import CanteenError
from canteen.identifiers import PassId
from canteen.serving_periods import ServiceMoment, ServingCalendar
from firmware_bridge.devices import Signal, TrayState
from terminal.answer_clock import AnswerClock
from terminal.checkup import Checkup
from terminal.devices import Devices
from terminal.display.faces import NO_ANSWER, STARTING, Face, face_for, tries_left
from terminal.display.language import _, both, said_in
from terminal.display.view import LineStatus, ScreenView, Tone, Words
from terminal.identification import Identification
from terminal.inbox import Inbox
from terminal.pass_machine import DEADLINES_S, PassAttempt, State
from terminal.pass_records import PassRecords

_log = logging.getLogger("canteen.terminal.presenter")

_SIGNALS = {
    Tone.READY: Signal.READY,
    Tone.ASK: Signal.WAIT,
    Tone.GRANTED: Signal.GRANTED,
    Tone.DENIED: Signal.DENIED,
    Tone.FAULT: Signal.FAULT,
}

_BOARD_TEXT_LONGEST = 32
CARD_READER, KEYPAD, TRAYS = "card-reader", "keypad", "trays"
"""The names of their checks."""


class Presenter:
    """Shows; decides nothing."""

    def __init__(
        self,
        devices: Devices,
        inbox: Inbox,
        records: PassRecords,
        identification: Identification,
        answers: AnswerClock,
        *,
        language: str,
        passage_timeout_s: float,
    ) -> None:
        self._devices, self._inbox, self._records = devices, inbox, records
        self._identification = identification
        self._answers = answers
        self._language = language
        self._shows_for_s = {**DEADLINES_S, State.PASSAGE_OPEN: passage_timeout_s}
        self._shown: tuple[State, PassAttempt] = (State.OUT_OF_SERVICE, PassAttempt())
        self._signalled: tuple[Signal, str, PassId | None] | None = None
        self._status = LineStatus()
        self.checkup: Checkup | None = None
        """Its latest findings stand small at the foot, for staff."""
        self.fault: str | None = STARTING
        """Why the lane is out of service, in a word for staff."""

    def show(self, state: State, attempt: PassAttempt) -> None:
        """Screen and board say what `state` and `attempt` say."""
        self._answers.answered()
        self._shown = (state, attempt)
        self._status = replace(self._status, **self._seen_now())
        face = face_for(state, attempt, status=self._status, fault=self.fault)
        self._signal(face, attempt)
        self._devices.screen.show(self._view(face, state, attempt))

    def show_again(self) -> None:
        """What was shown last, in the place of `ask_for_patience`."""
        self.show(*self._shown)

    def ask_for_patience(self) -> None:
        """The lane's own thread is held up: whoever waits is sent to staff. Called on the answer clock's thread."""
        self._signalled = None
        self._devices.board.show(Signal.FAULT, said_in(self._language, NO_ANSWER.board_text)[:_BOARD_TEXT_LONGEST])
        self._devices.screen.show(self._view(NO_ANSWER, State.OUT_OF_SERVICE, PassAttempt()))

    def refresh(self) -> None:
        """Read the foot line anew, and show it if it changed."""
        status = self._read_status()
        if status != self._status:
            self._status = status
            self.show(*self._shown)

    def _signal(self, face: Face, attempt: PassAttempt) -> None:
        """Lamp and buzzer change with the face, not with every digit: the buzzer would repeat itself."""
        text = said_in(self._language, face.board_text)[:_BOARD_TEXT_LONGEST]
        if attempt.typed:
            text = "*" * len(attempt.typed)
        signalled = (_SIGNALS[face.tone], text, attempt.pass_id)
        if signalled != self._signalled:
            self._signalled = signalled
            self._devices.board.show(_SIGNALS[face.tone], text)

    def _view(self, face: Face, state: State, attempt: PassAttempt) -> ScreenView:
        named = face.tone is Tone.GRANTED and attempt.first_name
        return ScreenView(
            state=state.value,
            tone=face.tone,
            pictogram=face.pictogram,
            message=both(face.message).filled(name=attempt.first_name),
            prompt=both(face.prompt).filled(when=self._status.opens_at or ""),
            language=self._language,
            reason=None if attempt.reason is None else attempt.reason.value,
            staff_note=face.staff_note or self.fault if state is State.OUT_OF_SERVICE else face.staff_note,
            digits_typed=len(attempt.typed),
            tries_left=tries_left(attempt) if state in (State.AWAITING_HAND, State.GUIDING) else 0,
            shows_for_s=self._shows_for_s.get(state),
            first_name=attempt.first_name if named else None,
            took_ms=attempt.took_ms,
            place=attempt.place if attempt.tries and state in (State.AWAITING_HAND, State.GUIDING) else None,
            status=self._status,
        )

    def _ill(self) -> tuple[str, ...]:
        latest = None if self.checkup is None else self.checkup.latest
        ill = () if latest is None else latest.at_risk
        # At once, not at the next checkup: pupils stand before it.
        now = {
            CARD_READER: self._inbox.card_reader_loss is not None,
            KEYPAD: self._inbox.keypad_loss is not None,
            f"{TRAYS}-{self._inbox.trays}": self._inbox.trays not in (None, TrayState.READY),
        }
        return (*ill, *(name for name, is_ill in now.items() if is_ill and name not in ill))

    def _seen_now(self) -> dict[str, Any]:
        """What the devices have told since the foot line was read."""
        keys_heard = self._inbox.keypad_loss is None
        by_board = self._devices.card_reader is None
        return {
            "keys_heard": keys_heard,
            "cards_read": self._inbox.card_reader_loss is None and (keys_heard or not by_board),
            "tray_by_hand": self._inbox.trays not in (None, TrayState.READY),
            "tampered": self._inbox.tampered,
            "ill": self._ill(),
        }

    def _read_status(self) -> LineStatus:
        """The foot line; what cannot be read is left as it was, the lane goes on."""
        now = self._devices.clock.utc_now()
        try:
            school = self._identification.calendar
            link = self._devices.box.link
            backlog = self._devices.journal.backlog
            moment = school.calendar.moment_at(now)
        except CanteenError as error:
            _log.warning("the foot line cannot be read: %s", type(error).__name__)
            return self._status
        local = ZoneInfo(school.calendar.timezone)
        return LineStatus(
            code_length=school.code_length,
            connected=link.connected,
            since=None if link.since is None else link.since.isoformat(),
            network=_network_words(link.connected, link.since, now, local),
            backlog=backlog,
            serving_period=None if moment is None else moment.period,
            serving_until=_ends_at(school.calendar, moment),
            opens_at=None if moment else _opens_at(school.calendar, now),
            school=school.school_name,
            clock_trust=self._records.clock_trust(now).value,
            **self._seen_now(),
        )


def _network_words(connected: bool, since: datetime | None, now: datetime, local: ZoneInfo) -> Words:
    if connected:
        return both(_("En ligne"))
    if since is None:
        return both(_("Hors ligne"))
    there = since.astimezone(local)
    days = now - since >= timedelta(hours=20)
    when = there.strftime("%d/%m %H:%M") if days else there.strftime("%H:%M")
    return both(_("Hors ligne depuis {when}")).filled(when=when)


def _ends_at(calendar: ServingCalendar, moment: ServiceMoment | None) -> str | None:
    """When the service of `moment` ends, as the clock on the wall."""
    if moment is None:
        return None
    weekday = moment.day.weekday()
    ends = (p.ends_minute for p in calendar.periods if p.name == moment.period and weekday in p.weekdays)
    return _wall_clock(next(ends, 0))


def _opens_at(calendar: ServingCalendar, now: datetime) -> str | None:
    """When the next service of today begins; None when there is none."""
    local = now.astimezone(ZoneInfo(calendar.timezone))
    if local.date() in calendar.closed_days:
        return None
    minute = local.hour * 60 + local.minute
    starts = [p.starts_minute for p in calendar.periods if local.weekday() in p.weekdays and p.starts_minute > minute]
    return _wall_clock(min(starts)) if starts else None


def _wall_clock(minute: int) -> str:
    return f"{minute // 60 % 24:02d}:{minute % 60:02d}"
