"""What must not lead to a person for longer than the law allows: movements after three months, the audit after a year.

A pass stays: it is a meal of the school's books, and the signed journal's. What goes is whose it was: the pseudonym in
the row gives way to one of that day that leads to nobody, and the body of the signed entry is forgotten, whose digest
keeps the chain. Rows of one pupil and day stay recognisable as one's, so that the day counts as it counted.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind
from billing_server.models import (
    NOBODY,
    Alarm,
    Audit,
    Denial,
    Entry,
    ForkedEntry,
    ForkSettlement,
    Journal,
    MealPassRow,
)
from billing_server.school import School
from billing_server.settlements import double_about
from canteen.clock import Clock, ClockTrust
from canteen.entitlements import EntitlementKind

_log = logging.getLogger("canteen.billing.retention")

_DAYS_AT_ONCE = 10
_DENIALS_AT_ONCE = 5000
"""A round is short: an ingest waits for no more than some thousand rows."""

_NO_ACCOUNT = MealPassRow.charged_to.is_distinct_from(EntitlementKind.EXTERNAL_MEAL.value)
"""A prepaid meal stands in its pupil's account, pass by pass, for as long as the school must keep its books."""


_OF_A_PERSON = ("pass-granted", "pass-denied")
"""The facts of a movement that name the pupil; the later ones name the pass."""


@dataclass(slots=True)
class RetentionDesk:
    """Lets go of what is older than `passes_kept`, and deletes what the audit holds beyond `audit_kept`."""

    school: School
    clock: Clock
    passes_kept: timedelta
    audit_kept: timedelta
    _done_for: date | None = field(default=None, init=False)

    def watch(self, session: Session) -> int:
        """What is due, once a day, a few days' passes a round; how many were let go."""
        now = self._certain(session)
        if now is None or self._done_for == now.date():
            return 0
        horizon = now - self.passes_kept
        let_go = self._let_go_of_passes(session, horizon) or self._let_go_of_denials(session, horizon)
        if let_go:
            _log.info("%d passes and denials lead to nobody any more", let_go)
            return let_go  # and more the next time
        self._forget_what_was_told_again(session, horizon)
        self._forget_settled_forks(session, horizon)
        session.execute(delete(Audit).where(Audit.at < now - self.audit_kept))
        self._done_for = now.date()
        return 0

    def _certain(self, session: Session) -> datetime | None:
        """The earlier of our own clock and the latest of the devices': none of them alone can make us forget."""
        last = (Entry.device == Journal.device, Entry.generation == Journal.generation, Entry.sequence == Journal.up_to)
        theirs = session.scalar(select(func.max(Entry.recorded_at)).join(Journal, and_(*last)))
        return None if theirs is None else min(self.clock.utc_now(), theirs)

    def _let_go_of_passes(self, session: Session, horizon: datetime) -> int:
        old = (MealPassRow.pupil.like("p-%"), _is_old(MealPassRow, self._day(session, horizon), horizon), _NO_ACCOUNT)
        with_entry = _entry_of(MealPassRow)
        days = select(MealPassRow.day).join(Entry, with_entry).where(*old).distinct()
        rows = session.scalars(
            select(MealPassRow)
            .join(Entry, with_entry)
            .where(
                *old, MealPassRow.day.in_(session.scalars(days.order_by(MealPassRow.day).limit(_DAYS_AT_ONCE)).all())
            )
            .order_by(MealPassRow.day, MealPassRow.pupil)
        ).all()
        renamed: dict[str, str] = {}
        for (day, pupil), own in groupby(rows, key=lambda row: (row.day, row.pupil)):
            nobody = f"{NOBODY}{secrets.token_hex(8)}"
            for row in own:
                renamed[double_about(pupil, day, row.period)] = double_about(nobody, day, row.period)
                row.pupil = nobody
        doubles = select(Alarm).where(Alarm.kind == AlarmKind.DOUBLE_SERVICE.value, Alarm.about.like("p-%"))
        for alarm in session.scalars(doubles) if renamed else ():
            alarm.about = renamed.get(alarm.about, alarm.about)
        _forget_bodies(session, [(row.device, row.generation, row.sequence) for row in rows])
        return len(rows)

    def _let_go_of_denials(self, session: Session, horizon: datetime) -> int:
        old = _is_old(Denial, self._day(session, horizon), horizon)
        query = select(Denial).join(Entry, _entry_of(Denial)).where(Denial.pupil.is_not(None), old)
        rows = session.scalars(query.limit(_DENIALS_AT_ONCE)).all()
        for row in rows:
            row.pupil = None
        _forget_bodies(session, [(row.device, row.generation, row.sequence) for row in rows])
        return len(rows)

    def _forget_what_was_told_again(self, session: Session, horizon: datetime) -> None:
        """Old entries that name a pupil and have no row: a journal that began anew told of its passes once more."""
        believed = Entry.clock_trust != ClockTrust.UNTRUSTED.value
        entries = select(Entry.device, Entry.generation, Entry.sequence).where(
            Entry.kind.in_(_OF_A_PERSON),
            Entry.body.is_not(None),
            or_(and_(Entry.recorded_at < horizon, believed), Entry.received_at < horizon),
        )
        loose = {(place.device, place.generation, place.sequence) for place in session.execute(entries)}
        if not loose:
            return
        for row, linked in ((MealPassRow, MealPassRow.pupil.like("p-%")), (Denial, Denial.pupil.is_not(None))):
            places = select(row.device, row.generation, row.sequence).where(linked)
            loose -= {(place.device, place.generation, place.sequence) for place in session.execute(places)}
        _forget_bodies(session, sorted(loose))

    def _forget_settled_forks(self, session: Session, horizon: datetime) -> None:
        """The other version of a journal, once a human has said which passes happened."""
        settled = exists().where(
            ForkSettlement.device == ForkedEntry.device,
            ForkSettlement.generation == ForkedEntry.generation,
            ForkSettlement.up_to_fork >= ForkedEntry.id,
        )
        old = (ForkedEntry.body.is_not(None), ForkedEntry.received_at < horizon, settled)
        session.execute(update(ForkedEntry).where(*old).values(body=None).execution_options(synchronize_session=False))

    def _day(self, session: Session, instant: datetime) -> date:
        return self.school.calendar(session).local_day(instant)


def _entry_of(row: type[MealPassRow | Denial]) -> ColumnElement[bool]:
    """The signed entry that a row was made from."""
    return and_(Entry.device == row.device, Entry.generation == row.generation, Entry.sequence == row.sequence)


def _is_old(row: type[MealPassRow | Denial], day: date, horizon: datetime) -> ColumnElement[bool]:
    """By its own day, if its clock could be believed; and in any case by the instant at which it came in."""
    believed = row.clock_trust != ClockTrust.UNTRUSTED.value
    return or_(and_(row.day < day, believed), Entry.received_at < horizon)


def _forget_bodies(session: Session, places: Iterable[tuple[str, str, int]]) -> None:
    """Of the signed entries in these places: device, generation, sequence."""
    told: Sequence[dict[str, Any]] = [
        {"the_device": device, "the_generation": generation, "the_sequence": sequence}
        for device, generation, sequence in places
    ]
    if told:
        its = update(Entry.__table__).where(  # type: ignore[arg-type]  # a mapped table is a Table
            Entry.device == bindparam("the_device"),
            Entry.generation == bindparam("the_generation"),
            Entry.sequence == bindparam("the_sequence"),
        )
        session.connection().execute(its.values(body=None), told)
