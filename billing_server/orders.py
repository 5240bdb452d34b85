"""Orders: numbered without holes per device, sealed for it and signed when made, forgotten once it has answered.

The number is drawn under the device's row lock, in the transaction that makes the reason for the order durable: an
order
exists if and only if what it tells is so. After the commit the downlink is told (see `announce`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import event, func, select
from sqlalchemy.orm import Session, sessionmaker

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.models import ConsentRow, Device, Holding, OrderRow, Purge, PurgeHolder
from canteen.clock import Clock
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId, PupilId, PurgeId
from sync.facts import REFERENCE_EXPIRED
from sync.messages import sign_order, write_signed_order
from sync.order_bodies import write_order
from sync.orders import (
    CardAssigned,
    DeviceRole,
    EnrollmentAdvice,
    Order,
    OrderKind,
    PurgeCause,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
)
from sync.purge_request import signed_request
from sync.sealing import SealingKey
from sync.signing import SigningKey

REFUSALS = {PurgeCause.OPPOSITION: ConsentState.OPPOSED, PurgeCause.WITHDRAWAL: ConsentState.WITHDRAWN}
"""The family's words that end a reference, by the cause that a purge has from them."""

NOTHING_TO_DO = Roster((), whole=False)
"""What takes the number of an order that must not be carried out any more: numbers have no holes."""

LOST = "lost"
"""The kind of an order that an older backup of ours does not have: only that the device was given its number."""

