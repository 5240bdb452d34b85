"""From verified entries to tables: passes with their outcomes, denials, and what stations and terminals report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from msgspec import Struct
from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from billing_server.accounts import AccountDesk
from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.bulk import NOTHING, day_field, insert_rows, text_field, value_set, whole_field, word_field
from billing_server.cards import CardDesk
from billing_server.consents import ConsentDesk
from billing_server.devices import DeviceDesk
from billing_server.enrollment_advice import advised_revision, enrolled_revision
from billing_server.models import (
    BoardKey,
    Denial,
    Device,
    DeviceCheckup,
    FeedPosition,
    Holding,
    Journal,
    MealPassRow,
    PupilRow,
    Purge,
)
from billing_server.orders import REFUSALS, OrderDesk, locked_device
from billing_server.pass_bodies import DeniedBody, GrantedBody, OutcomeBody, PassBody, pass_body_of
from billing_server.purge_deadlines import PurgeDesk
from billing_server.school import School
from canteen.access_decision import Reason
from canteen.clock import Clock
from canteen.consent import ConsentState, may_use_biometrics
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassGranted,
    PassMethod,
    PassOutcome,
    PassUnresolved,
)
from sync.encoding import instant_text
from sync.errors import MalformedMessage
from sync.fact_bodies import read_fact
from sync.facts import (
    BoardKeyed,
    CardIssued,
    CardRetired,
    ConsentRecorded,
    DeviceChecked,
    EnrollmentAdvised,
    Fact,
    FactKind,
    JournalBegun,
    OrderApplied,
    OrderRefused,
    OrdersHeld,
    PurgeReceipt,
    ReferenceEnrolled,
    ReferencesDestroyed,
    ReferenceSealed,
)
from sync.orders import DeviceRole, EnrollmentAdvice, ReferenceOrder

_log = logging.getLogger("canteen.billing.projections")

_OUTCOMES = {
    FactKind.PASS_COMPLETED.value: PassOutcome.COMPLETED.value,
    FactKind.PASS_ABANDONED.value: PassOutcome.ABANDONED.value,
    FactKind.PASS_UNRESOLVED.value: PassOutcome.UNRESOLVED.value,
}

_ONLY_FROM = {
    PassGranted: DeviceRole.TERMINAL,
    PassDenied: DeviceRole.TERMINAL,
    PassCompleted: DeviceRole.TERMINAL,
    PassAbandoned: DeviceRole.TERMINAL,
    PassUnresolved: DeviceRole.TERMINAL,
    ReferencesDestroyed: DeviceRole.TERMINAL,
    ConsentRecorded: DeviceRole.STATION,
    ReferenceEnrolled: DeviceRole.STATION,
    ReferenceSealed: DeviceRole.STATION,
    CardIssued: DeviceRole.STATION,
    CardRetired: DeviceRole.STATION,
    EnrollmentAdvised: DeviceRole.TERMINAL,
    BoardKeyed: DeviceRole.TERMINAL,
}
"""A stolen terminal must not consent for a family; a station lets nobody through."""


_METHODS = {method: method.value for method in PassMethod}
_REASONS = {reason: reason.value for reason in Reason}
_ENTITLEMENTS: dict[EntitlementKind | None, str | None] = {None: None, **{kind: kind.value for kind in EntitlementKind}}
"""A `StrEnum`'s own `value` costs as much as the rest of its row."""


class _Granted(Struct, gc=False):
    """A row of `passes` that a batch brings."""

    read: ReadEntry
    body: GrantedBody
    position: int = 0
    outcome: str = PassOutcome.OPEN.value
    outcome_at: bytes = NOTHING
    outcome_position: bytes = NOTHING

    @property
    def row(self) -> bytes:
        """As `insert_rows` takes it."""
        read, body = self.read, self.body
        charged_to, forced = _ENTITLEMENTS[body.charged_to], body.forced_because
        return b"".join(
            (
                word_field(read.device),
                text_field(body.pass_id),
                whole_field(self.position),
                word_field(read.generation),
                whole_field(read.sequence),
                text_field(body.pupil),
                word_field(_METHODS[body.method]),
                day_field(body.day),
                word_field(body.period),
                NOTHING if charged_to is None else word_field(charged_to),
                read.instant,
                word_field(read.clock_trust),
                NOTHING if forced is None else text_field(forced),
                word_field(self.outcome),
                self.outcome_at,
                self.outcome_position,
            )
        )


