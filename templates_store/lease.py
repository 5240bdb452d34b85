"""The lease: how long references may be compared without a fresh signed word from the server. Pure.

Three clocks are held against each other. The wall clock may be set back, stop, or jump; the time this machine has run
can only be too little; a time that the server signed was true when it was signed. So:

- *believed* is the latest of all three: nothing that is done to the wall clock lengthens a lease.
- *certain* rests on signed times and running time alone: a wall clock set forward by mistake does not reach it.
- When the believed time passes the lease, comparison stops at once, and stays stopped until a fresh signed word.
- Only when the certain time has passed it too, or the machine has run for `GRACE` without any signed word to the
  contrary, are the references destroyed: a wrong clock suspends a school, it does not wipe it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

GRACE = timedelta(days=2)
"""Of running time. A weekend with the power on; a school that opens only for lunch has longer."""

FRESH = timedelta(minutes=15)
"""A signed time this close to the wall clock has hardly been held back on the way: the two confirm each other."""

SET_BACK_TOLERANCE = timedelta(minutes=2)
"""As `canteen.clock` has it."""


class LeaseStanding(StrEnum):
    """How the lease stands."""

    NONE = "none"
    """There never was one."""
    HOLDS = "holds"
    SUSPENDED = "suspended"
    """Nothing is compared; what is held is kept until the end is confirmed."""
    DESTROYED = "destroyed"


class LeaseEnd(StrEnum):
    """What confirmed that the lease is over, so that references were destroyed."""

    SIGNED_TIME = "signed-time"
    RUNNING_TIME = "running-time"
    GRACE = "grace"


@dataclass(frozen=True, slots=True)
class Lease:
    """Everything about time that a store remembers.

    Attributes:
        until: when the lease ends.
        high_water_mark: the latest wall time that was ever noted.
        signed_time: the latest time that the server signed.
        certain: signed time plus the time the machine has run since; the true time is no earlier.
        suspended: comparison has stopped, and only a signed word lets it go on.
        suspended_ran_s: how long the machine has run since then.
        destroyed_because: what confirmed the end, since the last fresh lease.
    """

    until: datetime | None = None
    high_water_mark: datetime | None = None
    signed_time: datetime | None = None
    certain: datetime | None = None
    suspended: bool = False
    suspended_ran_s: float = 0.0
    destroyed_because: LeaseEnd | None = None

    def believed(self, now: datetime, ran_s: float = 0.0) -> datetime:
        """The latest instant that anything speaks for; `ran_s` is the running time since these facts were noted."""
        ran = timedelta(seconds=ran_s)
        return max([now, *(mark + ran for mark in (self.high_water_mark, self.certain) if mark is not None)])

    @property
    def lasts_s(self) -> float:
        """For how much more running time the lease can hold, whatever the wall clock says."""
        if self.until is None or self.suspended:
            return 0.0
        marks = [mark for mark in (self.high_water_mark, self.certain) if mark is not None]
        return min([(self.until - mark).total_seconds() for mark in marks], default=math.inf)

    def holds(self, now: datetime, ran_s: float = 0.0) -> bool:
        """Whether references may be compared. A store that was never given a lease has none."""
        return self.until is not None and not self.suspended and self.believed(now, ran_s) < self.until

    def tended(self, now: datetime, ran_s: float) -> Lease:
        """The facts `ran_s` later: running time is added up, and a lease whose end is believed is suspended."""
        certain = None if self.certain is None else self.certain + timedelta(seconds=ran_s)
        later = replace(
            self,
            certain=certain,
            suspended_ran_s=self.suspended_ran_s + ran_s if self.suspended else 0.0,
        )
        if later.until is not None and not later.suspended and self.believed(now, ran_s) >= later.until:
            later = replace(later, suspended=True, suspended_ran_s=0.0)
        return later

    @property
    def end(self) -> LeaseEnd | None:
        """What confirms that the lease is over; None while nothing does."""
        if self.until is None:
            return None
        if self.signed_time is not None and self.signed_time >= self.until:
            return LeaseEnd.SIGNED_TIME
        if self.certain is not None and self.certain >= self.until:
            return LeaseEnd.RUNNING_TIME
        if self.suspended and self.suspended_ran_s >= GRACE.total_seconds():
            return LeaseEnd.GRACE
        return None

    def over(self) -> Lease:
        """Once `end` says so: the references are gone."""
        return replace(self, suspended=True, suspended_ran_s=0.0, destroyed_because=self.end)

    def standing(self, now: datetime, ran_s: float = 0.0) -> LeaseStanding:
        """How the lease stands."""
        if self.until is None:
            return LeaseStanding.NONE
        if self.destroyed_because is not None:
            return LeaseStanding.DESTROYED
        return LeaseStanding.HOLDS if self.holds(now, ran_s) else LeaseStanding.SUSPENDED

    def renewed(self, until: datetime) -> Lease:
        """With a fresh lease. A late or repeated order never shortens one (a purge is what ends it early).

        An order that does not lengthen it is no fresh word: it does not lift a suspension.
        """
        if self.until is not None and until <= self.until:
            return self
        return replace(self, until=until, suspended=False, suspended_ran_s=0.0, destroyed_because=None)

    def signed(self, signed_time: datetime, now: datetime) -> Lease:
        """With a time that the server signed; one that is no later than the last is a repetition.

        A wall clock that once ran ahead has left a mark in the future. It is taken back when clock and signed time
        agree with each other and not with the mark; a suspension that rested on it is lifted.
        """
        if self.signed_time is not None and signed_time <= self.signed_time:
            return self
        certain = signed_time if self.certain is None else max(self.certain, signed_time)
        later = replace(self, signed_time=signed_time, certain=certain)
        if abs(now - signed_time) > FRESH:
            return later
        true_now = max(now, certain)
        if later.high_water_mark is not None and later.high_water_mark > true_now + SET_BACK_TOLERANCE:
            later = replace(later, high_water_mark=true_now)
        if later.suspended and later.until is not None and later.believed(now) < later.until:
            later = replace(later, suspended=False, suspended_ran_s=0.0)
        return later

    def noted(self, instant: datetime) -> Lease:
        """With the high-water mark raised; an earlier instant changes nothing."""
        if self.high_water_mark is not None and instant <= self.high_water_mark:
            return self
        return replace(self, high_water_mark=instant)
