"""What the pages and the machine interface ask of the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, false, func, select
from sqlalchemy.orm import Session

from billing_server.early_passes import early_counts
from billing_server.models import (
    Alarm,
    BoardKey,
    Card,
    Denial,
    Device,
    DeviceCheckup,
    Entry,
    Holding,
    Journal,
    MealPassRow,
    OrderRow,
    PupilRow,
)
from canteen.anti_passback import COUNTS_AS_SERVED
from canteen.meal_pass import PassOutcome
from canteen.serving_periods import ServingCalendar
from sync.orders import OrderKind

_AS_IT_IS_NOW = {"populate_existing": True}
"""A session that has read a pass while it was open would keep it so, and its reader would begin the outcomes anew."""


def passes_after(
    session: Session, position: int, limit: int, day: date | None = None, period: str | None = None
) -> Sequence[MealPassRow]:
    """Passes in the order in which the ledger took them: read on from the last one, none is skipped or repeated."""
    query = select(MealPassRow).where(MealPassRow.position > position, *_only(day, period))
    return session.scalars(query.order_by(MealPassRow.position).limit(limit), execution_options=_AS_IT_IS_NOW).all()


def outcomes_after(
    session: Session, position: int, limit: int, day: date | None = None, period: str | None = None
) -> Sequence[MealPassRow]:
    """Passes in the order in which their outcomes came in."""
    query = select(MealPassRow).where(MealPassRow.outcome_position > position, *_only(day, period))
    ordered = query.order_by(MealPassRow.outcome_position).limit(limit)
    return session.scalars(ordered, execution_options=_AS_IT_IS_NOW).all()


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
    """A serving period of a day. `served` are the meals that count; an abandoned pass is none.

    Attributes:
        early: meals that terminals announce and the ledger has not yet: not in `served`.
    """

    period: str
    served: int
    by_method: dict[str, int]
    by_outcome: dict[str, int]
    early: int = 0
    to_come: int = 0
    """Pupils with a right to a meal on this day who have not had one in this period."""


@dataclass(frozen=True, slots=True)
class DayCounts:
    """A day in numbers. `periods` are those of the calendar, if it was given, and those with passes."""

    day: date
    periods: list[PeriodCounts]
    denied: dict[str, int]


def counts_of(session: Session, day: date, calendar: ServingCalendar | None = None) -> DayCounts:
    """Meals per serving period, method and outcome, who is still to come, and denials per reason."""
    by_period: dict[str, list[tuple[str, str, int]]] = {period: [] for period in _served_on(calendar, day)}
    entitled = _entitled(session, day)
    came: dict[str, set[str]] = {}
    for period, pupil in session.execute(
        select(MealPassRow.period, MealPassRow.pupil)
        .where(MealPassRow.day == day, MealPassRow.outcome.in_(_COUNTED))
        .distinct()
    ):
        came.setdefault(period, set()).add(pupil)
    grouped = (MealPassRow.period, MealPassRow.method, MealPassRow.outcome)
    rows = session.execute(select(*grouped, func.count()).where(MealPassRow.day == day).group_by(*grouped))
    for period, method, outcome, times in rows:
        by_period.setdefault(period, []).append((method, outcome, times))
    early = early_counts(session, day)
    for period in sorted(early.keys() - by_period):
        by_period[period] = []
    denied = session.execute(
        select(Denial.reason, func.count().label("times"))
        .where(Denial.day == day)
        .group_by(Denial.reason)
        .order_by(Denial.reason)
    )
    return DayCounts(
        day,
        [
            _period_counts(period, by_period[period], early.get(period, 0), len(entitled - came.get(period, set())))
            for period in (
                *(by_period if calendar is not None else sorted(by_period)),
                *sorted(early.keys() - by_period),
            )
        ],
        {row.reason: row.times for row in denied},
    )


_COUNTED = [outcome.value for outcome, counts in COUNTS_AS_SERVED.items() if counts]


def _served_on(calendar: ServingCalendar | None, day: date) -> list[str]:
    """The periods of a day, in the order of the clock."""
    if calendar is None or day in calendar.closed_days:
        return []
    periods = sorted(calendar.periods, key=lambda period: period.starts_minute)
    return list(dict.fromkeys(period.name for period in periods if day.weekday() in period.weekdays))


def _entitled(session: Session, day: date) -> set[str]:
    """Pupils who may have a meal on `day`."""
    rows = session.execute(select(PupilRow.pupil, PupilRow.entitlements).where(PupilRow.departed_at.is_(None)))
    # Read as stored, not as objects: an open page asks this twice a second.
    asked, weekday = day.isoformat(), day.weekday()
    return {
        pupil
        for pupil, entitlements in rows
        if any(e["from"] <= asked <= e["until"] and weekday in e["weekdays"] for e in json.loads(entitlements))
    }


def _period_counts(period: str, rows: list[tuple[str, str, int]], early: int, to_come: int) -> PeriodCounts:
    by_method: Counter[str] = Counter()
    by_outcome: Counter[str] = Counter()
    for method, outcome, times in rows:
        by_outcome[outcome] += times
        if COUNTS_AS_SERVED[PassOutcome(outcome)]:
            by_method[method] += times
    served = by_method.total()
    outcomes = dict(sorted(by_outcome.items()))
    return PeriodCounts(period, served, dict(sorted(by_method.items())), outcomes, early, to_come)


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
    checkup: DeviceCheckup | None
    """What it last found of itself."""
    board_keys: list[BoardKey]
    """Of each of its boards, the last time its key was seen to."""


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
    keys: dict[str, list[BoardKey]] = {}
    for key in session.scalars(select(BoardKey).order_by(BoardKey.address)):
        keys.setdefault(key.device, []).append(key)
    gaps = {alarm.device: alarm.detail for alarm in open_alarms(session) if alarm.kind == "gap"}
    states = []
    for device in session.scalars(select(Device).order_by(Device.role.desc(), Device.device)):
        own = journals.get(device.device, [])
        entries_at = max((journal.last_received_at for journal in own), default=None)
        waiting, answered, refused = orders.get(device.device, (0, 0, 0))
        newest = own[-1] if own else None
        said_of = next((journal for journal in own if journal.generation == device.said_generation), None)
        if device.said_generation is None:
            said_of = newest
        received = 0 if said_of is None else said_of.up_to
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
                checkup=session.get(DeviceCheckup, device.device),
                board_keys=keys.get(device.device, []),
            )
        )
    return states


@dataclass(frozen=True, slots=True)
class BlockedCard:
    """What a device knows of a card that was blocked: since when, or not yet."""

    device: str
    answered_after: timedelta | None
    refused: bool


def who_knows_of_block(session: Session, card: Card) -> list[BlockedCard]:
    """Every device that was told of the block of `card`, those that do not know yet first."""
    if card.blocked_at is None:
        return []
    told = select(OrderRow, Device.revoked_at).join(Device, Device.device == OrderRow.device)
    rows = session.execute(
        told.where(
            OrderRow.kind == OrderKind.CARD_BLOCKED.value,
            OrderRow.issued_at.between(card.blocked_at, card.blocked_at + _ONE_BLOCK),
        ).order_by(OrderRow.answered_at.is_not(None), OrderRow.device, OrderRow.number)
    )
    return [
        BlockedCard(
            order.device,
            None if order.answered_at is None else order.answered_at - order.issued_at,
            order.refused_why is not None,
        )
        for order, revoked_at in rows
        if revoked_at is None
    ]


_ONE_BLOCK = timedelta(seconds=2)
"""The orders of one block are made within its transaction. Two cards blocked at once are shown together."""


def references_held(session: Session) -> dict[str, int]:
    """How many hands each device holds, as far as we were told."""
    rows = session.execute(select(Holding.device, func.count()).group_by(Holding.device).order_by(Holding.device))
    return {str(device): int(number) for device, number in rows}


def open_alarms(session: Session) -> Sequence[Alarm]:
    """What nobody has closed, newest first."""
    return session.scalars(select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.last_at.desc())).all()
