"""Purges: asked of every holder, each with its signed receipt, counted in days until the deadline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.cards import CardDesk
from billing_server.models import Alarm, Device, Holding, Journal, OrderRow, PupilRow, Purge, PurgeHolder
from billing_server.orders import OrderDesk, locked_devices
from billing_server.roster import known_pupil
from canteen.clock import Clock
from canteen.identifiers import PupilId, PurgeId, new_purge_id
from sync.errors import BadSignature
from sync.facts import PurgeReceipt
from sync.messages import JournalEntry
from sync.orders import OrderKind, PurgeCause, PurgeScope
from sync.purge_request import verify_request

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

    def depart(
        self, session: Session, pupil: PupilId, cause: PurgeCause, by: str, asked_at: datetime | None = None
    ) -> PurgeId:
        """The pupil leaves: nothing of theirs opens a gate any more, and every device erases them.

        The days count from `asked_at`, or from now. Asking twice gives the same purge. Raises UnknownPupil.
        """
        locked_devices(session)
        row = known_pupil(session, pupil)
        if row.departed_at is not None:
            running = session.scalars(
                select(Purge).where(Purge.pupil == pupil, Purge.scope == PurgeScope.EVERYTHING.value)
            ).first()
            if running is not None:
                return PurgeId(running.purge)
        row.departed_at = asked_at or self.clock.utc_now()
        self.cards.block_all(session, pupil)
        return self.start(session, pupil, PurgeScope.EVERYTHING, cause, by, asked_at)

    def start(
        self,
        session: Session,
        pupil: PupilId,
        scope: PurgeScope,
        cause: PurgeCause,
        by: str,
        asked_at: datetime | None = None,
    ) -> PurgeId:
        """Order every device to erase `scope` of `pupil`; the days count from `asked_at`, or from now."""
        asked_at = asked_at or self.clock.utc_now()
        purge = Purge(
            purge=new_purge_id(),
            pupil=pupil,
            scope=scope.value,
            cause=cause.value,
            asked_at=asked_at,
            asked_by=by,
            deadline=asked_at + self.allowed,
        )
        session.add(purge)
        session.flush()
        may_hold = self._may_hold(session, pupil)
        # What no terminal has taken in yet is taken back first; the purge then follows whatever it has.
        self.orders.withdraw_references(session, pupil)
        for device in locked_devices(session):
            number = self.orders.issue(session, device, self.orders.purge_order(session, purge))
            session.add(
                PurgeHolder(
                    purge=purge.purge,
                    device=device.device,
                    order_number=number,
                    held_reference=may_hold.get(device.device, False),
                )
            )
        revoked = select(Device).where(Device.revoked_at.is_not(None), Device.device.in_(may_hold))
        for device in session.scalars(revoked).all():
            held = may_hold[device.device]
            if held or not self._lease_over(session, device, self.clock.utc_now()):
                # It gets no order any more; only its lease ends what it holds, and the record says so.
                session.add(PurgeHolder(purge=purge.purge, device=device.device, order_number=0, held_reference=held))
        session.flush()
        self._complete_if_all_confirmed(session, purge)
        return PurgeId(purge.purge)

    def take_receipt(self, session: Session, entry: JournalEntry, fact: PurgeReceipt) -> None:
        """Tick a holder off; `entry` has been verified and is the receipt."""
        now = self.clock.utc_now()
        purge = session.get(Purge, fact.purge, with_for_update=True)
        holder = session.get(PurgeHolder, (fact.purge, entry.device))
        if purge is None and self._ask_again(session, entry, fact):
            return
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

    def _ask_again(self, session: Session, entry: JournalEntry, fact: PurgeReceipt) -> bool:
        """Whether `fact` answers a request of our own that is not here: an older backup of ours was put back.

        A departure is asked again, of every device: meanwhile the pupil was in the roster that they were told. What
        ended a consent comes again by itself, from the station's journal, and the end of the year by its rule.
        """
        try:
            verify_request(fact, self.orders.signing_key.verifying_key)
        except BadSignature:
            return False
        if fact.scope is PurgeScope.REFERENCE:
            return True
        row = session.get(PupilRow, fact.pupil)
        if row is None or fact.cause is None:
            return False
        if row.departed_at is None:
            purge = self.depart(session, fact.pupil, fact.cause, fact.asked_by or "", fact.asked_at)
            now = self.clock.utc_now()
            raise_alarm(session, AlarmKind.PURGE_ASKED_AGAIN, purge, now, device=entry.device, detail=fact.pupil)
        return True

    @staticmethod
    def _may_hold(session: Session, pupil: PupilId) -> dict[str, bool]:
        """The devices that have the pupil's reference (true), or may have, their answer not being here (false)."""
        sent = select(OrderRow.device).where(
            OrderRow.pupil == pupil, OrderRow.kind == OrderKind.REFERENCE.value, OrderRow.answered_at.is_(None)
        )
        held = select(Holding.device).where(Holding.pupil == pupil)
        return {**dict.fromkeys(session.scalars(sent), False), **dict.fromkeys(session.scalars(held), True)}

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
        devices = session.scalars(select(Device).where(Device.device.in_(missing))).all()
        return all(self._lease_over(session, device, now) for device in devices)

    def _lease_over(self, session: Session, device: Device, now: datetime) -> bool:
        entries_at = session.scalar(select(func.max(Journal.last_received_at)).where(Journal.device == device.device))
        return now >= max(filter(None, (device.registered_at, device.last_contact, entries_at))) + self.lease

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
