"""From verified entries to tables: passes with their outcomes, denials, and what stations and terminals report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.orm import Session

from billing_server.accounts import AccountDesk
from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.bulk import insert_rows, value_set
from billing_server.cards import CardDesk
from billing_server.consents import ConsentDesk
from billing_server.models import Denial, Device, FeedPosition, Holding, MealPassRow, PupilRow
from billing_server.orders import OrderDesk, locked_device
from billing_server.purge_deadlines import PurgeDesk
from billing_server.school import School
from canteen.clock import Clock
from canteen.consent import ConsentState, may_use_biometrics
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassGranted,
    PassOutcome,
    PassUnresolved,
)
from sync.errors import MalformedMessage
from sync.facts import (
    CardIssued,
    ConsentRecorded,
    Fact,
    OrderApplied,
    OrderRefused,
    PurgeReceipt,
    ReferenceEnrolled,
    ReferenceSealed,
    read_fact,
)
from sync.messages import JournalEntry
from sync.orders import DeviceRole, ReferenceOrder

_log = logging.getLogger("canteen.billing.projections")

_OUTCOMES: dict[type[Any], PassOutcome] = {
    PassCompleted: PassOutcome.COMPLETED,
    PassAbandoned: PassOutcome.ABANDONED,
    PassUnresolved: PassOutcome.UNRESOLVED,
}

_ONLY_FROM = {
    PassGranted: DeviceRole.TERMINAL,
    PassDenied: DeviceRole.TERMINAL,
    PassCompleted: DeviceRole.TERMINAL,
    PassAbandoned: DeviceRole.TERMINAL,
    PassUnresolved: DeviceRole.TERMINAL,
    ConsentRecorded: DeviceRole.STATION,
    ReferenceEnrolled: DeviceRole.STATION,
    ReferenceSealed: DeviceRole.STATION,
    CardIssued: DeviceRole.STATION,
}
"""A stolen terminal must not consent for a family; a station lets nobody through."""


_PASS_COLUMNS = tuple(column.name for column in MealPassRow.__table__.columns)
_DENIAL_COLUMNS = tuple(column.name for column in Denial.__table__.columns)


@dataclass(slots=True)
class _Passes:
    """What a batch says of passes, collected so that it is written in a few statements."""

    granted: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, tuple[PassOutcome, datetime]] = field(default_factory=dict)
    denied: list[tuple[JournalEntry, PassDenied]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Projector:
    """Acts on each entry once, in the transaction that makes the entry durable."""

    orders: OrderDesk
    consents: ConsentDesk
    cards: CardDesk
    purges: PurgeDesk
    accounts: AccountDesk
    school: School
    clock: Clock

    def project(self, session: Session, device: Device, entries: Sequence[JournalEntry]) -> None:
        """Act on new `entries` of `device`, in order. A fact that is no fact is an alarm, and the next goes on."""
        passes = _Passes()
        for entry in entries:
            about = f"{entry.device}/{entry.generation}/{entry.sequence}"
            try:
                fact = read_fact(entry.kind, entry.body)
            except (MalformedMessage, OverflowError):  # an instant of the year 1 has no UTC
                self._alarm(session, AlarmKind.MALFORMED_FACT, about, entry)
                continue
            if _ONLY_FROM.get(type(fact), device.role) != device.role:
                self._alarm(session, AlarmKind.NOT_ITS_FACT, about, entry)
                continue
            self._take(session, passes, entry, fact)
        self._write_passes(session, device, passes)

    def _take(self, session: Session, passes: _Passes, entry: JournalEntry, fact: Fact) -> None:
        match fact:
            case PassGranted():
                self._take_granted(session, passes, entry, fact)
            case PassCompleted() | PassAbandoned() | PassUnresolved():
                self._take_outcome(session, passes, entry, fact)
            case PassDenied():
                passes.denied.append((entry, fact))
            case OrderApplied(number):
                self.orders.take_answer(session, entry.device, number, None)
            case OrderRefused(number, why):
                self.orders.take_answer(session, entry.device, number, why)
            case PurgeReceipt():
                self.purges.take_receipt(session, entry, fact)
            case ConsentRecorded():
                self.consents.take(session, entry, fact)
            case ReferenceEnrolled():
                session.merge(
                    Holding(device=entry.device, pupil=fact.pupil, revision=fact.revision, since=self.clock.utc_now())
                )
            case ReferenceSealed():
                self._pass_on(session, entry, fact)
            case CardIssued():
                self.cards.take_issued(session, entry.device, fact)

    def _pass_on(self, session: Session, entry: JournalEntry, fact: ReferenceSealed) -> None:
        """The consent gate of the server: a reference goes on only under a consent that stands now."""
        pupil = session.get(PupilRow, fact.pupil, with_for_update=True)
        recipient = locked_device(session, fact.recipient)
        why = None
        if pupil is None or pupil.departed_at is not None:
            why = "pupil"
        elif not may_use_biometrics(ConsentState(pupil.consent_state)):
            why = "consent"
        elif recipient is None or recipient.role != DeviceRole.TERMINAL:
            why = "recipient"
        if why is not None or recipient is None:
            about = f"{fact.pupil}/{fact.recipient}"
            self._alarm(session, AlarmKind.REFERENCE_DROPPED, about, entry, why or "")
            return
        self.orders.issue(session, recipient, ReferenceOrder(fact.pupil, entry.device, fact.revision, fact.sealed))

    def _take_granted(self, session: Session, passes: _Passes, entry: JournalEntry, fact: PassGranted) -> None:
        if fact.pass_id in passes.granted:
            self._alarm(session, AlarmKind.PASS_REPEATED, f"{entry.device}/{fact.pass_id}", entry)
            return
        passes.granted[fact.pass_id] = {
            "device": entry.device,
            "pass_id": fact.pass_id,
            "generation": entry.generation,
            "sequence": entry.sequence,
            "pupil": fact.pupil,
            "method": fact.method.value,
            "day": fact.moment.day,
            "period": fact.moment.period,
            "charged_to": None if fact.charged_to is None else fact.charged_to.value,
            "granted_at": entry.recorded_at,
            "clock_trust": entry.clock_trust.value,
            "forced_because": fact.forced_because,
            "outcome": PassOutcome.OPEN.value,
            "outcome_at": None,
            "outcome_position": None,
        }

    def _take_outcome(
        self,
        session: Session,
        passes: _Passes,
        entry: JournalEntry,
        fact: PassCompleted | PassAbandoned | PassUnresolved,
    ) -> None:
        if fact.pass_id in passes.outcomes:
            self._alarm(session, AlarmKind.OUTCOME_CONFLICT, f"{entry.device}/{fact.pass_id}", entry)
            return
        passes.outcomes[fact.pass_id] = (_OUTCOMES[type(fact)], entry.recorded_at)

    def _write_passes(self, session: Session, device: Device, passes: _Passes) -> None:
        now = self.clock.utc_now()
        # Positions are drawn in one fixed order of feeds, last of all: their row locks are held only to the commit.
        known = _known_passes(session, device.device, {*passes.granted, *passes.outcomes})
        for repeated in known.keys() & passes.granted.keys():
            about = f"{device.device}/{repeated}"
            raise_alarm(session, AlarmKind.PASS_REPEATED, about, now, device=device.device)
            del passes.granted[repeated]
        settled: list[tuple[str, PassOutcome, datetime]] = []
        for pass_id, (outcome, at) in passes.outcomes.items():
            if pass_id in passes.granted or known.get(pass_id) == PassOutcome.OPEN:
                settled.append((pass_id, outcome, at))
            else:
                about = f"{device.device}/{pass_id}"
                raise_alarm(session, AlarmKind.OUTCOME_CONFLICT, about, now, device=device.device)
        denied = self._denial_rows(session, passes.denied)
        session.flush()
        _place(session, "denials", "position", denied)
        outcome_rows: list[dict[str, Any]] = [
            {"b_device": device.device, "b_pass_id": pass_id, "outcome": outcome.value, "outcome_at": at}
            for pass_id, outcome, at in settled
        ]
        _place(session, "outcomes", "outcome_position", outcome_rows)
        later = []
        for row in outcome_rows:
            grant = passes.granted.get(row["b_pass_id"])
            if grant is None:
                later.append(row)
            else:
                grant.update({k: row[k] for k in ("outcome", "outcome_at", "outcome_position")})
        granted = list(passes.granted.values())
        _place(session, "passes", "position", granted)
        connection = session.connection()
        insert_rows(
            session, MealPassRow, _PASS_COLUMNS, [tuple(map(row.__getitem__, _PASS_COLUMNS)) for row in granted]
        )
        insert_rows(session, Denial, _DENIAL_COLUMNS, [tuple(map(row.__getitem__, _DENIAL_COLUMNS)) for row in denied])
        if later:
            table = MealPassRow.__table__
            statement = (
                update(MealPassRow)
                .where(table.c.device == bindparam("b_device"), table.c.pass_id == bindparam("b_pass_id"))
                .values(
                    outcome=bindparam("outcome"),
                    outcome_at=bindparam("outcome_at"),
                    outcome_position=bindparam("outcome_position"),
                )
            )
            connection.execute(statement, later)
        told = {*passes.granted, *(pass_id for pass_id, _, _ in settled)}
        self._follow_accounts(session, device.device, told)
        self._look_for_doubles(session, granted)

    def _follow_accounts(self, session: Session, device: str, told: set[str]) -> None:
        """Prepaid meals at the moments that a batch told of; the feeds are locked since their positions were drawn."""
        if not told:
            return
        # Not only the passes told of: an earlier forfait that comes late turns a prepaid one into a double.
        moments = select(MealPassRow.pupil, MealPassRow.day).where(
            MealPassRow.device == device, MealPassRow.pass_id.in_(value_set(session, told))
        )
        prepaid = select(MealPassRow).where(
            MealPassRow.charged_to == EntitlementKind.EXTERNAL_MEAL.value,
            tuple_(MealPassRow.pupil, MealPassRow.day).in_(moments),
        )
        self.accounts.follow(session, session.scalars(prepaid.execution_options(populate_existing=True)).all())

    def _look_for_doubles(self, session: Session, granted: list[dict[str, Any]]) -> None:
        """An alarm for each pupil whom another terminal has served at the same moment."""
        if not granted:
            return
        moments = {(row["pupil"], row["day"], row["period"]) for row in granted}
        found = session.execute(
            select(MealPassRow.pupil, MealPassRow.day, MealPassRow.period)
            .where(
                MealPassRow.pupil.in_(value_set(session, {pupil for pupil, _, _ in moments})),
                MealPassRow.day.in_({day for _, day, _ in moments}),
                MealPassRow.outcome != PassOutcome.ABANDONED.value,
            )
            .group_by(MealPassRow.pupil, MealPassRow.day, MealPassRow.period)
            .having(func.count(MealPassRow.device.distinct()) > 1)
        )
        for pupil, day, period in found:
            if (pupil, day, period) in moments:
                raise_alarm(session, AlarmKind.DOUBLE_SERVICE, f"{pupil}/{day}/{period}", self.clock.utc_now())

    def _denial_rows(self, session: Session, denied: list[tuple[JournalEntry, PassDenied]]) -> list[dict[str, Any]]:
        if not denied:
            return []
        calendar = self.school.calendar(session)

        def school_day(instant: datetime) -> date:
            try:
                return calendar.local_day(instant)
            except OverflowError:  # a clock at the edge of the calendar; its trust is on the row
                return instant.date()

        return [
            {
                "device": entry.device,
                "generation": entry.generation,
                "sequence": entry.sequence,
                "pass_id": fact.pass_id,
                "pupil": fact.pupil,
                "method": fact.method.value,
                "reason": fact.reason.value,
                "day": school_day(entry.recorded_at),
                "denied_at": entry.recorded_at,
                "clock_trust": entry.clock_trust.value,
            }
            for entry, fact in denied
        ]

    def _alarm(
        self, session: Session, kind: AlarmKind, about: str, entry: JournalEntry, detail: str | None = None
    ) -> None:
        _log.warning("%s from %s at %s/%s", kind.value, entry.device, entry.generation, entry.sequence)
        # The kind of a fact we do not know is a device's word; it is shown only if it looks like one of ours.
        said = entry.kind if entry.kind.replace("-", "").isalnum() else "?"
        raise_alarm(
            session, kind, about, self.clock.utc_now(), device=entry.device, detail=said if detail is None else detail
        )


def _known_passes(session: Session, device: str, pass_ids: set[str]) -> dict[str, str]:
    if not pass_ids:
        return {}
    rows = session.execute(
        select(MealPassRow.pass_id, MealPassRow.outcome).where(
            MealPassRow.device == device, MealPassRow.pass_id.in_(value_set(session, pass_ids))
        )
    )
    return {row.pass_id: row.outcome for row in rows}


def _place(session: Session, feed: str, column: str, rows: list[dict[str, Any]]) -> None:
    """Give `rows` the next positions of `feed`. The row lock is held to the commit, so readers see no hole."""
    if not rows:
        return
    last = session.scalars(
        update(FeedPosition)
        .where(FeedPosition.feed == feed)
        .values(last=FeedPosition.last + len(rows))
        .returning(FeedPosition.last)
    ).one()
    for position, row in enumerate(rows, start=last - len(rows) + 1):
        row[column] = position
