"""Terminals get back what they should hold: whatever one lacks, a station is asked to seal for it again.

It may have lost its files, destroyed everything when its lease ran out, or got a reference after its time: what counts
is that it does not hold, and no order on its way brings it, what a station holds under a consent that stands. Nobody
has to notice. A terminal that was revoked is asked for no more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from billing_server.models import Device, Holding, OrderRow, PupilRow
from billing_server.orders import OrderDesk, locked_devices
from canteen.clock import Clock
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId, PupilId
from sync.orders import SEALED_AGAIN_MOST, DeviceRole, OrderKind, SealAgainOrder

_AGAIN_AFTER = timedelta(hours=1)
"""A station that answered without sealing (its own lease is over) is not asked every few seconds."""

_ITS_OWN = timedelta(minutes=10)
"""A new terminal in its directory is a station's own business: it seals everything for it without being asked."""


@dataclass(frozen=True, slots=True)
class ResealDesk:
    """Watches what terminals lack."""

    orders: OrderDesk
    clock: Clock
    _asked: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When a pair of pupil and terminal was last asked for; forgotten at a restart, which costs one more seal."""

    def watch(self, session: Session) -> int:
        """Ask for what is lacking; how many references were asked for."""
        devices = {device.device: device for device in locked_devices(session)}
        stations = {name for name, device in devices.items() if device.role == DeviceRole.STATION}
        # One that has not answered the last question (it is off, or at work) is not asked the next one.
        stations -= set(
            session.scalars(
                select(OrderRow.device).where(
                    OrderRow.kind == OrderKind.SEAL_AGAIN.value, OrderRow.answered_at.is_(None)
                )
            )
        )
        if not stations or len(stations) == len(devices):
            return 0
        now = self.clock.utc_now()
        for pair in [pair for pair, at in self._asked.items() if not at <= now < at + _AGAIN_AFTER]:
            del self._asked[pair]
        wanted: defaultdict[tuple[str, str], list[PupilId]] = defaultdict(list)
        for pupil, terminal, station in self._lacking(session, now - _ITS_OWN):
            if station in stations and terminal in devices and (pupil, terminal) not in self._asked:
                wanted[station, terminal].append(PupilId(pupil))
        for (station, terminal), pupils in wanted.items():
            for first in range(0, len(pupils), SEALED_AGAIN_MOST):
                some = tuple(pupils[first : first + SEALED_AGAIN_MOST])
                self.orders.issue(session, devices[station], SealAgainOrder(DeviceId(terminal), some))
            self._asked.update({(pupil, terminal): now for pupil in pupils})
        return sum(map(len, wanted.values()))

    @staticmethod
    def _lacking(session: Session, registered_by: datetime) -> list[tuple[str, str, str]]:
        """Pupil, terminal, and the station with the latest reference, for each that is lacking somewhere."""
        source, newer, held, terminal = aliased(Holding), aliased(Holding), aliased(Holding), aliased(Device)
        station, other = aliased(Device), aliased(Device)
        latest = ~exists().where(
            newer.pupil == source.pupil,
            newer.revision > source.revision,
            other.device == newer.device,
            other.role == DeviceRole.STATION.value,
        )
        is_held = exists().where(
            held.device == terminal.device, held.pupil == source.pupil, held.revision >= source.revision
        )
        on_its_way = exists().where(
            OrderRow.pupil == source.pupil,
            OrderRow.device == terminal.device,
            OrderRow.kind == OrderKind.REFERENCE.value,
            OrderRow.answered_at.is_(None),
        )
        query = (
            select(source.pupil, terminal.device, source.device)
            .join(station, station.device == source.device)
            .join(PupilRow, PupilRow.pupil == source.pupil)
            .join(terminal, terminal.role == DeviceRole.TERMINAL.value)
            .where(
                station.role == DeviceRole.STATION.value,
                terminal.revoked_at.is_(None),
                terminal.registered_at <= registered_by,
                PupilRow.departed_at.is_(None),
                PupilRow.consent_state == ConsentState.GIVEN.value,
                latest,
                ~is_held,
                ~on_its_way,
            )
            .order_by(source.pupil, terminal.device)
        )
        return [(pupil, name, at) for pupil, name, at in session.execute(query)]
