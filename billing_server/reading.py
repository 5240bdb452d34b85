"""What the pages and the machine interface ask of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, false, func, select
from sqlalchemy.orm import Session

from billing_server.models import Alarm, Denial, Device, Entry, Journal, MealPassRow, OrderRow
from canteen.anti_passback import COUNTS_AS_SERVED
from canteen.meal_pass import PassOutcome


def passes_after(
    session: Session, position: int, limit: int, day: date | None = None, period: str | None = None
) -> Sequence[MealPassRow]:
    """Passes in the order in which the ledger took them: read on from the last one, none is skipped or repeated."""
    query = select(MealPassRow).where(MealPassRow.position > position, *_only(day, period))
    return session.scalars(query.order_by(MealPassRow.position).limit(limit)).all()


def outcomes_after(
    session: Session, position: int, limit: int, day: date | None = None, period: str | None = None
) -> Sequence[MealPassRow]:
    """Passes in the order in which their outcomes came in."""
    query = select(MealPassRow).where(MealPassRow.outcome_position > position, *_only(day, period))
    return session.scalars(query.order_by(MealPassRow.outcome_position).limit(limit)).all()


def denials_after(session: Session, position: int, limit: int, day: date | None = None) -> Sequence[Denial]:
    """Denials, as `passes_after`."""
    query = select(Denial).where(Denial.position > position)
    if day is not None:
        query = query.where(Denial.day == day)
    return session.scalars(query.order_by(Denial.position).limit(limit)).all()


def _only(day: date | None, period: str | None) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [] if day is None else [MealPassRow.day == day]
    if period is None:
        return wanted
    # PostgreSQL takes no NUL in a text; no period of ours has one.
    return [*wanted, false() if "\x00" in period else MealPassRow.period == period]


def latest_of_day(session: Session, day: date, limit: int) -> list[MealPassRow | Denial]:
    """Passes and denials of a day, newest first by the device's clock."""
    passes = session.scalars(
        select(MealPassRow)
        .where(MealPassRow.day == day)
        .order_by(MealPassRow.granted_at.desc(), MealPassRow.position.desc())
        .limit(limit)
    ).all()
    denials = session.scalars(
        select(Denial).where(Denial.day == day).order_by(Denial.denied_at.desc(), Denial.position.desc()).limit(limit)
    ).all()
    both: list[MealPassRow | Denial] = [*passes, *denials]
    both.sort(key=happened_at, reverse=True)
    return both[:limit]


def happened_at(row: MealPassRow | Denial) -> datetime:
    """When, by the device's clock."""
    return row.granted_at if isinstance(row, MealPassRow) else row.denied_at


@dataclass(frozen=True, slots=True)
class PeriodCounts:
    """A serving period of a day. `served` are the meals that count; an abandoned pass is none."""

    period: str
    served: int
    by_method: dict[str, int]
    by_outcome: dict[str, int]


@dataclass(frozen=True, slots=True)
class DayCounts:
    """A day in numbers."""

    day: date
    periods: list[PeriodCounts]
    denied: dict[str, int]


def counts_of(session: Session, day: date) -> DayCounts:
    """Meals per serving period, method and outcome, and denials per reason."""
    by_period: dict[str, list[tuple[str, str, int]]] = {}
    grouped = (MealPassRow.period, MealPassRow.method, MealPassRow.outcome)
    rows = session.execute(select(*grouped, func.count()).where(MealPassRow.day == day).group_by(*grouped))
    for period, method, outcome, times in rows:
        by_period.setdefault(period, []).append((method, outcome, times))
    denied = session.execute(
        select(Denial.reason, func.count().label("times"))
        .where(Denial.day == day)
        .group_by(Denial.reason)
        .order_by(Denial.reason)
    )
    return DayCounts(
        day,
        [_period_counts(period, by_period[period]) for period in sorted(by_period)],
        {row.reason: row.times for row in denied},
    )


def _period_counts(period: str, rows: list[tuple[str, str, int]]) -> PeriodCounts:
    by_method: Counter[str] = Counter()
    by_outcome: Counter[str] = Counter()
    for method, outcome, times in rows:
        by_outcome[outcome] += times
        if COUNTS_AS_SERVED[PassOutcome(outcome)]:
            by_method[method] += times
    return PeriodCounts(period, by_method.total(), dict(sorted(by_method.items())), dict(sorted(by_outcome.items())))


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How a device stands with the server.

    Attributes:
        generation: its newest journal, or None before the first entry; `entries` counts all of its journals.
        last_contact: the last entries or the last hello, whichever is later.
        orders_waiting: made, not yet answered.
    """

    device: Device
    last_contact: datetime | None
    generation: str | None
    entries: int
    last_entries_at: datetime | None
    orders_waiting: int
    orders_answered: int
    orders_refused: int
    missing_from: str | None
    pending: dict[str, int]
    """Orders it has not answered, by kind."""
    backlog: int
    """Entries that it says it has, and that are not here."""
    clock_trust: str | None
    """By its newest entry."""


def device_states(session: Session) -> list[DeviceState]:
    """All devices, in the order of their names."""
    journals: dict[str, list[Journal]] = {}
    for journal in session.scalars(select(Journal).order_by(Journal.first_received_at)):
        journals.setdefault(journal.device, []).append(journal)
    counted = session.execute(
        select(
            OrderRow.device,
            func.count().filter(OrderRow.answered_at.is_(None)),
            func.count().filter(OrderRow.answered_at.is_not(None)),
            func.count().filter(OrderRow.refused_why.is_not(None)),
        ).group_by(OrderRow.device)
    )
    orders = {device: (waiting, answered, refused) for device, waiting, answered, refused in counted}
    pending: dict[str, dict[str, int]] = {}
    by_kind = select(OrderRow.device, OrderRow.kind, func.count()).where(OrderRow.answered_at.is_(None))
    for name, kind, number in session.execute(by_kind.group_by(OrderRow.device, OrderRow.kind).order_by(OrderRow.kind)):
        pending.setdefault(name, {})[kind] = number
    gaps = {alarm.device: alarm.detail for alarm in open_alarms(session) if alarm.kind == "gap"}
    states = []
    for device in session.scalars(select(Device).order_by(Device.role.desc(), Device.device)):
        own = journals.get(device.device, [])
        entries_at = max((journal.last_received_at for journal in own), default=None)
        waiting, answered, refused = orders.get(device.device, (0, 0, 0))
        newest = own[-1] if own else None
        received = 0 if newest is None else newest.up_to
        last = None if newest is None else session.get(Entry, (newest.device, newest.generation, newest.up_to))
        states.append(
            DeviceState(
                device=device,
                last_contact=max(filter(None, (device.last_contact, entries_at)), default=None),
                generation=own[-1].generation if own else None,
                entries=sum(journal.up_to for journal in own),
                last_entries_at=entries_at,
                orders_waiting=waiting,
                orders_answered=answered,
                orders_refused=refused,
                missing_from=gaps.get(device.device),
                pending=pending.get(device.device, {}),
                backlog=max(0, (device.said_entries or 0) - received),
                clock_trust=None if last is None else last.clock_trust,
            )
        )
    return states


def open_alarms(session: Session) -> Sequence[Alarm]:
    """What nobody has closed, newest first."""
    return session.scalars(select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.last_at.desc())).all()
