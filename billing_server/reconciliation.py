"""A day held against itself: what the terminals have seen, what the ledger has received, what is billed, and why not.

Billed is derived, never stored: of the passes of one pupil at one serving moment the earliest is billed (a prepaid
one once its passage is completed); every other waits for a human. Journals that come in late are thus counted as if
they had come in time, and a human's word (a settlement, always a new row) goes before the rule.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind
from billing_server.models import (
    Alarm,
    Denial,
    Device,
    Entry,
    ForkedEntry,
    ForkSettlement,
    Journal,
    MealPassRow,
    PassSettlement,
)
from canteen.clock import ClockTrust
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassOutcome
from canteen.serving_periods import ServingCalendar
from sync.orders import DeviceRole


class Standing(StrEnum):
    """What a pass is for the bill."""

    BILLED = "billed"
    ABANDONED = "abandoned"
    """Nobody went through: no meal."""
    IN_PROGRESS = "in-progress"
    """A prepaid meal whose passage is not told yet."""
    DOUBLE = "double"
    """Served already at this moment, elsewhere or here: waits for a human."""
    UNRESOLVED = "unresolved"
    """A prepaid meal, and nobody knows whether the pupil went through: waits for a human."""
    NOT_BILLED = "not-billed"
    """A human said so."""


WAITS = frozenset({Standing.DOUBLE, Standing.UNRESOLVED})
"""Not billed, and not settled either."""


class Decision(StrEnum):
    """A human's word on a pass; values are stored."""

    BILLED = "billed"
    NOT_BILLED = "not-billed"


@dataclass(frozen=True, slots=True)
class StandingPass:
    """A pass of the day with its standing and, for a double, the pass that was billed instead."""

    row: MealPassRow
    standing: Standing
    instead: MealPassRow | None
    settlement: PassSettlement | None


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """A terminal's day.

    Attributes:
        missing: entries it says it has, that are not here, and that may be of this day.
        heard_after: an entry of its own came that it recorded after the last service of the day had ended.
    """

    device: str
    received: int
    standings: dict[Standing, int]
    missing: int
    denied: int
    forks: int
    clock_doubts: int
    heard_after: bool

    @property
    def seen(self) -> int:
        return self.received + self.missing

    @property
    def billed(self) -> int:
        return self.standings.get(Standing.BILLED, 0)

    @property
    def explained(self) -> int:
        """Received, not billed, and for a reason that stands."""
        return self.standings.get(Standing.ABANDONED, 0) + self.standings.get(Standing.NOT_BILLED, 0)

    @property
    def waiting(self) -> int:
        return self.received - self.billed - self.explained


@dataclass(frozen=True, slots=True)
class DayReconciliation:
    """The day, terminal by terminal, and the passes that wait for a human or have had one."""

    day: date
    devices: list[DeviceDay]
    to_settle: list[StandingPass]
    settled: list[StandingPass]
    by_charge: dict[str, int]

    @property
    def holds(self) -> bool:
        """Seen = received = billed, but for what is explained; nothing waits, nothing is missing, nothing is forked."""
        return all(not (d.missing or d.waiting or d.forks) for d in self.devices)

    @property
    def final(self) -> bool:
        """Every terminal has been heard since, so that nothing of the day can be on its way."""
        return all(device.heard_after for device in self.devices)


def reconcile(session: Session, calendar: ServingCalendar, day: date) -> DayReconciliation:
    """The reconciliation of a school day."""
    passes = standing_passes(session, day)
    by_device: dict[str, list[StandingPass]] = {}
    for one in passes:
        by_device.setdefault(one.row.device, []).append(one)
    denials = session.execute(
        select(Denial.device, Denial.clock_trust, func.count())
        .where(Denial.day == day)
        .group_by(Denial.device, Denial.clock_trust)
    )
    denied: Counter[str] = Counter()
    doubts: Counter[str] = Counter(one.row.device for one in passes if one.row.clock_trust != ClockTrust.TRUSTED.value)
    for device, trust, times in denials:
        denied[device] += times
        doubts[device] += times if trust != ClockTrust.TRUSTED.value else 0
    forks = _open_forks(session, calendar, day)
    ended_at = _end_of(calendar, day)
    devices = []
    for row in session.scalars(select(Device).where(Device.role == DeviceRole.TERMINAL.value).order_by(Device.device)):
        own = by_device.get(row.device, [])
        if not own and not _was_there(row, ended_at):
            continue
        devices.append(
            DeviceDay(
                device=row.device,
                received=len(own),
                standings=dict(Counter(one.standing for one in own)),
                missing=_missing(session, row, calendar, day),
                denied=denied[row.device],
                forks=forks[row.device],
                clock_doubts=doubts[row.device],
                heard_after=row.revoked_at is not None or _heard(session, row, ended_at),
            )
        )
    billed = (one.row.charged_to or "none" for one in passes if one.standing is Standing.BILLED)
    return DayReconciliation(
        day=day,
        devices=devices,
        to_settle=[one for one in passes if one.standing in WAITS],
        settled=[one for one in passes if one.settlement is not None],
        by_charge=dict(sorted(Counter(billed).items())),
    )


