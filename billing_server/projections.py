"""From verified entries to tables: passes with their outcomes, denials, and what stations and terminals report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.batch_reading import ReadEntry
from billing_server.cards import CardDesk
from billing_server.consents import ConsentDesk
from billing_server.devices import DeviceDesk
from billing_server.enrollment_advice import advised_revision, enrolled_revision
from billing_server.models import (
    BoardKey,
    Device,
    DeviceCheckup,
    Holding,
    PupilRow,
    Purge,
)
from billing_server.orders import REFUSALS, OrderDesk, locked_device
from billing_server.pass_bodies import PASS_KINDS, pass_body_of
from billing_server.pass_desk import PassDesk
from billing_server.pass_rows import Passes
from billing_server.purge_deadlines import PurgeDesk
from billing_server.read_batch import ReadBatch
from canteen.clock import Clock
from canteen.consent import ConsentState, may_use_biometrics
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassGranted,
    PassUnresolved,
)
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


@dataclass(frozen=True, slots=True)
class Projector:
    """Acts on each entry once, in the transaction that makes the entry durable."""

    orders: OrderDesk
    devices: DeviceDesk
    consents: ConsentDesk
    cards: CardDesk
    purges: PurgeDesk
    passes: PassDesk
    clock: Clock

    def project(self, session: Session, device: Device, batches: Sequence[ReadBatch]) -> None:
        """Act on new entries of `device`, in order. A fact that is no fact is an alarm, and the next goes on."""
        passes = Passes()
        for batch in batches:
            if device.role == DeviceRole.TERMINAL and PASS_KINDS.isdisjoint([one.kind for one in batch.passes.others]):
                passes.add(batch.passes)
                for read in batch.passes.others:
                    self._take_other(session, device, passes, read)
            else:
                self._take_each(session, device, passes, batch)
        for pass_id, read in passes.repeated:
            is_grant = read.kind == FactKind.PASS_GRANTED.value
            kind = AlarmKind.PASS_REPEATED if is_grant else AlarmKind.OUTCOME_CONFLICT
            self._alarm(session, kind, f"{read.device}/{pass_id}", read)
        self.passes.write(session, device.device, passes)

    def _take_each(self, session: Session, device: Device, passes: Passes, batch: ReadBatch) -> None:
        for read in batch.untrusted_entries:
            if read.pass_body is not None and device.role == DeviceRole.TERMINAL:
                passes.take(read, read.pass_body)
            else:
                self._take_other(session, device, passes, read)

    def _take_other(self, session: Session, device: Device, passes: Passes, read: ReadEntry) -> None:
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
                passes.take(read, pass_body_of(fact))
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

    def _alarm(
        self, session: Session, kind: AlarmKind, about: str, entry: ReadEntry, detail: str | None = None
    ) -> None:
        _log.warning("%s from %s at %s/%s", kind.value, entry.device, entry.generation, entry.sequence)
        # The kind of a fact we do not know is a device's word; it is shown only if it looks like one of ours.
        said = entry.kind if entry.kind.replace("-", "").isalnum() else "?"
        raise_alarm(
            session, kind, about, self.clock.utc_now(), device=entry.device, detail=said if detail is None else detail
        )


def _is_purged_since(session: Session, pupil: str, sealed_at: datetime) -> bool:
    """Whether the school, not the family, has had the hand erased since: a seal of before comes too late.

    A family's refusal is in the station's own journal, behind what it ends and before what was consented to anew.
    """
    later = select(Purge.purge).where(
        Purge.pupil == pupil, Purge.asked_at >= sealed_at, Purge.cause.not_in([cause.value for cause in REFUSALS])
    )
    return session.scalars(later.limit(1)).first() is not None
