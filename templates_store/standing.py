"""Where every pupil stands, in one question to the file: what a list on a page shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from canteen.consent import ConsentState
from templates_store.models import CARDS, CONSENTS, PUPILS, REFERENCES
from templates_store.records import read_pupil
from templates_store.store import PupilRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """A pupil with what is held of them. `revision` is 0 where there is no reference."""

    record: PupilRecord
    consent: ConsentState
    revision: int
    has_card: bool


_CARD_HOLDERS = select(CARDS.c.pupil).where(CARDS.c.blocked.is_(False), CARDS.c.pupil.is_not(None))

_STANDINGS = (
    select(
        PUPILS.c.pupil,
        PUPILS.c.first_name,
        PUPILS.c.last_name,
        PUPILS.c.class_name,
        PUPILS.c.entitlements,
        func.coalesce(CONSENTS.c.state, ConsentState.NONE.value).label("state"),
        func.coalesce(REFERENCES.c.revision, 0).label("revision"),
        PUPILS.c.pupil.in_(_CARD_HOLDERS).label("has_card"),
    )
    .outerjoin(CONSENTS, CONSENTS.c.pupil == PUPILS.c.pupil)
    .outerjoin(REFERENCES, REFERENCES.c.pupil == PUPILS.c.pupil)
    .order_by(PUPILS.c.class_name, PUPILS.c.last_name, PUPILS.c.first_name)
)


def standings(connection: Connection) -> Iterator[Standing]:
    """Every pupil of the roster, by class and name."""
    for row in connection.execute(_STANDINGS).all():
        yield Standing(read_pupil(row), ConsentState(row.state), row.revision, bool(row.has_card))
