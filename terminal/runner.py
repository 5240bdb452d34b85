"""The main loop: one queue, one thread, the table."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable

from terminal.actions import Actions
from terminal.answer_clock import AnswerClock
from terminal.devices import Devices, HandCapture
from terminal.display.faces import EMERGENCY
from terminal.inbox import Inbox, Occurrence
from terminal.pass_machine import (
    DEADLINES_S,
    PASSAGE_GRACE_S,
    Event,
    PassAttempt,
    State,
    next_row,
    rearms_deadline,
)
from terminal.presenter import Presenter
from terminal.service_manager import ServiceManager

_log = logging.getLogger("canteen.terminal.runner")

HOUSEKEEPING_S = 0.5
"""How often orders are looked for and the foot line is read."""
_AT_REST = frozenset({State.IDLE, State.SHOWING_DENIAL, State.OUT_OF_SERVICE})
_NOBODY_WAITS = _AT_REST | {State.TYPING_CODE, State.PASSAGE_OPEN, State.CLOSING}
"""In these the next word is the pupil's: a few milliseconds between two keys are nobody's."""


class Runner:
    """Takes what happens in order, does what the table says, and keeps every state's deadline."""

    def __init__(
        self,
        devices: Devices,
        inbox: Inbox,
        actions: Actions,
        presenter: Presenter,
        apply_orders: Callable[[], bool],
        hear_neighbours: Callable[[Callable[[], bool]], bool],
        check_when_due: Callable[[], None],
        keep_reserve: Callable[[], None],
        service_manager: ServiceManager,
        answers: AnswerClock,
        *,
        passage_timeout_s: float,
    ) -> None:
        """`apply_orders` and `hear_neighbours` do some of what waits and say whether more does; no call waits long."""
        self._monotonic_s = devices.clock.monotonic_s
        self._inbox, self._actions, self._presenter = inbox, actions, presenter
        self._apply_orders, self._hear_neighbours = apply_orders, hear_neighbours
        self._check_when_due, self._keep_reserve = check_when_due, keep_reserve
        self._service_manager, self._answers = service_manager, answers
        self._deadlines_s = {**DEADLINES_S, State.PASSAGE_OPEN: passage_timeout_s + PASSAGE_GRACE_S}
        self.state = State.OUT_OF_SERVICE
        self.attempt = PassAttempt()
        self._deadline_s: float | None = None
        self._housekeeping_at_s = 0.0
        self._stopping = False

    def run(self) -> None:
        """Serve until `STOPPING` is posted."""
        self._arm()
        while not self._stopping:
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - the outermost frame: the lane closes, says so, and tries again
                self._fail(error)
            # Here and nowhere else: a loop that hangs in whatever it does is a terminal that is started anew.
            self._service_manager.turned()
        self._service_manager.stopping()

    def turn(self, *, may_wait: bool = True) -> bool:
        """One occurrence, deadline or round of housekeeping; whether there was anything to do."""
        now_s = self._monotonic_s()
        due_s = min(self._housekeeping_at_s, now_s + HOUSEKEEPING_S if self._deadline_s is None else self._deadline_s)
        occurrence = self._inbox.next(max(0.0, due_s - now_s) if may_wait else 0.0)
        now_s = self._monotonic_s()
        self._answers.begin()
        try:
            return self._take(occurrence, now_s)
        finally:
            if self._answers.ended():
                self._presenter.show_again()

    def _take(self, occurrence: Occurrence | None, now_s: float) -> bool:
        """What there is to do now; whether there was anything."""
        # What happened before the deadline comes first; a flood of keys after it does not put it off.
        if self._deadline_s is not None and self._deadline_s <= (now_s if occurrence is None else occurrence.at_s):
            self.handle(Occurrence(Event.DEADLINE, self._deadline_s))
            if occurrence is not None:
                self._inbox.put_first([occurrence])
            return True
        if occurrence is not None:
            self.handle(occurrence)
            return True
        if now_s >= self._housekeeping_at_s:
            self._keep_house(now_s)
        return False

    def handle(self, occurrence: Occurrence) -> None:
        """Take one occurrence through the table, with all that the actions report."""
        if occurrence.event is Event.STOPPING:
            self._stopping = True
        if occurrence.event is Event.BOARD_LOST and occurrence.payload is not None:
            self._presenter.fault = f"board:{occurrence.payload}"
        if occurrence.event is Event.EMERGENCY:
            self._presenter.fault = EMERGENCY
        if isinstance(occurrence.payload, HandCapture) and occurrence.payload.watch != self.attempt.watch:
            return  # the answer to a question that is no longer asked
        events = deque([occurrence.event])
        rearm = False
        while events:
            event = events.popleft()
            row = next_row(self.state, event)
            if row is None:
                continue
            rearm = rearms_deadline(self.state, event, row.target) or rearm
            self.state = row.target
            for action in row.actions:
                done = self._actions.perform(action, self.state, self.attempt, occurrence)
                self.attempt = done.attempt
                if done.event is not None:
                    events.append(done.event)
                    break
        if rearm:
            self._arm()

    def _arm(self) -> None:
        lasts_s = self._deadlines_s.get(self.state)
        self._deadline_s = None if lasts_s is None else self._monotonic_s() + lasts_s

    def _keep_house(self, now_s: float) -> None:
        """Between pupils: orders, neighbours and the foot line. Never while a pupil waits for an answer."""
        self._keep_reserve()
        more = self.state in _NOBODY_WAITS and self._hear_neighbours(lambda: self._inbox.empty)
        more = (self.state in _AT_REST and self._inbox.empty and self._apply_orders()) or more
        self._housekeeping_at_s = now_s if more else now_s + HOUSEKEEPING_S
        if self.state in (State.IDLE, State.OUT_OF_SERVICE):
            self._check_when_due()
        self._presenter.refresh()

    def _fail(self, error: Exception) -> None:
        """Out of service, with what staff can report: where it broke, never the values."""
        where = traceback.extract_tb(error.__traceback__)[-3:]
        path = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(where))
        _log.critical("out of service: %s at %s", type(error).__name__, path)
        self._presenter.fault = type(error).__name__
        try:
            self.handle(Occurrence(Event.FAULT, self._monotonic_s()))
        except Exception as again:  # noqa: BLE001 - the screen itself may be what broke; the lane stays closed
            _log.critical("and the fault could not be shown: %s", type(again).__name__)
            self.state, self.attempt = State.OUT_OF_SERVICE, PassAttempt()
        self._housekeeping_at_s = self._monotonic_s() + HOUSEKEEPING_S
        self._arm()