def day_statement(reconciliation: DayReconciliation, school: dict[str, str], made_at: datetime) -> dict[str, Any]:
    """What the daily certificate states; every number whole."""
    devices = [
        {
            "device": d.device,
            "seen": d.seen,
            "received": d.received,
            "billed": d.billed,
            "abandoned": d.standings.get(Standing.ABANDONED, 0),
            "not_billed": d.standings.get(Standing.NOT_BILLED, 0),
            "waiting": d.waiting,
            "missing_entries": d.missing,
            "denied": d.denied,
            "forks": d.forks,
            "clock_doubts": d.clock_doubts,
            "heard_after_service": d.heard_after,
        }
        for d in reconciliation.devices
    ]
    return {
        "v": 1,
        "school": school,
        "day": reconciliation.day.isoformat(),
        "made_at": made_at.isoformat(timespec="microseconds"),
        "seen": sum(d.seen for d in reconciliation.devices),
        "received": sum(d.received for d in reconciliation.devices),
        "billed": sum(d.billed for d in reconciliation.devices),
        "explained": sum(d.explained for d in reconciliation.devices),
        "billed_by_charge": reconciliation.by_charge,
        "holds": reconciliation.holds,
        "final": reconciliation.final,
        "devices": devices,
        "settled": [
            {
                "device": one.row.device,
                "pass": one.row.pass_id,
                "decision": one.settlement.decision,
                "by": one.settlement.settled_by,
            }
            for one in reconciliation.settled
            if one.settlement is not None
        ],
    }


def standing_passes(session: Session, day: date, pupil: str | None = None) -> list[StandingPass]:
    """How the passes of a day (of one pupil, if said) stand, in the order in which they were granted."""
    rows = session.scalars(
        select(MealPassRow)
        .where(MealPassRow.day == day, *([] if pupil is None else [MealPassRow.pupil == pupil]))
        .order_by(MealPassRow.granted_at, MealPassRow.device, MealPassRow.pass_id)
        .execution_options(populate_existing=True)
    ).all()
    settlements = _settlements(session, day)
    first: dict[tuple[str, str], MealPassRow] = {}
    standing = []
    for row in rows:
        settlement = settlements.get((row.device, row.pass_id))
        if row.outcome == PassOutcome.ABANDONED.value:
            standing.append(StandingPass(row, Standing.ABANDONED, None, settlement))
            continue
        earliest = first.setdefault((row.pupil, row.period), row)
        by_rule = _by_rule(row) if earliest is row else Standing.DOUBLE
        if settlement is not None:
            by_rule = Standing.BILLED if settlement.decision == Decision.BILLED else Standing.NOT_BILLED
        standing.append(StandingPass(row, by_rule, None if earliest is row else earliest, settlement))
    return standing


def _by_rule(row: MealPassRow) -> Standing:
    # A forfait counts at the grant; a prepaid meal once the pupil has gone through.
    if row.charged_to != EntitlementKind.EXTERNAL_MEAL.value or row.outcome == PassOutcome.COMPLETED.value:
        return Standing.BILLED
    return Standing.UNRESOLVED if row.outcome == PassOutcome.UNRESOLVED.value else Standing.IN_PROGRESS


def _settlements(session: Session, day: date) -> dict[tuple[str, str], PassSettlement]:
    rows = session.scalars(
        select(PassSettlement)
        .join(
            MealPassRow,
            (MealPassRow.device == PassSettlement.device) & (MealPassRow.pass_id == PassSettlement.pass_id),
        )
        .where(MealPassRow.day == day)
        .order_by(PassSettlement.id)
    )
    return {(row.device, row.pass_id): row for row in rows}  # the latest word counts


