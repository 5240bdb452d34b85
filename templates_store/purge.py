"""Forgetting: the pupil's key and records go, the others move to a new epoch, a tombstone keeps replays out.

All within the caller's transaction, so a power cut leaves the whole purge or none of it. Afterwards the caller folds
the write-ahead log back (`EncryptedStore.purge`), where the old pages would otherwise stay, readable to whoever has the
key.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from canteen.identifiers import PupilId
from templates_store.models import CardRow, ConsentRow, PupilKeyRow, PupilRow, ReferenceRow, TombstoneRow
from templates_store.pupil_keys import Epoch, create_pupil_key, move_to_new_epoch, present_epoch, pupil_key
from templates_store.sealing import StoreKeys, code_bound, keyed_digest, seal, unseal
from templates_store.store import Erasure, PurgeOutcome


def purge_pupil(connection: Connection, keys: StoreKeys, pupil: PupilId, erasure: Erasure) -> PurgeOutcome:
    """Erase what `erasure` names; where nothing of it is held, change nothing and say so."""
    epoch = present_epoch(connection, keys)
    digest = _bury_reference(connection, keys, pupil, epoch)
    on_roster = _is_on_roster(connection, pupil)
    if digest is None and not (erasure is Erasure.EVERYTHING and on_roster):
        return PurgeOutcome(None, epoch.number, epoch.number)
    if erasure is Erasure.EVERYTHING:
        _erase_rows(connection, pupil)
    else:
        _replace_pupil_key(connection, epoch, pupil)
    fresh = move_to_new_epoch(connection, epoch, keys)
    return PurgeOutcome(digest, epoch.number, fresh.number)


def purge_all_but(connection: Connection, keys: StoreKeys, staying: Collection[PupilId]) -> list[PupilId]:
    """Erase everything of every pupil who is not in `staying`; returns them. One new epoch for all."""
    gone = sorted(
        PupilId(pupil) for pupil in connection.execute(select(PupilRow.pupil)).scalars() if pupil not in staying
    )
    if gone:
        epoch = present_epoch(connection, keys)
        for pupil in gone:
            _bury_reference(connection, keys, pupil, epoch)
            _erase_rows(connection, pupil)
        move_to_new_epoch(connection, epoch, keys)
    return gone


def buried_revision(connection: Connection, keys: StoreKeys, pupil: PupilId) -> int:
    """The highest revision of the pupil's references that were erased here, or 0."""
    revision = connection.execute(
        select(TombstoneRow.revision).where(TombstoneRow.pupil_digest == _tombstone_digest(keys, pupil))
    ).scalar_one_or_none()
    return revision or 0


def last_erasure(connection: Connection, keys: StoreKeys, pupil: PupilId) -> PurgeOutcome | None:
    """What the latest erasure of a reference of this pupil said, or None if there never was one."""
    row = connection.execute(
        select(TombstoneRow.record_digest, TombstoneRow.epoch_before, TombstoneRow.epoch_after).where(
            TombstoneRow.pupil_digest == _tombstone_digest(keys, pupil)
        )
    ).one_or_none()
    return None if row is None else PurgeOutcome(row.record_digest, row.epoch_before, row.epoch_after)


def _bury_reference(connection: Connection, keys: StoreKeys, pupil: PupilId, epoch: Epoch) -> str | None:
    """Deletes the reference, remembers revision and digest; the keyed digest, or None where there was none."""
    row = connection.execute(
        select(ReferenceRow.revision, ReferenceRow.sealed_reference).where(ReferenceRow.pupil == pupil)
    ).one_or_none()
    if row is None:
        return None
    # Over the ciphertext: it names the very record that is gone, and could not tell of the hand even to us.
    named = f"{pupil}\x00{row.revision}\x00".encode() + row.sealed_reference
    digest = keyed_digest(keys.record_digest, named).hex()
    said = {"record_digest": digest, "epoch_before": epoch.number, "epoch_after": epoch.number + 1}
    bury = insert(TombstoneRow).values(pupil_digest=_tombstone_digest(keys, pupil), revision=row.revision, **said)
    connection.execute(
        bury.on_conflict_do_update(
            index_elements=[TombstoneRow.pupil_digest],
            set_={"revision": func.max(TombstoneRow.revision, bury.excluded.revision), **said},
        )
    )
    connection.execute(delete(ReferenceRow).where(ReferenceRow.pupil == pupil))
    return digest


def _replace_pupil_key(connection: Connection, epoch: Epoch, pupil: PupilId) -> None:
    """The key that opened the reference is destroyed; the code, which stays, is sealed under a fresh one."""
    old_key = pupil_key(connection, epoch, pupil)
    sealed_code = connection.execute(select(PupilRow.sealed_code).where(PupilRow.pupil == pupil)).scalar_one()
    code = unseal(old_key, sealed_code, code_bound(pupil))
    connection.execute(delete(PupilKeyRow).where(_of(PupilKeyRow, pupil)))
    fresh_key = create_pupil_key(connection, epoch, pupil)
    connection.execute(
        update(PupilRow).where(PupilRow.pupil == pupil).values(sealed_code=seal(fresh_key, code, code_bound(pupil)))
    )


def _erase_rows(connection: Connection, pupil: PupilId) -> None:
    for table in (PupilKeyRow, ConsentRow, CardRow, PupilRow):
        connection.execute(delete(table).where(_of(table, pupil)))


def _of(table: type[PupilKeyRow | ConsentRow | CardRow | PupilRow], pupil: PupilId) -> ColumnElement[bool]:
    return table.pupil == pupil


def _is_on_roster(connection: Connection, pupil: PupilId) -> bool:
    return connection.execute(select(PupilRow.pupil).where(PupilRow.pupil == pupil)).first() is not None


def _tombstone_digest(keys: StoreKeys, pupil: PupilId) -> bytes:
    return keyed_digest(keys.tombstone, pupil.encode())
