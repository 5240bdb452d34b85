"""Terminals get back what they should hold: whatever one lacks, a station is asked to seal for it again.

It may have lost its files, destroyed everything when its lease ran out, or got a reference after its time: what counts
is that it does not hold, and no order on its way brings it, what a station holds under a consent that stands. Nobody
has to notice. A terminal that was revoked is asked for no more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session, aliased

from billing_server.bulk import value_set
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
        now = self.clock.utc_now()
        lacking = self._lacking(session, now - _ITS_OWN)
        if not lacking:
            return 0
        devices = {device.device: device for device in locked_devices(session)}
        # A station that has not answered the last question (it is off, or at work) is not asked the next one.
        busy = set(
            session.scalars(
                select(OrderRow.device).where(
                    OrderRow.kind == OrderKind.SEAL_AGAIN.value, OrderRow.answered_at.is_(None)
                )
            )
        )
        for pair in [pair for pair, at in self._asked.items() if not at <= now < at + _AGAIN_AFTER]:
            del self._asked[pair]
        wanted: defaultdict[tuple[str, str], list[PupilId]] = defaultdict(list)
        for (pupil, terminal), station in sorted(lacking.items()):
            if station in devices and station not in busy and (pupil, terminal) not in self._asked:
                wanted[station, terminal].append(PupilId(pupil))
        for (station, terminal), pupils in wanted.items():
            for first in range(0, len(pupils), SEALED_AGAIN_MOST):
                some = tuple(pupils[first : first + SEALED_AGAIN_MOST])
                self.orders.issue(session, devices[station], SealAgainOrder(DeviceId(terminal), some))
            self._asked.update({(pupil, terminal): now for pupil in pupils})
        return sum(map(len, wanted.values()))

    def _lacking(self, session: Session, registered_by: datetime) -> dict[tuple[str, str], str]:
        """For each pupil and terminal that lacks the reference: the station with the latest one.

        Every few seconds, and nearly always of nothing: one look a pair of station and terminal along the holdings' own
        key; only what seems to be lacking is asked about further.
        """
        rows = session.scalars(select(Device).where(Device.revoked_at.is_(None))).all()
        stations = [row.device for row in rows if row.role == DeviceRole.STATION]
        terminals = [
            row.device for row in rows if row.role == DeviceRole.TERMINAL and row.registered_at <= registered_by
        ]
        latest: dict[tuple[str, str], tuple[int, str]] = {}
        for terminal in terminals:
            for station in stations:
                for pupil, revision in session.execute(_not_held(station, terminal)):
                    here = latest.get((pupil, terminal), (0, ""))
                    latest[pupil, terminal] = max(here, (revision, station))
        if not latest:
            return {}
        pupils = value_set(session, {pupil for pupil, _ in latest})
        may_be_held = set(
            session.scalars(
                select(PupilRow.pupil).where(
                    PupilRow.pupil.in_(pupils),
                    PupilRow.departed_at.is_(None),
                    PupilRow.consent_state == ConsentState.GIVEN.value,
                )
            )
        )
        on_its_way = {
            (pupil, terminal)
            for pupil, terminal in session.execute(
                select(OrderRow.pupil, OrderRow.device).where(
                    OrderRow.pupil.in_(pupils),
                    OrderRow.kind == OrderKind.REFERENCE.value,
                    OrderRow.answered_at.is_(None),
                )
            )
        }
        return {
            pair: station for pair, (_, station) in latest.items() if pair[0] in may_be_held and pair not in on_its_way
        }


def _not_held(station: str, terminal: str) -> Select[str, int]:
    """What `station` holds and `terminal` does not, or only an earlier one."""
    source, held = aliased(Holding), aliased(Holding)
    return select(source.pupil, source.revision).where(
        source.device == station,
        ~exists().where(held.device == terminal, held.pupil == source.pupil, held.revision >= source.revision),
    )
