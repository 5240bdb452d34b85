"""The checks run by themselves: at the start, before each service and once a day, beside the lane."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from canteen.clock import Clock
from canteen.errors import CanteenError
from sync.errors import JournalUnavailable
from sync.facts import DeviceChecked
from terminal.findings import HealthReport
from terminal.identification import Identification

_log = logging.getLogger("canteen.terminal.checkup")

BEFORE_SERVICE = timedelta(minutes=30)
"""Time to call somebody, and to do something about it."""
DAILY_HOUR = 7
_FIRST_WORD_S = 2.0
"""A board needs 0.3 s to shake hands, a camera a second to wake: before that they would be called ill for nothing."""
_ILL_AGAIN_S = 300.0
"""What was found ill is looked at again this often, so that the screen does not go on saying it."""


class Checkup:
    """Knows when the next one is due; each runs on a thread of its own."""

    def __init__(
        self,
        examine: Callable[[], HealthReport],
        identification: Identification,
        clock: Clock,
        record: Callable[[DeviceChecked], None],
    ) -> None:
        """`record` writes into the journal; called by `run_when_due` alone, on the lane's own thread."""
        self._examine, self._identification, self._clock, self._record = examine, identification, clock, record
        self._to_tell: DeviceChecked | None = None
        self._told: DeviceChecked | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_due: datetime | None = None
        self._again_at_s: float | None = None
        self._not_before_s = clock.monotonic_s() + _FIRST_WORD_S
        self.latest: HealthReport | None = None
        """What the last one found; None before the first has ended."""

    def run_now(self) -> HealthReport:
        """Look at everything on this thread, one caller at a time."""
        with self._lock:
            report = self._examine()
            self._again_at_s = self._clock.monotonic_s() + _ILL_AGAIN_S if report.at_risk else None
            before = () if self.latest is None else self.latest.at_risk
            self.latest = report
        if report.at_risk != before or not before:
            found = ", ".join(f"{check.name} {check.verdict.value}" for check in report.checks)
            _log.log(logging.WARNING if report.at_risk else logging.INFO, "checkup: %s", found)
        return report

    def run_when_due(self) -> None:
        """Begin one beside the lane if its time has come, and tell the server of the last one. Never waits long."""
        self._tell()
        if self._clock.monotonic_s() < self._not_before_s or (self._thread is not None and self._thread.is_alive()):
            return
        due = self._latest_due()
        again = self._again_at_s is not None and self._clock.monotonic_s() >= self._again_at_s
        if due == self._last_due and not again:
            return
        scheduled, self._last_due = due != self._last_due, due
        run = partial(self._run_unseen, scheduled=scheduled)
        self._thread = threading.Thread(target=run, name="checkup", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until the one that runs has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _tell(self) -> None:
        """The server's page shows it; a journal that takes nothing is told of by the screen."""
        fact, self._to_tell = self._to_tell, None
        if fact is None:
            return
        try:
            self._record(fact)
            self._told = fact
        except JournalUnavailable:
            self._to_tell = fact

    def _run_unseen(self, *, scheduled: bool) -> None:
        try:
            fact = self.run_now().as_fact()
            if scheduled or fact != self._told:  # not every five minutes while somebody is sent for
                self._to_tell = fact
        except CanteenError as error:  # a store closed under it: the program is ending
            _log.warning("the checkup ended early: %s", type(error).__name__)

    def _latest_due(self) -> datetime | None:
        """The last instant at which one was due; None where even the calendar cannot be read."""
        now = self._clock.utc_now()
        try:
            calendar = self._identification.calendar.calendar
        except CanteenError:
            return self._last_due
        local = now.astimezone(ZoneInfo(calendar.timezone))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        times = [midnight, midnight + timedelta(hours=DAILY_HOUR)]
        if local.date() not in calendar.closed_days:
            times += [
                midnight + timedelta(minutes=period.starts_minute) - BEFORE_SERVICE
                for period in calendar.periods
                if local.weekday() in period.weekdays
            ]
        return max(time for time in times if time <= local)
