"""The lease: how long references may be compared without a fresh signed word from the server."""

from __future__ import annotations

from datetime import datetime


def latest_believable(now: datetime, high_water_mark: datetime | None) -> datetime:
    """`now`, unless a later instant has been written already: setting the clock back gains nothing."""
    return now if high_water_mark is None else max(now, high_water_mark)


def lease_holds(now: datetime, high_water_mark: datetime | None, lease_until: datetime | None) -> bool:
    """Whether references may be compared. A store that was never given a lease has none."""
    return lease_until is not None and latest_believable(now, high_water_mark) < lease_until


def longer_lease(present: datetime | None, until: datetime) -> datetime:
    """The later of the two: a late or repeated order never shortens a lease (a purge is what ends it early)."""
    return until if present is None else max(present, until)
