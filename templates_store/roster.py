"""Pupils put on the roster: names and entitlements in their rows, the code sealed under a key of the pupil's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from templates_store.errors import CodeTaken
from templates_store.models import PUPIL_KEYS, PUPILS
from templates_store.pupil_keys import pupil_key
from templates_store.records import entitlements_text
from templates_store.sealing import EpochKeys, code_bound, new_key, seal
from templates_store.store import PupilRecord


@dataclass(frozen=True, slots=True)
class _PupilToPut:
    pupil: PupilId
    columns: dict[str, Any] = field(repr=False)
    code: bytes = field(repr=False)


def put_roster(
    connection: Connection,
    epoch: EpochKeys,
    by_pupil: Mapping[PupilId, tuple[PupilRecord, PersonalCode]],
    lookups: Mapping[PupilId, bytes],
) -> None:
    """Add or replace these pupils; `lookups` has the keyed hash of each one's code.

    Raises:
        CodeTaken: two pupils with one code; the caller's transaction is to be given up.
    """
    held = {row.pupil: row.code_lookup for row in connection.execute(select(PUPILS.c.pupil, PUPILS.c.code_lookup))}
    taken = {lookup for pupil, lookup in held.items() if pupil not in by_pupil}
    if len(set(lookups.values())) < len(lookups) or taken & set(lookups.values()):
        raise CodeTaken("two pupils with one code")
    # Codes may change hands within one roster: let go of all of them before any is given again.
    changed = [{"whose": p} for p, lookup in lookups.items() if held.get(p, lookup) != lookup]
    if changed:
        connection.exec_driver_sql("UPDATE pupil SET code_lookup = NULL WHERE pupil = :whose", changed)
    rows = {pupil: _row(record, code, lookups[pupil]) for pupil, (record, code) in by_pupil.items()}
    _change(connection, epoch, [row for pupil, row in rows.items() if pupil in held])
    _add(connection, epoch, [row for pupil, row in rows.items() if pupil not in held])


def _row(record: PupilRecord, code: PersonalCode, lookup: bytes) -> _PupilToPut:
    columns = {
        "first_name": record.first_name,
        "last_name": record.last_name,
        "class_name": record.class_name,
        "entitlements": entitlements_text(record.entitlements),
        "code_lookup": lookup,
    }
    return _PupilToPut(record.pupil, columns, code.digits.encode())


def _change(connection: Connection, epoch: EpochKeys, changed: Sequence[_PupilToPut]) -> None:
    for one in changed:
        key = pupil_key(connection, epoch, one.pupil)
        sealed_code = seal(key, one.code, code_bound(one.pupil))
        row = update(PUPILS).where(PUPILS.c.pupil == one.pupil)
        connection.execute(row.values(sealed_code=sealed_code, **one.columns))


def _add(connection: Connection, epoch: EpochKeys, added: Sequence[_PupilToPut]) -> None:
    if not added:
        return
    keys = {one.pupil: new_key() for one in added}
    sealed = {one.pupil: seal(keys[one.pupil], one.code, code_bound(one.pupil)) for one in added}
    # The key's row points at the pupil's: first the pupils.
    connection.execute(
        insert(PUPILS), [{"pupil": one.pupil, "sealed_code": sealed[one.pupil], **one.columns} for one in added]
    )
    wrapped = [{"pupil": pupil, "wrapped_key": epoch.wrap(pupil, key)} for pupil, key in keys.items()]
    connection.execute(insert(PUPIL_KEYS), wrapped)
