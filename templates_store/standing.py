"""Where every pupil stands, in one question to the file: what a list on a page shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from canteen.consent import ConsentState
from templates_store.models import CardRow, ConsentRow, PupilRow, ReferenceRow
from templates_store.records import read_pupil
from templates_store.store import PupilRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """A pupil with what is held of them. `revision` is 0 where there is no reference."""

    record: PupilRecord
    consent: ConsentState
    revision: int
    has_card: bool


_CARD_HOLDERS = select(CardRow.pupil).where(CardRow.blocked.is_(False), CardRow.pupil.is_not(None))

_STANDINGS = (
    select(
        PupilRow.pupil,
        PupilRow.first_name,
        PupilRow.last_name,
        PupilRow.class_name,
        PupilRow.entitlements,
        func.coalesce(ConsentRow.state, ConsentState.NONE.value).label("state"),
        func.coalesce(ReferenceRow.revision, 0).label("revision"),
        PupilRow.pupil.in_(_CARD_HOLDERS).label("has_card"),
    )
    .outerjoin(ConsentRow, ConsentRow.pupil == PupilRow.pupil)
    .outerjoin(ReferenceRow, ReferenceRow.pupil == PupilRow.pupil)
    .order_by(PupilRow.class_name, PupilRow.last_name, PupilRow.first_name)
)


def standings(connection: Connection) -> Iterator[Standing]:
    """Every pupil of the roster, by class and name."""
    for row in connection.execute(_STANDINGS).all():
        yield Standing(read_pupil(row), ConsentState(row.state), row.revision, bool(row.has_card))
