"""Time as a port: programs ask a `Clock`, tests turn a `ManualClock` by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol


class ClockTrust(StrEnum):
    """How far an instant on the journal may be believed."""

    TRUSTED = "trusted"
    """Agrees with a time the server signed within the last days."""
    UNCONFIRMED = "unconfirmed"
    """Runs forward from the last instant we wrote, but no signed time has confirmed it lately."""
    UNTRUSTED = "untrusted"
    """Lies before an instant already written: it was set back, or the battery died."""


class Clock(Protocol):
    """Wall time for facts, monotonic time for deadlines."""

    def utc_now(self) -> datetime:
        """The aware UTC wall time."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's own clocks; the one place of the domain that reads them."""

    def utc_now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told; `set_wall` moves the wall time alone, as a wrong battery does."""

    def __init__(self, start: datetime) -> None:
        self._wall = start
        self._monotonic_s = 0.0

    def utc_now(self) -> datetime:
        return self._wall

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._wall += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def set_wall(self, instant: datetime) -> None:
        self._wall = instant


CONFIRMATION_LASTS = timedelta(days=45)
"""A signed time older than this no longer confirms the clock: a Pi without a battery-backed clock drifts about 1 s a
day, so six weeks cost under a minute; longer than that nobody has looked."""

SET_BACK_TOLERANCE = timedelta(minutes=2)
"""NTP may step a clock back a little at start without anyone meddling."""


def judge_clock(now: datetime, high_water_mark: datetime | None, last_signed_time: datetime | None) -> ClockTrust:
    """How far `now` may be believed, given the latest instant written and the latest time the server signed."""
    latest_known = max((t for t in (high_water_mark, last_signed_time) if t is not None), default=None)
    if latest_known is not None and now < latest_known - SET_BACK_TOLERANCE:
        return ClockTrust.UNTRUSTED
    if last_signed_time is not None and now - last_signed_time <= CONFIRMATION_LASTS:
        return ClockTrust.TRUSTED
    return ClockTrust.UNCONFIRMED