def _missing(session: Session, device: Device, calendar: ServingCalendar, day: date) -> int:
    if device.said_generation is not None:
        newest = session.get(Journal, (device.device, device.said_generation))
    else:
        newest = session.scalars(
            select(Journal).where(Journal.device == device.device).order_by(Journal.first_received_at.desc()).limit(1)
        ).first()
    lost = _lost_with_old_journals(session, device, calendar, day)
    received = 0 if newest is None else newest.up_to
    missing = max(0, (device.said_entries or 0) - received)
    if not missing or newest is None:
        return missing + lost
    last = session.get(Entry, (newest.device, newest.generation, newest.up_to))
    # A journal is in the order of time: what follows an entry of a later day is not of this one.
    return lost if last is not None and _local_day(calendar, last.recorded_at) > day else missing + lost


def _lost_with_old_journals(session: Session, device: Device, calendar: ServingCalendar, day: date) -> int:
    """Entries of journals that others have followed, as long as the alarm of their gap is open: a card died, say.

    They are of the days from the last entry that is here to the one on which the new journal was heard of.
    """
    gaps = select(Alarm).where(
        Alarm.kind == AlarmKind.GAP.value, Alarm.device == device.device, Alarm.closed_at.is_(None)
    )
    lost = 0
    for alarm in session.scalars(gaps):
        generation = alarm.about.partition("/")[2]
        if generation == device.said_generation or day > _local_day(calendar, alarm.last_at):
            continue
        journal = session.get(Journal, (device.device, generation))
        last = None if journal is None else session.get(Entry, (device.device, generation, journal.up_to))
        if last is None or _local_day(calendar, last.recorded_at) <= day:
            first, _, to = alarm.detail.partition("-")
            lost += int(to) - int(first) + 1
    return lost


def _open_forks(session: Session, calendar: ServingCalendar, day: date) -> Counter[str]:
    looked_at: dict[tuple[str, str], int] = {}
    for settlement in session.scalars(select(ForkSettlement).order_by(ForkSettlement.id)):
        looked_at[settlement.device, settlement.generation] = settlement.up_to_fork
    forks: Counter[str] = Counter()
    for fork in session.scalars(select(ForkedEntry)):
        recorded_at = datetime.fromisoformat(json.loads(fork.header)["recorded_at"])
        if fork.id > looked_at.get((fork.device, fork.generation), 0) and _local_day(calendar, recorded_at) == day:
            forks[fork.device] += 1
    return forks


def _local_day(calendar: ServingCalendar, instant: datetime) -> date:
    try:
        return calendar.local_day(instant)
    except OverflowError:  # a clock at the edge of the calendar
        return instant.date()


def latest_service_end(calendar: ServingCalendar, now: datetime) -> datetime | None:
    """When the last service of the latest school day that is over ended; None if there was none within a week."""
    today = calendar.local_day(now)
    for back in range(_WEEK_DAYS):
        day = today - timedelta(days=back)
        served = day not in calendar.closed_days and any(day.weekday() in one.weekdays for one in calendar.periods)
        if served and (ended_at := _end_of(calendar, day)) <= now:
            return ended_at
    return None


_WEEK_DAYS = 8
"""This day of the week and the same one of last week."""


def _end_of(calendar: ServingCalendar, day: date) -> datetime:
    """When the last service of the day ends, or the day itself where there is none."""
    ends = [period.ends_minute for period in calendar.periods if day.weekday() in period.weekdays]
    minutes = max(ends, default=24 * 60)
    return datetime.combine(day, time(), ZoneInfo(calendar.timezone)) + timedelta(minutes=minutes)


def _was_there(device: Device, ended_at: datetime) -> bool:
    gone = device.revoked_at is not None and device.revoked_at < ended_at
    return device.registered_at < ended_at and not gone


def _heard(session: Session, device: Device, ended_at: datetime) -> bool:
    """Whether the ledger has an entry of the device from after `ended_at`, and with it, gapless, all before.

    A hello or a batch would not do: whoever has the device's certificate may say an older one again.
    """
    last = (Entry.device == Journal.device, Entry.generation == Journal.generation, Entry.sequence == Journal.up_to)
    later = select(Journal.generation).join(Entry, and_(*last)).where(Journal.device == device.device)
    believed = (Entry.recorded_at >= ended_at, Entry.clock_trust != ClockTrust.UNTRUSTED.value)
    return session.scalars(later.where(*believed).limit(1)).first() is not None
