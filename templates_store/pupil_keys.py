"""The pupils' keys under the epoch key: made, opened, and carried over into a new epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, insert, select, update

from canteen.identifiers import PupilId
from templates_store.errors import StoreUnavailable
from templates_store.models import PupilKeyRow, StoreState
from templates_store.sealing import SealedKind, StoreKeys, associated_data, new_key, seal, unseal

FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """The key that wraps all pupils' keys until the next purge."""

    number: int
    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls, number: int) -> Epoch:
        return cls(number, new_key())

    def wrapped(self, root_key: bytes) -> bytes:
        """The epoch's key as it is kept."""
        return seal(root_key, self.key, _epoch_bound(self.number))

    def wrap(self, pupil: str, pupil_key: bytes) -> bytes:
        return seal(self.key, pupil_key, _key_bound(pupil, self.number))

    def unwrap(self, pupil: str, wrapped_key: bytes) -> bytes:
        """Raises StoreUnavailable: a key of another pupil or another epoch."""
        return unseal(self.key, wrapped_key, _key_bound(pupil, self.number))


def open_epoch(number: int, wrapped_key: bytes, keys: StoreKeys) -> Epoch:
    """The epoch of a store's state row; raises StoreUnavailable."""
    return Epoch(number, unseal(keys.root, wrapped_key, _epoch_bound(number)))


def present_epoch(connection: Connection, keys: StoreKeys) -> Epoch:
    """The epoch the store is in."""
    row = connection.execute(select(StoreState.epoch, StoreState.wrapped_epoch_key)).one_or_none()
    if row is None:
        raise StoreUnavailable("the store has lost its state")
    return open_epoch(row.epoch, row.wrapped_epoch_key, keys)


def pupil_key(connection: Connection, epoch: Epoch, pupil: PupilId) -> bytes:
    """The pupil's key; raises StoreUnavailable if a pupil on the roster has none."""
    wrapped = connection.execute(select(PupilKeyRow.wrapped_key).where(PupilKeyRow.pupil == pupil)).scalar_one_or_none()
    if wrapped is None:
        raise StoreUnavailable(f"the key of {pupil} is missing")
    return epoch.unwrap(pupil, wrapped)


def create_pupil_key(connection: Connection, epoch: Epoch, pupil: PupilId) -> bytes:
    """A fresh random key for the pupil."""
    key = new_key()
    connection.execute(insert(PupilKeyRow).values(pupil=pupil, wrapped_key=epoch.wrap(pupil, key)))
    return key


def move_to_new_epoch(connection: Connection, present: Epoch, keys: StoreKeys) -> Epoch:
    """Re-wraps every pupil's key under a fresh epoch key; the present one is overwritten and opens nothing any more."""
    fresh = Epoch.fresh(present.number + 1)
    rewrapped = [
        {"whose": pupil, "rewrapped": fresh.wrap(pupil, present.unwrap(pupil, wrapped))}
        for pupil, wrapped in connection.execute(select(PupilKeyRow.pupil, PupilKeyRow.wrapped_key))
    ]
    if rewrapped:
        connection.execute(
            update(PupilKeyRow)
            .where(PupilKeyRow.pupil == bindparam("whose"))
            .values(wrapped_key=bindparam("rewrapped")),
            rewrapped,
        )
    connection.execute(update(StoreState).values(epoch=fresh.number, wrapped_epoch_key=fresh.wrapped(keys.root)))
    return fresh


def _epoch_bound(number: int) -> bytes:
    return associated_data(SealedKind.EPOCH_KEY, "", number)


def _key_bound(pupil: str, epoch: int) -> bytes:
    return associated_data(SealedKind.PUPIL_KEY, pupil, epoch)