_ORDERED = "devices with new orders"


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Makes orders and takes the answers."""

    signing_key: SigningKey = field(repr=False)
    clock: Clock

    def issue(self, session: Session, device: Device, order: Order) -> int:
        """Make `order` the next of `device` (a locked row, see `locked_devices`); its number."""
        device.last_order += 1
        number = device.last_order
        now = self.clock.utc_now()
        session.add(
            OrderRow(
                device=device.device,
                number=number,
                kind=write_order(order)["kind"],
                pupil=_pupil_of(order),
                revision=order.revision if isinstance(order, ReferenceOrder | EnrollmentAdvice) else None,
                purge=order.purge if isinstance(order, PurgeOrder) else None,
                wire=self._wire(device, number, now, order),
                issued_at=now,
            )
        )
        session.info.setdefault(_ORDERED, set()).add(device.device)
        return number

    def issue_to_all(
        self, session: Session, order: Order | Callable[[DeviceRole], Order], role: DeviceRole | None = None
    ) -> dict[str, int]:
        """The order to every device (of `role`, if said); the number it got at each."""
        numbers = {}
        for device in locked_devices(session, role):
            chosen = order(DeviceRole(device.role)) if callable(order) else order
            numbers[device.device] = self.issue(session, device, chosen)
        return numbers

    def take_answer(self, session: Session, device: str, number: int, refused_why: str | None) -> None:
        """The device has applied or refused its order `number`: forget what was in it, keep that it was."""
        row = session.get(OrderRow, (device, number))
        now = self.clock.utc_now()
        if row is None:
            raise_alarm(session, AlarmKind.ORDER_REFUSED, f"{device}/{number}", now, device=device, detail="no such")
            return
        row.wire = None
        row.answered_at = now
        row.refused_why = refused_why
        if refused_why == REFERENCE_EXPIRED:
            return  # it came after its lease; `resealing` asks for another
        if refused_why is not None:
            about = f"{device}/{number}"
            raise_alarm(
                session, AlarmKind.ORDER_REFUSED, about, now, device=device, detail=f"{row.kind}: {refused_why}"
            )
        elif row.kind == OrderKind.REFERENCE and row.pupil is not None and row.revision is not None:
            self._note_holding(session, device, row.pupil, row.revision)

    def withdraw_references(self, session: Session, pupil: PupilId) -> None:
        """References of `pupil` that no terminal has answered for yet are taken out of the orders that carry them."""
        waiting = select(OrderRow).where(
            OrderRow.pupil == pupil, OrderRow.kind == OrderKind.REFERENCE.value, OrderRow.answered_at.is_(None)
        )
        for row in session.scalars(waiting).all():
            device = session.get_one(Device, row.device)
            row.kind = OrderKind.ROSTER.value
            row.revision = None
            row.wire = self._wire(device, row.number, row.issued_at, NOTHING_TO_DO)
            session.info.setdefault(_ORDERED, set()).add(row.device)

    def supersede(self, session: Session, device: Device, kind: OrderKind) -> None:
        """Orders of this `kind` that `device` has not answered are replaced by the one that comes now."""
        waiting = select(OrderRow).where(
            OrderRow.device == device.device, OrderRow.kind == kind.value, OrderRow.answered_at.is_(None)
        )
        for row in session.scalars(waiting).all():
            row.kind = OrderKind.ROSTER.value
            row.wire = self._wire(device, row.number, row.issued_at, NOTHING_TO_DO)

    def restore(self, session: Session, device: Device, orders_up_to: int) -> None:
        """Fill for `device` the places of orders it once answered and has forgotten.

        Purges are said again in full, so that what an old storage card brought back goes again; every other forgotten
        order becomes one with nothing to do, and the caller tells the device the present state after them.
        """
        forgotten = select(OrderRow).where(
            OrderRow.device == device.device, OrderRow.number > orders_up_to, OrderRow.wire.is_(None)
        )
        for row in session.scalars(forgotten).all():
            order: Order = NOTHING_TO_DO
            if row.kind == OrderKind.PURGE and row.purge is not None:
                order = self.purge_order(session, session.get_one(Purge, row.purge))
            else:
                row.kind, row.revision = OrderKind.ROSTER.value, None  # its answer is not one about what it was
            row.wire = self._wire(device, row.number, row.issued_at, order)
            row.answered_at = None
        session.info.setdefault(_ORDERED, set()).add(device.device)

    def give_up_waiting(self, session: Session, device: Device) -> list[str]:
        """Orders of `device` without an answer say nothing any more; the pupils whose references were among them."""
        pupils = []
        unanswered_rows = select(OrderRow).where(OrderRow.device == device.device, OrderRow.answered_at.is_(None))
        for row in session.scalars(unanswered_rows).all():
            if row.kind == OrderKind.REFERENCE and row.pupil is not None:
                pupils.append(row.pupil)
            row.kind, row.pupil, row.revision, row.purge = LOST, None, None, None
            row.wire = self._wire(device, row.number, row.issued_at, NOTHING_TO_DO)
        return pupils

    def fill_up_to(self, session: Session, device: Device, number: int) -> None:
        """Orders with nothing to do in the places up to `number` that we know nothing of."""
        now = self.clock.utc_now()
        for place in range(device.last_order + 1, number + 1):
            wire = self._wire(device, place, now, NOTHING_TO_DO)
            session.add(OrderRow(device=device.device, number=place, kind=LOST, wire=wire, issued_at=now))
        device.last_order = max(device.last_order, number)
        session.flush()

    def purge_order(self, session: Session, purge: Purge) -> PurgeOrder:
        """The order that asks for `purge`, with our signature on what it asks."""
        order = PurgeOrder(
            PurgeId(purge.purge),
            PupilId(purge.pupil),
            PurgeScope(purge.scope),
            PurgeCause(purge.cause),
            purge.deadline,
            purge.asked_by,
            _consents_until(session, purge),
            purge.asked_at,
        )
        return signed_request(order, self.signing_key)

    def _wire(self, device: Device, number: int, issued_at: datetime, order: Order) -> bytes:
        name = DeviceId(device.device)
        return write_signed_order(
            sign_order(order, name, number, issued_at, SealingKey(device.sealing_key), self.signing_key)
        )

    def _note_holding(self, session: Session, device: str, pupil: str, revision: int) -> None:
        session.merge(Holding(device=device, pupil=pupil, revision=revision, since=self.clock.utc_now()))


def locked_devices(session: Session, role: DeviceRole | None = None) -> list[Device]:
    """The devices that get orders (not those revoked), locked in one fixed order.

    Whatever may issue orders takes these locks before it locks anything else, so that no two transactions wait for each
    other in a ring.
    """
    query = select(Device).where(Device.revoked_at.is_(None)).order_by(Device.device).with_for_update()
    if role is not None:
        query = query.where(Device.role == role.value)
    return list(session.scalars(query, execution_options={"populate_existing": True}))


def locked_device(session: Session, device: str) -> Device | None:
    """One device, locked; None if it is not ours."""
    return session.get(Device, device, with_for_update=True, populate_existing=True)


def _consents_until(session: Session, purge: Purge) -> datetime | None:
    """Which consents the end of a reference ends: those before the family's latest refusal, else before it was asked.

    Said again after later refusals, a purge may take what those have ended, too.
    """
    if purge.scope == PurgeScope.EVERYTHING:
        return None
    if PurgeCause(purge.cause) not in REFUSALS:
        return purge.asked_at
    refused = select(func.max(ConsentRow.given_at)).where(
        ConsentRow.pupil == purge.pupil, ConsentRow.state.in_([state.value for state in REFUSALS.values()])
    )
    return session.scalars(refused).one() or purge.asked_at


def unanswered(session: Session, device: str, above: int, limit: int) -> list[tuple[int, bytes]]:
    """Number and wire of the orders of `device` above a number, in order; those it has answered have no wire."""
    rows = session.execute(
        select(OrderRow.number, OrderRow.wire)
        .where(OrderRow.device == device, OrderRow.number > above, OrderRow.wire.is_not(None))
        .order_by(OrderRow.number)
        .limit(limit)
    )
    return [(number, wire) for number, wire in rows if wire is not None]


def has_forgotten(session: Session, device: str, orders_up_to: int) -> bool:
    """Whether `device` once answered an order above `orders_up_to`."""
    query = select(OrderRow.number).where(
        OrderRow.device == device, OrderRow.number > orders_up_to, OrderRow.wire.is_(None)
    )
    return session.scalars(query.limit(1)).first() is not None


def waits_in_vain(session: Session, device: str, orders_held: int) -> bool:
    """Whether an answer or a receipt to an order up to `orders_held` has not come, though all those are done."""
    answers = select(OrderRow.number).where(
        OrderRow.device == device, OrderRow.number <= orders_held, OrderRow.answered_at.is_(None)
    )
    receipts = select(PurgeHolder.order_number).where(
        PurgeHolder.device == device, PurgeHolder.order_number <= orders_held, PurgeHolder.received_at.is_(None)
    )
    return any(session.scalars(query.limit(1)).first() is not None for query in (answers, receipts))


def announce(sessions: sessionmaker[Session], wake: Callable[[set[str]], None]) -> None:
    """From now on `wake` is told, after each commit, which devices have new orders."""

    def committed(session: Session) -> None:
        devices: set[str] = session.info.pop(_ORDERED, set())
        if devices:
            wake(devices)

    event.listen(sessions, "after_commit", committed)


def _pupil_of(order: Order) -> str | None:
    return order.pupil if isinstance(order, PurgeOrder | ReferenceOrder | CardAssigned | EnrollmentAdvice) else None
