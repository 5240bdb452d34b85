"""The pupils' keys under the epoch's: made, opened, and carried over into a new epoch."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update

from canteen.identifiers import PupilId
from templates_store.errors import StoreUnavailable
from templates_store.models import PUPIL_KEYS
from templates_store.sealing import EpochKeys, new_key


def pupil_key(connection: Connection, epoch: EpochKeys, pupil: PupilId) -> bytes:
    """The pupil's key; raises StoreUnavailable if a pupil on the roster has none."""
    wrapped = connection.execute(
        select(PUPIL_KEYS.c.wrapped_key).where(PUPIL_KEYS.c.pupil == pupil)
    ).scalar_one_or_none()
    if wrapped is None:
        raise StoreUnavailable(f"the key of {pupil} is missing")
    return epoch.unwrap(pupil, wrapped)


def create_pupil_key(connection: Connection, epoch: EpochKeys, pupil: PupilId) -> bytes:
    """A fresh random key for the pupil."""
    key = new_key()
    connection.execute(insert(PUPIL_KEYS).values(pupil=pupil, wrapped_key=epoch.wrap(pupil, key)))
    return key


def rewrap_pupil_keys(connection: Connection, present: EpochKeys, fresh: EpochKeys) -> None:
    """Wraps every pupil's key under the fresh epoch.

    A key that does not open (a spoiled record) is left as it is: it opens in no epoch, and must not keep all others
    from leaving this one.
    """
    rewrapped = []
    for pupil, wrapped in connection.execute(select(PUPIL_KEYS.c.pupil, PUPIL_KEYS.c.wrapped_key)):
        try:
            key = present.unwrap(pupil, wrapped)
        except StoreUnavailable:
            continue
        rewrapped.append({"whose": pupil, "rewrapped": fresh.wrap(pupil, key)})
    if rewrapped:
        connection.execute(
            update(PUPIL_KEYS)
            .where(PUPIL_KEYS.c.pupil == bindparam("whose"))
            .values(wrapped_key=bindparam("rewrapped")),
            rewrapped,
        )
