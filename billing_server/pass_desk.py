"""Passes and denials into their tables and feeds, in few statements; what contradicts what is known is an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple, cast

from msgspec import Struct
from sqlalchemy import Select, Table, Text, and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from billing_server.accounts import AccountDesk
from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.bulk import as_text, insert_rows, name_set, value_set
from billing_server.models import Denial, FeedPosition, Journal, MealPassRow, leads_to_nobody
from billing_server.pass_bodies import DeniedBody
from billing_server.pass_rows import GRANTED_COLUMNS, OUTCOMES, Denied, Granted, Passes
from billing_server.school import School
from canteen.clock import Clock
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassOutcome
from sync.encoding import instant_text
from sync.facts import FactKind

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
_ABANDONED = FactKind.PASS_ABANDONED.value


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
        later = self._later(session, device, passes, known)
        denied = self._denials(session, passes.denied)
        session.flush()
        granted, outcomes = passes.granted, passes.outcomes
        first_denial = _next_place(session, "denials", len(denied))
        first_outcome = _next_place(session, "outcomes", len(outcomes))
        first = _next_place(session, "passes", len(granted))
        places = dict(zip(outcomes, range(first_outcome, first_outcome + len(outcomes)), strict=True))
        meals = passes.meals
        for pass_id in later:
            meals.setdefault(known[pass_id].day, set()).add(known[pass_id].pupil)
        beside = _meals_beside(session, device, meals)
        if granted:
            rows = [
                grant.row(position, outcomes.get(pass_id), places.get(pass_id, 0))
                for position, (pass_id, grant) in enumerate(granted.items(), first)
            ]
            insert_rows(session, MealPassRow, rows, GRANTED_COLUMNS)
        if denied:
            insert_rows(session, Denial, [denial.row(position) for position, denial in enumerate(denied, first_denial)])
        if later:
            _write_outcomes(session, device, [(one, outcomes[one], places[one]) for one in later])
        self._follow_prepaid(session, beside, passes)
        self._tell_doubles(session, beside, passes)

    def _take_out_known(self, session: Session, device: str, passes: Passes, known: dict[str, _Known]) -> None:
        for pass_id in sorted(known.keys() & passes.granted.keys()):
            if not _is_told_again(session, passes.granted.pop(pass_id)):
                self._alarm(session, AlarmKind.PASS_REPEATED, device, pass_id)

    def _later(self, session: Session, device: str, passes: Passes, known: dict[str, _Known]) -> list[str]:
        """The passes that came earlier and are settled now; outcomes that settle nothing are taken out of `passes`."""
        later = []
        for pass_id in [pass_id for pass_id in passes.outcomes if pass_id not in passes.granted]:
            if (before := known.get(pass_id)) is not None and before.outcome == PassOutcome.OPEN:
                later.append(pass_id)
                continue
            read = passes.outcomes.pop(pass_id)
            if not _is_settled_so(session, device, pass_id, OUTCOMES[read.kind], read.recorded_at):
                self._alarm(session, AlarmKind.OUTCOME_CONFLICT, device, pass_id)
        return later

    def _follow_prepaid(self, session: Session, beside: list[_Beside], passes: Passes) -> None:
        """Not only the passes told of: an earlier forfait that comes late turns a prepaid one into a double."""
        prepaid = passes.prepaid | {
            (one.pupil, one.day) for one in beside if one.prepaid and one.pupil in passes.meals.get(one.day, ())
        }
        if prepaid:
            pupils, days = {pupil for pupil, _ in prepaid}, {day for _, day in prepaid}
            rows = session.scalars(
                select(MealPassRow)
                .where(_IS_PREPAID, MealPassRow.pupil.in_(value_set(session, pupils)), MealPassRow.day.in_(days))
                .execution_options(populate_existing=True)
            )
            self.accounts.follow(session, [row for row in rows if (row.pupil, row.day) in prepaid])

    def _tell_doubles(self, session: Session, beside: list[_Beside], passes: Passes) -> None:
        twice = {(one.pupil, one.day, one.period) for one in beside if one.elsewhere}
        if twice:
            abandoned = {pass_id for pass_id, read in passes.outcomes.items() if read.kind == _ABANDONED}
            twice &= {
                (grant.body.pupil, grant.body.day, grant.body.period)
                for pass_id, grant in passes.granted.items()
                if pass_id not in abandoned
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


@cache
def _ask_beside(dialect: str) -> Select[Any]:
    elsewhere = and_(_PASSES.c.device != bindparam("of"), _PASSES.c.outcome != PassOutcome.ABANDONED.value)
    prepaid = _PASSES.c.charged_to == EntitlementKind.EXTERNAL_MEAL.value
    pupils = name_set(dialect, bindparam("pupils", type_=Text))
    return (
        select(_PASSES.c.pupil, _PASSES.c.day, _PASSES.c.period, elsewhere, prepaid)
        .where(_PASSES.c.pupil.in_(pupils), _PASSES.c.day.in_(bindparam("days", expanding=True)))
        .where(or_(elsewhere, prepaid))
        .distinct()
    )


def _meals_beside(session: Session, device: str, meals: dict[date, set[str]]) -> list[_Beside]:
    """What else is known of the meals of pupils' days: of more pupils than asked for, where days are several.

    The feeds are locked since their positions were drawn, so that nobody adds to it; and the passes of this batch are
    not there yet, for each of them would be looked at.
    """
    if not meals:
        return []
    connection = session.connection()
    dialect = connection.dialect.name
    pupils = as_text(dialect, set[str]().union(*meals.values()))
    found = connection.execute(_ask_beside(dialect), {"of": device, "pupils": pupils, "days": list(meals)})
    return [_Beside(*row) for row in found]


class _Known(Struct, gc=False):
    """What the ledger has of a pass."""

    outcome: str
    pupil: str
    day: date


@cache
def _ask_known(dialect: str) -> Select[Any]:
    told = name_set(dialect, bindparam("told", type_=Text))
    return select(_PASSES.c.pass_id, _PASSES.c.outcome, _PASSES.c.pupil, _PASSES.c.day).where(
        _PASSES.c.device == bindparam("of"), _PASSES.c.pass_id.in_(told)
    )


def _known_passes(session: Session, device: str, passes: Passes) -> dict[str, _Known]:
    """Those of `passes` that the ledger has, by pass."""
    pass_ids = passes.granted.keys() | passes.outcomes.keys()
    if not pass_ids:
        return {}
    connection = session.connection()
    dialect = connection.dialect.name
    rows = connection.execute(_ask_known(dialect), {"of": device, "told": as_text(dialect, pass_ids)})
    return {pass_id: _Known(outcome, pupil, day) for pass_id, outcome, pupil, day in rows}


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
