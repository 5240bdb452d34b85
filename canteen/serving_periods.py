"""When meals are served: named periods on weekdays, in the school's local time, less the closed days."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from canteen.errors import InvalidServingPeriod

MINUTES_A_DAY = 24 * 60
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class ServingPeriod:
    """One service, for example "midi", Monday to Friday, 11:30 to 13:45.

    Attributes:
        weekdays: 0 is Monday, as in `datetime.date.weekday`.
        starts_minute: minutes after local midnight, included.
        ends_minute: minutes after local midnight, excluded; 1440 is the end of the day.
    """

    name: str
    weekdays: frozenset[int]
    starts_minute: int
    ends_minute: int

    def __post_init__(self) -> None:
        if not (
            self.name
            and self.weekdays
            and self.weekdays <= EVERY_DAY
            and 0 <= self.starts_minute < self.ends_minute <= MINUTES_A_DAY
        ):
            raise InvalidServingPeriod(f"serving period {self.name!r} has no name, no day or no length")


@dataclass(frozen=True, slots=True)
class ServiceMoment:
    """One serving period on one day: what a meal counts for, and what anti-passback compares."""

    day: date
    period: str


@dataclass(frozen=True, slots=True)
class ServingCalendar:
    """The school's periods. The first one that fits an instant wins."""

    timezone: str
    periods: tuple[ServingPeriod, ...]
    closed_days: frozenset[date] = field(default_factory=frozenset)

    def local_day(self, instant: datetime) -> date:
        """The school's calendar day at an aware `instant`."""
        return instant.astimezone(ZoneInfo(self.timezone)).date()

    def moment_at(self, instant: datetime) -> ServiceMoment | None:
        """The service that is open at an aware `instant`, or None."""
        local = instant.astimezone(ZoneInfo(self.timezone))
        day, minute = local.date(), local.hour * 60 + local.minute
        if day in self.closed_days:
            return None
        for period in self.periods:
            if day.weekday() in period.weekdays and period.starts_minute <= minute < period.ends_minute:
                return ServiceMoment(day, period.name)
        return None
