"""The lease between its value and the columns of the store's state."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from templates_store.errors import StoreUnavailable
from templates_store.lease import Lease, LeaseEnd
from templates_store.models import STORE_STATE
from templates_store.records import instant_text, optional_instant

_COLUMNS = select(
    STORE_STATE.c.lease_until,
    STORE_STATE.c.high_water_mark,
    STORE_STATE.c.signed_time,
    STORE_STATE.c.certain,
    STORE_STATE.c.suspended,
    STORE_STATE.c.suspended_ran_s,
    STORE_STATE.c.destroyed_because,
)


def read_lease(connection: Connection) -> Lease:
    """The lease as it is kept; raises StoreUnavailable."""
    row = connection.execute(_COLUMNS).one()
    try:
        because = None if row.destroyed_because is None else LeaseEnd(row.destroyed_because)
    except ValueError as error:
        raise StoreUnavailable("the lease in the store cannot be read") from error
    return Lease(
        until=optional_instant(row.lease_until),
        high_water_mark=optional_instant(row.high_water_mark),
        signed_time=optional_instant(row.signed_time),
        certain=optional_instant(row.certain),
        suspended=bool(row.suspended),
        suspended_ran_s=row.suspended_ran_s,
        destroyed_because=because,
    )


def write_lease(connection: Connection, lease: Lease) -> None:
    """Keep `lease`, within the caller's transaction."""
    connection.execute(
        update(STORE_STATE).values(
            lease_until=_optional_text(lease.until),
            high_water_mark=_optional_text(lease.high_water_mark),
            signed_time=_optional_text(lease.signed_time),
            certain=_optional_text(lease.certain),
            suspended=lease.suspended,
            suspended_ran_s=lease.suspended_ran_s,
            destroyed_because=lease.destroyed_because,
        )
    )


def _optional_text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
