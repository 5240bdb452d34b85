"""Devices: registered with their public keys, told everything they need, kept in the lease."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.balances import BalanceDesk
from billing_server.cards import CardDesk
from billing_server.errors import DeviceConflict
from billing_server.feed_positions import leap
from billing_server.models import Device, Entry, Holding, Journal, OrderRow, Purge, PurgeHolder
from billing_server.orders import (
    LOST,
    OrderDesk,
    has_forgotten,
    locked_device,
    locked_devices,
    waits_in_vain,
)
from billing_server.reconciliation import latest_service_end
from billing_server.roster import PupilRegistry
from billing_server.school import School
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.facts import FactKind, JournalBegun, OrderApplied, OrderRefused, OrdersHeld
from sync.greeting import EntryProof, Hello
from sync.orders import DeviceEntry, DeviceRole, DevicesOrder, LeaseOrder
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

ASKED_AGAIN = timedelta(minutes=1)
"""A device that does not answer is asked again so often: its program with the key may be off."""

RENEWED_EVERY = timedelta(days=1)
"""A lease of seven days then survives six days without a line, and a dead server is known within one."""


@dataclass(frozen=True, slots=True)
class DeviceDesk:
    """Registers devices and keeps what they know up to date."""

    orders: OrderDesk
    pupils: PupilRegistry
    cards: CardDesk
    balances: BalanceDesk
    school: School
    clock: Clock
    lease: timedelta
    _asked_at: dict[str, datetime] = field(default_factory=dict)
    """When a device was last asked which orders it holds."""

    def register(self, session: Session, entry: DeviceEntry) -> bool:
        """Take a device in and tell it everything; False if it was here already, with these keys.

        Raises:
            DeviceConflict: it is here with other keys.
        """
        known = locked_device(session, entry.device)
        if known is not None:
            if _directory_entry(known) != entry:
                raise DeviceConflict("a device of this name has other keys")
            return False
        device = Device(
            device=entry.device,
            role=entry.role.value,
            verifying_key=entry.verifying_key.octets,
            sealing_key=entry.sealing_key.octets,
            registered_at=self.clock.utc_now(),
            last_order=0,
        )
        session.add(device)
        session.flush()
        self.tell_directory(session, but=entry.device)
        self.tell_everything(session, device)
        return True

    def admit_again(self, session: Session, device: Device) -> None:
        """A device that had been revoked is one of ours again, with the keys it had (a locked row)."""
        session.flush()
        self.tell_directory(session, but=device.device)
        self.tell_everything(session, device)
        # While it was away it got no order: what it held was left to its lease, which begins anew.
        self._ask_purges(session, device, PurgeHolder.order_number == 0)

    def tell_directory(self, session: Session, but: str | None = None) -> None:
        """Say to every device which devices there are now."""
        directory = self.directory(session)
        for other in locked_devices(session):
            if other.device != but:
                self.orders.issue(session, other, directory)

    def directory(self, session: Session) -> DevicesOrder:
        """The devices that are believed: a revoked one is not."""
        rows = session.scalars(select(Device).where(Device.revoked_at.is_(None)).order_by(Device.device))
        return DevicesOrder(tuple(_directory_entry(row) for row in rows))

    def tell_everything(self, session: Session, device: Device) -> None:
        """The present state, whole, as orders of `device` (a locked row); references come from the station."""
        role = DeviceRole(device.role)
        self.orders.issue(session, device, self.directory(session))
        self.orders.issue(session, device, self.school.calendar_order(session))
        self.orders.issue(session, device, self.pupils.whole_roster(session, role))
        for assigned in self.cards.active_cards(session):
            self.orders.issue(session, device, assigned)
        for blocked in self.cards.blocked_cards(session):
            self.orders.issue(session, device, blocked)
        balances = self.balances.current(session) if role is DeviceRole.TERMINAL else None
        if balances is not None and balances.meals_left:
            self.orders.issue(session, device, balances)
        self._renew(session, device)

    def take_hello(self, session: Session, device: Device, hello: Hello) -> bool:
        """A device (a locked row) says what it has; whether it is to be asked which orders it really holds.

        A terminal whose newest entry is older than the end of the latest service is asked too: its answer stands in the
        journal after all that it recorded in that service, which the day's certificate waits for.

        The signatures in `hello` have been verified. What nobody signed in it changes nothing here.
        """
        now = self.clock.utc_now()
        device.last_contact = now
        if hello.last_entry is not None:
            _note_said(session, device, hello.last_entry, now)
        if hello.newest_order is not None and hello.newest_order.number > device.last_order:
            self._catch_up_with(session, device, hello.newest_order.number)
            return False
        if not has_forgotten(session, device.device, hello.orders_up_to) and not self._is_awaited(
            session, device, hello.last_entry, now
        ):
            return False
        asked_at = self._asked_at.get(device.device)
        if asked_at is not None and abs(now - asked_at) < ASKED_AGAIN:
            return False
        self._asked_at[device.device] = now
        return True

    def _is_awaited(self, session: Session, device: Device, last: EntryProof | None, now: datetime) -> bool:
        if last is None or device.role != DeviceRole.TERMINAL:
            return False
        ended_at = latest_service_end(self.school.calendar(session), now)
        return ended_at is not None and last.recorded_at < ended_at

    def take_standing(
        self, session: Session, name: DeviceId, fact: OrderApplied | OrderRefused | OrdersHeld | JournalBegun
    ) -> None:
        """What a device puts on record about its orders and its journal."""
        match fact:
            case OrderApplied() | OrderRefused():
                self._take_answer(session, name, fact)
            case OrdersHeld():
                self._take_held(session, name, fact)
            case JournalBegun(previous):
                # What is missing of the old journal comes in this one.
                close_alarm(session, AlarmKind.GAP, f"{name}/{previous}", self.clock.utc_now())

    def _take_answer(self, session: Session, name: DeviceId, answer: OrderApplied | OrderRefused) -> None:
        """A device has carried out or refused an order; perhaps one that we do not know any more."""
        row = session.get(OrderRow, (name, answer.number))
        if row is None or _is_another(row, answer):
            device = locked_device(session, name)
            if device is None:
                return
            self._catch_up_with(session, device, max(answer.number, device.last_order))
        why = answer.why if isinstance(answer, OrderRefused) else None
        self.orders.take_answer(session, name, answer.number, why)

    def _take_held(self, session: Session, name: DeviceId, held: OrdersHeld) -> None:
        """The device's signed word on which orders it holds: if it has forgotten answered ones, start it afresh.

        It stands in the device's journal among its answers, so that it is exact whenever it comes: an answer or a
        receipt that has not come before it never will. Our backup is then older than what the device's journal still
        tells, and what we have under those numbers would wait for good.
        """
        device = locked_device(session, name)
        if device is None:
            return
        if held.up_to > device.last_order or waits_in_vain(session, name, held.up_to):
            self._catch_up_with(session, device, max(held.up_to, device.last_order))
        if not has_forgotten(session, name, held.up_to):
            return
        raise_alarm(session, AlarmKind.DEVICE_RESTORED, name, self.clock.utc_now(), device=name)
        session.execute(delete(Holding).where(Holding.device == name))
        self.orders.restore(session, device, held.up_to)
        self.tell_everything(session, device)

    def _catch_up_with(self, session: Session, device: Device, number: int) -> None:
        """The device has orders that we do not know any more: number on after them, and say all that may be lost.

        The places up to `number` are filled with nothing to do: the device may lack one of them, and waits for it. What
        we have made since under numbers that it has used would be taken for done; it is said again.
        """
        now = self.clock.utc_now()
        raise_alarm(session, AlarmKind.SERVER_RESTORED, device.device, now, device=device.device)
        leap(session)
        for pupil in self.orders.give_up_waiting(session, device):
            about = f"{pupil}/{device.device}"
            raise_alarm(session, AlarmKind.REFERENCE_DROPPED, about, now, device=device.device, detail="restored")
        self.orders.fill_up_to(session, device, number)
        self.tell_everything(session, device)
        self._ask_purges(session, device)

    def _ask_purges(self, session: Session, device: Device, *which: ColumnElement[bool]) -> None:
        """Order (again) the purges that `device` has not confirmed."""
        waiting = select(PurgeHolder).where(PurgeHolder.device == device.device, PurgeHolder.received_at.is_(None))
        for holder in session.scalars(waiting.where(*which)):
            purge = session.get_one(Purge, holder.purge)
            holder.order_number = self.orders.issue(session, device, self.orders.purge_order(session, purge))

    def renew_leases(self, session: Session) -> None:
        """Give every device whose lease is a day old a fresh one."""
        now = self.clock.utc_now()
        for device in locked_devices(session):
            issued_at = device.lease_issued_at
            # A lease from the future was issued by a clock that has been put right since.
            if issued_at is None or issued_at > now or now - issued_at >= RENEWED_EVERY:
                self._renew(session, device)

    def _renew(self, session: Session, device: Device) -> None:
        now = self.clock.utc_now()
        device.lease_issued_at = now
        self.orders.issue(session, device, LeaseOrder(now + self.lease))


def _is_another(row: OrderRow, answer: OrderApplied | OrderRefused) -> bool:
    """Whether the device means another order of this number, made before our backup was put back."""
    return row.kind != LOST and answer.issued_at is not None and answer.issued_at != row.issued_at


def _note_said(session: Session, device: Device, last: EntryProof, now: datetime) -> None:
    """How far the device's journal reaches, by its own signature, which anybody may say again later."""
    if last.generation != device.said_generation:
        journals = select(Journal.generation).where(Journal.device == device.device)
        known = session.scalars(journals.order_by(Journal.first_received_at)).all()
        if last.generation in known[:-1]:
            return  # a journal that another one has followed
        _keep_in_mind(session, device, last.generation, now)
        device.said_generation, device.said_entries = last.generation, 0
    device.said_entries, device.said_at = max(device.said_entries or 0, last.sequence), now


def _keep_in_mind(session: Session, device: Device, following: str, now: datetime) -> None:
    """The journal that another follows said more than it has sent: the gap stays an alarm, and on the day's paper.

    Unless the new journal says that it tells the rest (`journal-begun`), by an entry that is here or that will come.
    """
    begun = select(Entry.sequence).where(
        Entry.device == device.device, Entry.generation == following, Entry.kind == FactKind.JOURNAL_BEGUN.value
    )
    if device.said_generation is None or session.scalars(begun.limit(1)).first() is not None:
        return
    journal = session.get(Journal, (device.device, device.said_generation))
    received, said = 0 if journal is None else journal.up_to, device.said_entries or 0
    if said > received:
        about = f"{device.device}/{device.said_generation}"
        raise_alarm(session, AlarmKind.GAP, about, now, device=device.device, detail=f"{received + 1}-{said}")


def _directory_entry(row: Device) -> DeviceEntry:
    return DeviceEntry(
        DeviceId(row.device), DeviceRole(row.role), VerifyingKey(row.verifying_key), SealingKey(row.sealing_key)
    )
