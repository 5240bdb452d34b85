"""Devices: registered with their public keys, told everything they need, kept in the lease."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.balances import BalanceDesk
from billing_server.cards import CardDesk
from billing_server.errors import DeviceConflict
from billing_server.models import Device, Holding, OrderRow, Purge, PurgeHolder
from billing_server.orders import OrderDesk, has_forgotten, locked_device, locked_devices, purge_order
from billing_server.roster import PupilRegistry
from billing_server.school import School
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.orders import DeviceEntry, DeviceRole, DevicesOrder, LeaseOrder
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

NUMBERS_LOST_MOST = 1_000_000
"""How far a device's numbers may be ahead of ours; more is no backup but a lie."""

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
    _doubted: dict[str, int] = field(default_factory=dict)
    """Devices that once said less than they had answered for."""

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

    def take_hello(self, session: Session, name: DeviceId, orders_up_to: int, entries_up_to: int = 0) -> None:
        """A device connected and says what it has; if it has forgotten answered orders, start it afresh."""
        device = locked_device(session, name)
        if device is None:
            return
        now = self.clock.utc_now()
        device.last_contact = now
        device.said_entries, device.said_at = entries_up_to, now
        if device.last_order < orders_up_to <= device.last_order + NUMBERS_LOST_MOST:
            self._catch_up_with(session, device, orders_up_to)
            return
        if not has_forgotten(session, name, orders_up_to):
            self._doubted.pop(name, None)
            return
        if self._doubted.get(name) != orders_up_to:
            # The broker may deliver an old hello again, late; a device that has really forgotten says it once more.
            self._doubted[name] = orders_up_to
            return
        del self._doubted[name]
        raise_alarm(session, AlarmKind.DEVICE_RESTORED, name, now, device=name)
        session.execute(delete(Holding).where(Holding.device == name))
        self.orders.restore(session, device, orders_up_to)
        self.tell_everything(session, device)

    def _catch_up_with(self, session: Session, device: Device, orders_up_to: int) -> None:
        """The device has orders that we do not know any more: number on after them, and say all that may be lost.

        What we have made since under numbers that it has used would be taken for done; it is said again.
        """
        now = self.clock.utc_now()
        raise_alarm(session, AlarmKind.SERVER_RESTORED, device.device, now, device=device.device)
        for order in session.scalars(
            select(OrderRow).where(OrderRow.device == device.device, OrderRow.answered_at.is_(None))
        ):
            order.wire, order.answered_at = None, now
        device.last_order = orders_up_to
        self.tell_everything(session, device)
        waiting = select(PurgeHolder).where(PurgeHolder.device == device.device, PurgeHolder.received_at.is_(None))
        for holder in session.scalars(waiting):
            purge = session.get_one(Purge, holder.purge)
            holder.order_number = self.orders.issue(session, device, purge_order(session, purge))

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


def _directory_entry(row: Device) -> DeviceEntry:
    return DeviceEntry(
        DeviceId(row.device), DeviceRole(row.role), VerifyingKey(row.verifying_key), SealingKey(row.sealing_key)
    )
