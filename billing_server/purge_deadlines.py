"""Purges: asked of every holder, each with its signed receipt, counted in days until the deadline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.cards import CardDesk
from billing_server.models import Alarm, Device, Holding, Journal, PupilRow, Purge, PurgeHolder
from billing_server.orders import OrderDesk, locked_devices, purge_order
from billing_server.roster import known_pupil
from canteen.clock import Clock
from canteen.identifiers import PupilId, PurgeId, new_purge_id
from sync.facts import PurgeReceipt
from sync.messages import JournalEntry
from sync.orders import PurgeCause, PurgeScope

WARNED_BEFORE = timedelta(days=3)
"""Time enough to walk to a terminal that has been off the network."""


@dataclass(frozen=True, slots=True)
class PurgeDesk:
    """Starts purges, takes receipts, watches the deadlines."""

    orders: OrderDesk
    cards: CardDesk
    clock: Clock
    allowed: timedelta
    lease: timedelta

    def depart(self, session: Session, pupil: PupilId, cause: PurgeCause, by: str) -> PurgeId:
        """The pupil leaves: nothing of theirs opens a gate any more, and every device erases them.

        Asking twice gives the same purge. Raises UnknownPupil.
        """
        locked_devices(session)
        row = known_pupil(session, pupil)
        if row.departed_at is not None:
            running = session.scalars(
                select(Purge).where(Purge.pupil == pupil, Purge.scope == PurgeScope.EVERYTHING.value)
            ).first()
            if running is not None:
                return PurgeId(running.purge)
        row.departed_at = self.clock.utc_now()
        self.cards.block_all(session, pupil)
        return self.start(session, pupil, PurgeScope.EVERYTHING, cause, by)

    def start(self, session: Session, pupil: PupilId, scope: PurgeScope, cause: PurgeCause, by: str) -> PurgeId:
        """Order every device to erase `scope` of `pupil`."""
        now = self.clock.utc_now()
        purge = Purge(
            purge=new_purge_id(),
            pupil=pupil,
            scope=scope.value,
            cause=cause.value,
            asked_at=now,
            asked_by=by,
            deadline=now + self.allowed,
        )
        session.add(purge)
        session.flush()
        # What no terminal has taken in yet is taken back first; the purge then follows whatever it has.
        self.orders.withdraw_references(session, pupil)
        holding = set(session.scalars(select(Holding.device).where(Holding.pupil == pupil)))
        for device in locked_devices(session):
            number = self.orders.issue(session, device, purge_order(session, purge))
            session.add(
                PurgeHolder(
                    purge=purge.purge,
                    device=device.device,
                    order_number=number,
                    held_reference=device.device in holding,
                )
            )
        revoked = select(Device.device).where(Device.revoked_at.is_not(None), Device.device.in_(holding))
        for name in session.scalars(revoked):
            # It gets no order any more; only its lease ends what it holds, and the record says so.
            session.add(PurgeHolder(purge=purge.purge, device=name, order_number=0, held_reference=True))
        session.flush()
        self._complete_if_all_confirmed(session, purge)
        return PurgeId(purge.purge)

    def take_receipt(self, session: Session, entry: JournalEntry, fact: PurgeReceipt) -> None:
        """Tick a holder off; `entry` has been verified and is the receipt."""
        now = self.clock.utc_now()
        purge = session.get(Purge, fact.purge, with_for_update=True)
        holder = session.get(PurgeHolder, (fact.purge, entry.device))
        if purge is None or holder is None or (purge.pupil, purge.scope) != (fact.pupil, fact.scope.value):
            about = f"{entry.device}/{entry.generation}/{entry.sequence}"
            # A purge that only the lost days knew of, perhaps: whoever looks must know whom to ask for again.
            detail = f"{fact.pupil} {fact.scope.value}"
            raise_alarm(session, AlarmKind.RECEIPT_MISMATCH, about, now, device=entry.device, detail=detail)
            return
        holding = session.get(Holding, (entry.device, fact.pupil))
        if holding is not None:
            session.delete(holding)
        if holder.received_at is not None:
            return  # said again after an old storage card was put back; the first receipt stands
        holder.receipt_generation, holder.receipt_sequence = entry.generation, entry.sequence
        holder.received_at, holder.erased_at = now, fact.erased_at
        holder.record_digest = fact.record_digest
        holder.epoch_before, holder.epoch_after = fact.epoch_before, fact.epoch_after
        session.flush()
        self._complete_if_all_confirmed(session, purge)

    def watch(self, session: Session) -> None:
        """Raise the alarms of purges that come near, or have passed, their deadline."""
        now = self.clock.utc_now()
        for purge in session.scalars(select(Purge).where(Purge.completed_at.is_(None))).all():
            kind = _alarm_at(now, purge.deadline)
            if kind is not None and not _stands(session, kind, purge.purge):
                raise_alarm(session, kind, purge.purge, now)
            if kind is AlarmKind.PURGE_OVERDUE:
                close_alarm(session, AlarmKind.PURGE_DUE_SOON, purge.purge, now)
                if purge.lease_ended_at is None and self._leases_ended(session, purge, now):
                    purge.lease_ended_at = now

    def _leases_ended(self, session: Session, purge: Purge, now: datetime) -> bool:
        """Whether every holder that has not confirmed has had no word from us for longer than a lease.

        Whatever it heard of us it heard by its last contact at the latest, and a lease runs from when it was issued.
        """
        missing = select(PurgeHolder.device).where(PurgeHolder.purge == purge.purge, PurgeHolder.received_at.is_(None))
        for device in session.scalars(select(Device).where(Device.device.in_(missing))):
            entries_at = session.scalar(
                select(func.max(Journal.last_received_at)).where(Journal.device == device.device)
            )
            heard = max(filter(None, (device.registered_at, device.last_contact, entries_at)))
            if now < heard + self.lease:
                return False
        return True

    def _complete_if_all_confirmed(self, session: Session, purge: Purge) -> None:
        missing = select(PurgeHolder).where(PurgeHolder.purge == purge.purge, PurgeHolder.received_at.is_(None))
        if purge.completed_at is not None or session.scalars(missing.limit(1)).first() is not None:
            return
        now = self.clock.utc_now()
        purge.completed_at = now
        for kind in (AlarmKind.PURGE_DUE_SOON, AlarmKind.PURGE_OVERDUE):
            close_alarm(session, kind, purge.purge, now)
        if purge.scope == PurgeScope.EVERYTHING:
            # Until now the code stayed reserved: a terminal that is still offline would have let its next owner
            # through under the departed pupil's name.
            row = session.get_one(PupilRow, purge.pupil)
            row.code_sealed = row.code_lookup = None
            self.cards.forget_all(session, purge.pupil)


def _alarm_at(now: datetime, deadline: datetime) -> AlarmKind | None:
    if now >= deadline:
        return AlarmKind.PURGE_OVERDUE
    return AlarmKind.PURGE_DUE_SOON if deadline - now <= WARNED_BEFORE else None


def _stands(session: Session, kind: AlarmKind, purge: str) -> bool:
    query = select(Alarm.id).where(Alarm.kind == kind.value, Alarm.about == purge, Alarm.closed_at.is_(None))
    return session.scalars(query.limit(1)).first() is not None
