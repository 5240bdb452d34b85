"""Forgetting: the pupil's key and records go, a tombstone keeps replays out.

All within one transaction of `StoreFile.new_epoch`, which also wraps all other keys anew and afterwards encrypts the
file anew, empties its log and destroys the earlier epoch's secret: a power cut leaves the whole purge or none of it,
and one that was begun is finished by the next start.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from canteen.identifiers import PupilId
from templates_store.models import CARDS, CONSENTS, PUPIL_KEYS, PUPILS, REFERENCES, TOMBSTONES
from templates_store.pupil_keys import create_pupil_key, pupil_key
from templates_store.records import instant_text
from templates_store.sealing import EpochKeys, StoreKeys, code_bound, keyed_digest, seal, unseal
from templates_store.store import Erasure, PurgeOutcome


def is_held(connection: Connection, pupil: PupilId, erasure: Erasure, consents_until: datetime | None = None) -> bool:
    """Whether anything of what `erasure` names is held; of references, one that a purge up to then is about."""
    if erasure is Erasure.EVERYTHING:
        on_roster = select(PUPILS.c.pupil).where(PUPILS.c.pupil == pupil)
        return connection.execute(on_roster).first() is not None
    reference = select(REFERENCES.c.pupil).where(REFERENCES.c.pupil == pupil)
    if consents_until is not None:
        reference = reference.where(REFERENCES.c.given_at <= instant_text(consents_until))
    return connection.execute(reference).first() is not None


def purge_pupil(
    connection: Connection, keys: StoreKeys, epoch: EpochKeys, pupil: PupilId, erasure: Erasure
) -> PurgeOutcome:
    """Erase what `erasure` names of a pupil of whom something is held."""
    digest = _bury_reference(connection, keys, pupil, epoch)
    if erasure is Erasure.EVERYTHING:
        _erase_rows(connection, pupil)
    else:
        _replace_pupil_key(connection, epoch, pupil)
    return PurgeOutcome(digest, epoch.number, epoch.number + 1)


def absentees(connection: Connection, staying: Collection[PupilId]) -> list[PupilId]:
    """Every pupil held who is not in `staying`."""
    return sorted(
        PupilId(pupil) for pupil in connection.execute(select(PUPILS.c.pupil)).scalars() if pupil not in staying
    )


def purge_everything_of(connection: Connection, keys: StoreKeys, epoch: EpochKeys, gone: Collection[PupilId]) -> None:
    """Erase everything of every pupil in `gone`."""
    for pupil in gone:
        _bury_reference(connection, keys, pupil, epoch)
        _erase_rows(connection, pupil)


def destroy_all_references(connection: Connection, epoch: EpochKeys) -> int:
    """The end of a lease: every reference and its key go, codes and cards stay; how many went.

    No tombstones: nobody has asked to be forgotten, and the same references may come again, sealed by the station.
    """
    pupils = [PupilId(pupil) for pupil in connection.execute(select(REFERENCES.c.pupil)).scalars()]
    connection.execute(delete(REFERENCES))
    for pupil in pupils:
        _replace_pupil_key(connection, epoch, pupil)
    return len(pupils)


def buried_revision(connection: Connection, keys: StoreKeys, pupil: PupilId) -> int:
    """The highest revision of the pupil's references that were erased here, or 0."""
    revision = connection.execute(
        select(TOMBSTONES.c.revision).where(TOMBSTONES.c.pupil_digest == tombstone_digest(keys, pupil))
    ).scalar_one_or_none()
    return revision or 0


def last_erasure(connection: Connection, keys: StoreKeys, pupil: PupilId) -> PurgeOutcome | None:
    """What the latest erasure of a reference of this pupil said, or None if there never was one."""
    row = connection.execute(
        select(TOMBSTONES.c.record_digest, TOMBSTONES.c.epoch_before, TOMBSTONES.c.epoch_after).where(
            TOMBSTONES.c.pupil_digest == tombstone_digest(keys, pupil)
        )
    ).one_or_none()
    return None if row is None else PurgeOutcome(row.record_digest, row.epoch_before, row.epoch_after)


def _bury_reference(connection: Connection, keys: StoreKeys, pupil: PupilId, epoch: EpochKeys) -> str | None:
    """Deletes the reference, remembers revision and digest; the keyed digest, or None where there was none."""
    row = connection.execute(
        select(REFERENCES.c.revision, REFERENCES.c.sealed_reference).where(REFERENCES.c.pupil == pupil)
    ).one_or_none()
    if row is None:
        return None
    # Over the ciphertext: it names the very record that is gone, and could not tell of the hand even to us.
    named = f"{pupil}\x00{row.revision}\x00".encode() + row.sealed_reference
    digest = keyed_digest(keys.record_digest, named).hex()
    said = {"record_digest": digest, "epoch_before": epoch.number, "epoch_after": epoch.number + 1}
    bury = insert(TOMBSTONES).values(pupil_digest=tombstone_digest(keys, pupil), revision=row.revision, **said)
    connection.execute(
        bury.on_conflict_do_update(
            index_elements=[TOMBSTONES.c.pupil_digest],
            set_={"revision": func.max(TOMBSTONES.c.revision, bury.excluded.revision), **said},
        )
    )
    connection.execute(delete(REFERENCES).where(REFERENCES.c.pupil == pupil))
    return digest


def _replace_pupil_key(connection: Connection, epoch: EpochKeys, pupil: PupilId) -> None:
    """The key that opened the reference is destroyed; the code, which stays, is sealed under a fresh one."""
    old_key = pupil_key(connection, epoch, pupil)
    sealed_code = connection.execute(select(PUPILS.c.sealed_code).where(PUPILS.c.pupil == pupil)).scalar_one()
    code = unseal(old_key, sealed_code, code_bound(pupil))
    connection.execute(delete(PUPIL_KEYS).where(_of(PUPIL_KEYS, pupil)))
    fresh_key = create_pupil_key(connection, epoch, pupil)
    connection.execute(
        update(PUPILS).where(PUPILS.c.pupil == pupil).values(sealed_code=seal(fresh_key, code, code_bound(pupil)))
    )


def _erase_rows(connection: Connection, pupil: PupilId) -> None:
    for table in (PUPIL_KEYS, CONSENTS, CARDS, PUPILS):
        connection.execute(delete(table).where(_of(table, pupil)))


def _of(table: Table, pupil: PupilId) -> ColumnElement[bool]:
    return table.c.pupil == pupil


def tombstone_digest(keys: StoreKeys, pupil: PupilId) -> bytes:
    """Under which a pupil's tombstone is found: without the keys it tells nobody who it was."""
    return keyed_digest(keys.tombstone, pupil.encode())
