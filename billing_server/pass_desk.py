"""Passes and denials into their tables and feeds, in few statements; what contradicts what is known is an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, cast

from msgspec import Struct
from sqlalchemy import ColumnElement, Table, and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from billing_server.accounts import AccountDesk
from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.bulk import insert_rows, value_set
from billing_server.models import Denial, FeedPosition, Journal, MealPassRow, leads_to_nobody
from billing_server.pass_bodies import DeniedBody
from billing_server.pass_rows import GRANTED_COLUMNS, OUTCOMES, Denied, Granted, Passes, open_row, settled_row
from billing_server.school import School
from canteen.clock import Clock
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassOutcome
from sync.encoding import instant_text

_FEEDS, _PASSES = cast("Table", FeedPosition.__table__), cast("Table", MealPassRow.__table__)

_DRAW = (
    update(_FEEDS)
    .where(_FEEDS.c.feed == bindparam("of"))
    .values(last=_FEEDS.c.last + bindparam("count"))
    .returning(_FEEDS.c.last)
)
"""Statements of every transaction stand ready: making one takes longer than PostgreSQL's answer."""

_WRITE_OUTCOME = (
    update(_PASSES)
    .where(_PASSES.c.device == bindparam("of"), _PASSES.c.pass_id == bindparam("told"))
    .values(outcome=bindparam("outcome"), outcome_at=bindparam("at"), outcome_position=bindparam("place"))
)

_IS_PREPAID = MealPassRow.charged_to == EntitlementKind.EXTERNAL_MEAL.value
_MealDay = tuple[str, date]
"""A pupil and a day."""


@dataclass(frozen=True, slots=True)
class PassDesk:
    """Writes what a batch says of passes."""

    accounts: AccountDesk
    school: School
    clock: Clock

    def write(self, session: Session, device: str, passes: Passes) -> None:
        """Put the passes of one device where they belong; those that are known already are taken out of `passes`."""
        # Positions are drawn in one fixed order of feeds, last of all: their row locks are held only to the commit.
        known = _known_passes(session, device, passes)
        self._take_out_known(session, device, passes, known)
        settled = self._settled(session, device, passes, known)
        denied = self._denials(session, passes.denied)
        session.flush()
        first_denial = _next_place(session, "denials", len(denied))
        first_outcome = _next_place(session, "outcomes", len(settled))
        first = _next_place(session, "passes", len(passes.granted))
        places = dict(zip(settled, range(first_outcome, first_outcome + len(settled)), strict=True))
        later = [pass_id for pass_id in settled if pass_id not in passes.granted]
        days = {(grant.body.pupil, grant.body.day) for grant in passes.granted.values()}
        days |= {(known[pass_id].pupil, known[pass_id].day) for pass_id in later}
        beside = _meals_beside(session, device, days)
        if passes.granted:
            rows = [
                open_row(grant, position)
                if (place := places.get(pass_id)) is None
                else settled_row(grant, position, passes.outcomes[pass_id], place)
                for position, (pass_id, grant) in enumerate(passes.granted.items(), first)
            ]
            insert_rows(session, MealPassRow, rows, GRANTED_COLUMNS)
        if denied:
            insert_rows(session, Denial, [denial.row(position) for position, denial in enumerate(denied, first_denial)])
        if later:
            _write_outcomes(session, device, [(one, passes.outcomes[one], places[one]) for one in later])
        self._follow_prepaid(session, days, beside, passes)
        self._tell_doubles(session, beside, passes, settled)

    def _take_out_known(self, session: Session, device: str, passes: Passes, known: dict[str, _Known]) -> None:
        for pass_id in sorted(known.keys() & passes.granted.keys()):
            if not _is_told_again(session, passes.granted.pop(pass_id)):
                self._alarm(session, AlarmKind.PASS_REPEATED, device, pass_id)

    def _settled(self, session: Session, device: str, passes: Passes, known: dict[str, _Known]) -> list[str]:
        """The passes whose outcome is told now, in the order in which it was."""
        settled = []
        for pass_id, read in passes.outcomes.items():
            if pass_id in passes.granted or (
                (before := known.get(pass_id)) is not None and before.outcome == PassOutcome.OPEN
            ):
                settled.append(pass_id)
            elif not _is_settled_so(session, device, pass_id, OUTCOMES[read.kind], read.recorded_at):
                self._alarm(session, AlarmKind.OUTCOME_CONFLICT, device, pass_id)
        return settled

    def _follow_prepaid(self, session: Session, days: set[_MealDay], beside: list[_Beside], passes: Passes) -> None:
        """Not only the passes told of: an earlier forfait that comes late turns a prepaid one into a double."""
        prepaid = {(one.pupil, one.day) for one in beside if one.prepaid}
        prepaid |= {
            (grant.body.pupil, grant.body.day)
            for grant in passes.granted.values()
            if grant.body.charged_to is EntitlementKind.EXTERNAL_MEAL
        }
        prepaid &= days
        if prepaid:
            rows = session.scalars(
                select(MealPassRow)
                .where(_IS_PREPAID, *_within(session, prepaid))
                .execution_options(populate_existing=True)
            )
            self.accounts.follow(session, [row for row in rows if (row.pupil, row.day) in prepaid])

    def _tell_doubles(self, session: Session, beside: list[_Beside], passes: Passes, settled: list[str]) -> None:
        twice = {(one.pupil, one.day, one.period) for one in beside if one.elsewhere}
        if twice:
            outcomes = {pass_id: OUTCOMES[passes.outcomes[pass_id].kind] for pass_id in settled}
            twice &= {
                (grant.body.pupil, grant.body.day, grant.body.period)
                for pass_id, grant in passes.granted.items()
                if outcomes.get(pass_id) != PassOutcome.ABANDONED.value
            }
        for pupil, day, period in sorted(twice):
            raise_alarm(session, AlarmKind.DOUBLE_SERVICE, f"{pupil}/{day}/{period}", self.clock.utc_now())

    def _denials(self, session: Session, denied: list[tuple[ReadEntry, DeniedBody]]) -> list[Denied]:
        if not denied:
            return []
        calendar = self.school.calendar(session)

        def school_day(instant: datetime) -> date:
            try:
                return calendar.local_day(instant)
            except OverflowError:  # a clock at the edge of the calendar; its trust is on the row
                return instant.date()

        told = _told_denials(session, denied, {school_day(read.at) for read, _ in denied})
        return [
            Denied(read, body, school_day(read.at))
            for read, body in denied
            if (body.pass_id, read.recorded_at) not in told
        ]

    def _alarm(self, session: Session, kind: AlarmKind, device: str, pass_id: str) -> None:
        raise_alarm(session, kind, f"{device}/{pass_id}", self.clock.utc_now(), device=device)