class _Denied(Struct, gc=False):
    """A row of `denials`, likewise."""

    read: ReadEntry
    body: DeniedBody
    day: date
    position: int = 0

    @property
    def row(self) -> bytes:
        """As `insert_rows` takes it."""
        read, body = self.read, self.body
        return b"".join(
            (
                whole_field(self.position),
                word_field(read.device),
                word_field(read.generation),
                whole_field(read.sequence),
                text_field(body.pass_id),
                NOTHING if body.pupil is None else text_field(body.pupil),
                word_field(_METHODS[body.method]),
                word_field(_REASONS[body.reason]),
                day_field(self.day),
                read.instant,
                word_field(read.clock_trust),
            )
        )


@dataclass(slots=True)
class _Passes:
    """What a batch says of passes, collected so that it is written in a few statements."""

    granted: dict[str, _Granted] = field(default_factory=dict)
    outcomes: dict[str, tuple[str, ReadEntry]] = field(default_factory=dict)
    """The outcome, and the entry that says so."""
    denied: list[tuple[ReadEntry, DeniedBody]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Projector:
    """Acts on each entry once, in the transaction that makes the entry durable."""

    orders: OrderDesk
    devices: DeviceDesk
    consents: ConsentDesk
    cards: CardDesk
    purges: PurgeDesk
    accounts: AccountDesk
    school: School
    clock: Clock

    def project(self, session: Session, device: Device, entries: Sequence[ReadEntry]) -> None:
        """Act on new `entries` of `device`, in order. A fact that is no fact is an alarm, and the next goes on."""
        passes = _Passes()
        for read in entries:
            if read.pass_body is not None and device.role == DeviceRole.TERMINAL:
                self._take_pass(session, passes, read, read.pass_body)
            else:
                self._take_other(session, device, passes, read)
        self._write_passes(session, device, passes)

    def _take_pass(self, session: Session, passes: _Passes, read: ReadEntry, body: PassBody) -> None:
        pass_id = body.pass_id
        if isinstance(body, OutcomeBody):
            if pass_id in passes.outcomes:
                self._alarm(session, AlarmKind.OUTCOME_CONFLICT, f"{read.device}/{pass_id}", read)
            else:
                passes.outcomes[pass_id] = (_OUTCOMES[read.kind], read)
        elif isinstance(body, GrantedBody):
            if pass_id in passes.granted:
                self._alarm(session, AlarmKind.PASS_REPEATED, f"{read.device}/{pass_id}", read)
            else:
                passes.granted[pass_id] = _Granted(read, body)
        else:
            passes.denied.append((read, body))

    def _take_other(self, session: Session, device: Device, passes: _Passes, read: ReadEntry) -> None:
        """What is no pass, or is written as none of ours writes it: rare, so told by the protocol's own reader."""
        entry = read.entry
        about = f"{entry.device}/{entry.generation}/{entry.sequence}"
        try:
            fact = read_fact(entry.kind, entry.body)
        except (MalformedMessage, OverflowError):  # an instant of the year 1 has no UTC
            self._alarm(session, AlarmKind.MALFORMED_FACT, about, read)
            return
        if _ONLY_FROM.get(type(fact), device.role) != device.role:
            self._alarm(session, AlarmKind.NOT_ITS_FACT, about, read)
            return
        match fact:
            case PassGranted() | PassDenied() | PassCompleted() | PassAbandoned() | PassUnresolved():
                self._take_pass(session, passes, read, pass_body_of(fact))
            case OrderApplied() | OrderRefused() | OrdersHeld() | JournalBegun():
                self.devices.take_standing(session, entry.device, fact)
            case PurgeReceipt():
                self.purges.take_receipt(session, entry, fact)
            case _:
                self._take_standing(session, read, fact)

    def _take_standing(self, session: Session, read: ReadEntry, fact: Fact) -> None:
        """How devices, consents, references and cards stand."""
        entry = read.entry
        match fact:
            case ReferencesDestroyed():
                # What it should hold again is asked of a station at the next round (`resealing`).
                session.execute(delete(Holding).where(Holding.device == entry.device))
            case ConsentRecorded():
                self.consents.take(session, entry, fact)
            case ReferenceEnrolled():
                session.merge(
                    Holding(device=entry.device, pupil=fact.pupil, revision=fact.revision, since=self.clock.utc_now())
                )
            case ReferenceSealed():
                self._pass_on(session, read, fact)
            case CardIssued():
                self.cards.take_issued(session, entry.device, fact)
            case CardRetired():
                self.cards.take_retired(session, entry.device, fact)
            case DeviceChecked():
                self._note_checkup(session, read, fact)
            case BoardKeyed():
                self._note_key(session, read, fact)
            case EnrollmentAdvised():
                self._advise(session, fact)

    def _note_checkup(self, session: Session, read: ReadEntry, fact: DeviceChecked) -> None:
        """The newest word counts; an older one that arrives late is in the ledger and nowhere else."""
        at = datetime.fromisoformat(read.recorded_at)
        known = session.get(DeviceCheckup, read.device)
        if known is None or known.checked_at <= at:
            at_risk, watch, firmware = (" ".join(fact.at_risk), " ".join(fact.watch), "\n".join(fact.firmware))
            session.merge(
                DeviceCheckup(device=read.device, checked_at=at, at_risk=at_risk, watch=watch, firmware=firmware)
            )

    def _note_key(self, session: Session, read: ReadEntry, fact: BoardKeyed) -> None:
        at = datetime.fromisoformat(read.recorded_at)
        known = session.get(BoardKey, (read.device, fact.address))
        if known is None or known.at <= at:
            session.merge(BoardKey(device=read.device, address=fact.address, outcome=fact.outcome, at=at))

    def _advise(self, session: Session, fact: EnrollmentAdvised) -> None:
        """Stations are told, unless they have taken the hand anew since, or two terminals found the same."""
        pupil = session.get(PupilRow, fact.pupil)
        if pupil is None or not may_use_biometrics(ConsentState(pupil.consent_state)):
            return
        if fact.revision >= max(advised_revision(session, fact.pupil) + 1, enrolled_revision(session, fact.pupil)):
            self.orders.issue_to_all(session, EnrollmentAdvice(fact.pupil, fact.revision), DeviceRole.STATION)

    def _pass_on(self, session: Session, entry: ReadEntry, fact: ReferenceSealed) -> None:
        """The consent gate of the server: a reference goes on only under a consent that stands now."""
        pupil = session.get(PupilRow, fact.pupil, with_for_update=True)
        recipient = locked_device(session, fact.recipient)
        why = None
        if pupil is None or pupil.departed_at is not None:
            why = "pupil"
        elif not may_use_biometrics(ConsentState(pupil.consent_state)):
            why = "consent"
        elif _is_purged_since(session, fact.pupil, datetime.fromisoformat(entry.recorded_at)):
            why = "purged"
        elif recipient is None or recipient.role != DeviceRole.TERMINAL:
            why = "recipient"
        if why is not None or recipient is None:
            about = f"{fact.pupil}/{fact.recipient}"
            self._alarm(session, AlarmKind.REFERENCE_DROPPED, about, entry, why or "")
            return
        self.orders.issue(session, recipient, ReferenceOrder(fact.pupil, entry.device, fact.revision, fact.sealed))

    def _write_passes(self, session: Session, device: Device, passes: _Passes) -> None:  # noqa: PLR0912 - one statement each
        now = self.clock.utc_now()
        # Positions are drawn in one fixed order of feeds, last of all: their row locks are held only to the commit.
        known = _known_passes(session, device.device, {*passes.granted, *passes.outcomes})
        told_twice = [passes.granted.pop(pass_id) for pass_id in known.keys() & passes.granted.keys()]
        for granted_twice in told_twice:
            if not _is_told_again(session, granted_twice):
                about = f"{device.device}/{granted_twice.body.pass_id}"
                raise_alarm(session, AlarmKind.PASS_REPEATED, about, now, device=device.device)
        settled: list[tuple[str, str, ReadEntry]] = []
        for pass_id, (outcome, read) in passes.outcomes.items():
            before = known.get(pass_id)
            if pass_id in passes.granted or (before is not None and before.outcome == PassOutcome.OPEN):
                settled.append((pass_id, outcome, read))
            elif not _is_settled_so(session, device.device, pass_id, outcome, read.recorded_at):
                about = f"{device.device}/{pass_id}"
                raise_alarm(session, AlarmKind.OUTCOME_CONFLICT, about, now, device=device.device)
        denied = self._denial_rows(session, passes.denied)
        session.flush()
        for position, denial in enumerate(denied, _next_place(session, "denials", len(denied))):
            denial.position = position
        later = []
        for position, (pass_id, outcome, read) in enumerate(settled, _next_place(session, "outcomes", len(settled))):
            grant = passes.granted.get(pass_id)
            if grant is None:
                changed = {"outcome": outcome, "outcome_at": read.at, "outcome_position": position}
                later.append({"b_device": device.device, "b_pass_id": pass_id, **changed})
            else:
                grant.outcome, grant.outcome_at, grant.outcome_position = outcome, read.instant, whole_field(position)
        granted = list(passes.granted.values())
        for position, grant in enumerate(granted, _next_place(session, "passes", len(granted))):
            grant.position = position
        if granted:
            insert_rows(session, MealPassRow, (grant.row for grant in granted))
        if denied:
            insert_rows(session, Denial, (denial.row for denial in denied))
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
            session.connection().execute(statement, later)
        changed_days = {(grant.body.pupil, grant.body.day) for grant in granted}
        changed_days |= {(row.pupil, row.day) for pass_id, _, _ in settled if (row := known.get(pass_id)) is not None}
        self._look_at_meals(session, device.device, changed_days, granted)

    def _look_at_meals(
        self, session: Session, device: str, days: set[tuple[str, date]], granted: list[_Granted]
    ) -> None:
        """What a batch told of pupils' `days` beside all that is known of them: prepaid meals, and meals twice.

        Not only the passes told of: an earlier forfait that comes late turns a prepaid one into a double. The feeds are
        locked since their positions were drawn.
        """
        if not days:
            return
        pupils = value_set(session, {pupil for pupil, _ in days})
        within = (MealPassRow.pupil.in_(pupils), MealPassRow.day.in_({day for _, day in days}))
        is_prepaid = MealPassRow.charged_to == EntitlementKind.EXTERNAL_MEAL.value
        elsewhere = and_(MealPassRow.device != device, MealPassRow.outcome != PassOutcome.ABANDONED.value)
        found = session.execute(
            select(MealPassRow.pupil, MealPassRow.day, MealPassRow.period, elsewhere, is_prepaid)
            .where(*within, or_(elsewhere, is_prepaid))
            .distinct()
        ).all()
        if any(prepaid and (pupil, day) in days for pupil, day, _, _, prepaid in found):
            rows = session.scalars(
                select(MealPassRow).where(is_prepaid, *within).execution_options(populate_existing=True)
            )
            self.accounts.follow(session, [row for row in rows if (row.pupil, row.day) in days])
        served = {
            (grant.body.pupil, grant.body.day, grant.body.period)
            for grant in granted
            if grant.outcome != PassOutcome.ABANDONED.value
        }
        for pupil, day, period in sorted({(row.pupil, row.day, row.period) for row in found if row[3]} & served):
            raise_alarm(session, AlarmKind.DOUBLE_SERVICE, f"{pupil}/{day}/{period}", self.clock.utc_now())

    def _denial_rows(self, session: Session, denied: list[tuple[ReadEntry, DeniedBody]]) -> list[_Denied]:
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
            _Denied(read, body, school_day(read.at))
            for read, body in denied
            if (body.pass_id, read.recorded_at) not in told
        ]

    def _alarm(
        self, session: Session, kind: AlarmKind, about: str, entry: ReadEntry, detail: str | None = None
    ) -> None:
        _log.warning("%s from %s at %s/%s", kind.value, entry.device, entry.generation, entry.sequence)
        # The kind of a fact we do not know is a device's word; it is shown only if it looks like one of ours.
        said = entry.kind if entry.kind.replace("-", "").isalnum() else "?"
        raise_alarm(
            session, kind, about, self.clock.utc_now(), device=entry.device, detail=said if detail is None else detail
        )


