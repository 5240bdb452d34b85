"""Whose hand should be taken anew: what terminals advised, against what stations have enrolled since."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.models import Device, Holding, OrderRow
from sync.orders import DeviceRole, OrderKind

_ADVISED = (
    select(OrderRow.pupil, func.max(OrderRow.revision))
    .where(OrderRow.kind == OrderKind.ENROLLMENT_ADVISED.value)
    .group_by(OrderRow.pupil)
)
_ENROLLED = (
    select(Holding.pupil, func.max(Holding.revision))
    .join(Device, Device.device == Holding.device)
    .where(Device.role == DeviceRole.STATION.value)
    .group_by(Holding.pupil)
)


def advised_revision(session: Session, pupil: str) -> int:
    """The latest reference of the pupil that an advice to stations was about, or 0."""
    row = session.execute(_ADVISED.where(OrderRow.pupil == pupil)).one_or_none()
    return 0 if row is None else row[1] or 0


def enrolled_revision(session: Session, pupil: str) -> int:
    """The latest reference of the pupil that a station holds, or 0."""
    row = session.execute(_ENROLLED.where(Holding.pupil == pupil)).one_or_none()
    return 0 if row is None else row[1]


def to_enroll_anew(session: Session) -> set[str]:
    """The pupils whose latest reference a terminal finds outgrown."""
    enrolled = {row[0]: row[1] for row in session.execute(_ENROLLED)}
    return {
        pupil
        for pupil, revision in session.execute(_ADVISED)
        if pupil in enrolled and revision is not None and revision >= enrolled[pupil]
    }