def _write_outcomes(session: Session, device: str, told: list[tuple[str, ReadEntry, int]]) -> None:
    """Outcomes of passes that came earlier."""
    rows = [
        {"of": device, "told": pass_id, "outcome": OUTCOMES[read.kind], "at": read.at, "place": place}
        for pass_id, read, place in told
    ]
    session.connection().execute(_WRITE_OUTCOME, rows)


class _Beside(NamedTuple):
    """A meal that is known, prepaid or of another terminal."""

    pupil: str
    day: date
    period: str
    elsewhere: bool
    prepaid: bool


def _meals_beside(session: Session, device: str, days: set[_MealDay]) -> list[_Beside]:
    """What else is known of the meals of pupils' `days`.

    The feeds are locked since their positions were drawn, so that nobody adds to it; and the passes of this batch are
    not there yet, for each of them would be looked at.
    """
    if not days:
        return []
    elsewhere = and_(MealPassRow.device != device, MealPassRow.outcome != PassOutcome.ABANDONED.value)
    found = session.execute(
        select(MealPassRow.pupil, MealPassRow.day, MealPassRow.period, elsewhere, _IS_PREPAID)
        .where(*_within(session, days), or_(elsewhere, _IS_PREPAID))
        .distinct()
    )
    return [_Beside(*row) for row in found]


def _within(session: Session, days: set[_MealDay]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Pupils and days apart, as an index finds them: more than asked for where they are several."""
    pupils = value_set(session, {pupil for pupil, _ in days})
    return MealPassRow.pupil.in_(pupils), MealPassRow.day.in_({day for _, day in days})


class _Known(Struct, gc=False):
    """What the ledger has of a pass."""

    outcome: str
    pupil: str
    day: date


def _known_passes(session: Session, device: str, passes: Passes) -> dict[str, _Known]:
    """Those of `passes` that the ledger has, by pass."""
    pass_ids = passes.granted.keys() | passes.outcomes.keys()
    if not pass_ids:
        return {}
    rows = session.execute(
        select(MealPassRow.pass_id, MealPassRow.outcome, MealPassRow.pupil, MealPassRow.day).where(
            MealPassRow.device == device, MealPassRow.pass_id.in_(value_set(session, pass_ids))
        )
    )
    return {row.pass_id: _Known(row.outcome, row.pupil, row.day) for row in rows}


def _is_told_again(session: Session, granted: Granted) -> bool:
    """Whether a grant is the known one once more, from a journal that began anew: billed once, and nobody's alarm."""
    read, body = granted.read, granted.body
    row = session.get_one(MealPassRow, (read.device, body.pass_id))
    known = (row.method, row.day, row.period, row.charged_to, instant_text(row.granted_at))
    again = (body.method, body.day, body.period, body.charged_to, read.recorded_at)
    whose = row.pupil == body.pupil or leads_to_nobody(row.pupil)
    return whose and known == again and row.generation != read.generation


def _is_settled_so(session: Session, device: str, pass_id: str, outcome: str, at: str) -> bool:
    """Whether a pass has just this outcome, told again."""
    row = session.get(MealPassRow, (device, pass_id), populate_existing=True)
    if row is None or row.outcome_at is None:
        return False
    return (row.outcome, instant_text(row.outcome_at)) == (outcome, at)


def _told_denials(
    session: Session, denied: list[tuple[ReadEntry, DeniedBody]], days: set[date]
) -> set[tuple[str, str]]:
    """Denials of the device that are known already by name and instant: only of one whose journal began anew."""
    first = denied[0][0]
    others = select(Journal.generation).where(Journal.device == first.device, Journal.generation != first.generation)
    if session.scalars(others.limit(1)).first() is None:
        return set()
    known = session.execute(
        select(Denial.pass_id, Denial.denied_at).where(
            Denial.device == first.device,
            Denial.day.in_(days),
            Denial.pass_id.in_(value_set(session, {body.pass_id for _, body in denied})),
        )
    )
    return {(row.pass_id, instant_text(row.denied_at)) for row in known}


def _next_place(session: Session, feed: str, count: int) -> int:
    """The first of the next `count` positions of `feed`. The row lock is held to the commit: readers see no hole."""
    if not count:
        return 0
    last: int = session.connection().execute(_DRAW, {"of": feed, "count": count}).scalar_one()
    return last - count + 1