class _Known(Struct, gc=False):
    """What the ledger has of a pass."""

    outcome: str
    pupil: str
    day: date


def _known_passes(session: Session, device: str, pass_ids: set[str]) -> dict[str, _Known]:
    if not pass_ids:
        return {}
    rows = session.execute(
        select(MealPassRow.pass_id, MealPassRow.outcome, MealPassRow.pupil, MealPassRow.day).where(
            MealPassRow.device == device, MealPassRow.pass_id.in_(value_set(session, pass_ids))
        )
    )
    return {row.pass_id: _Known(row.outcome, row.pupil, row.day) for row in rows}


def _is_told_again(session: Session, granted: _Granted) -> bool:
    """Whether a grant is the known one once more, from a journal that began anew: billed once, and nobody's alarm."""
    read, body = granted.read, granted.body
    row = session.get_one(MealPassRow, (read.device, body.pass_id))
    known = (row.pupil, row.method, row.day, row.period, row.charged_to, instant_text(row.granted_at))
    again = (body.pupil, body.method, body.day, body.period, body.charged_to, read.recorded_at)
    return known == again and row.generation != read.generation


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
    last = session.scalars(
        update(FeedPosition)
        .where(FeedPosition.feed == feed)
        .values(last=FeedPosition.last + count)
        .returning(FeedPosition.last)
    ).one()
    return last - count + 1


def _is_purged_since(session: Session, pupil: str, sealed_at: datetime) -> bool:
    """Whether the school, not the family, has had the hand erased since: a seal of before comes too late.

    A family's refusal is in the station's own journal, behind what it ends and before what was consented to anew.
    """
    later = select(Purge.purge).where(
        Purge.pupil == pupil, Purge.asked_at >= sealed_at, Purge.cause.not_in([cause.value for cause in REFUSALS])
    )
    return session.scalars(later.limit(1)).first() is not None
