"""Format 1: the epoch's key lay in the file, wrapped by a root key that never changed, and so in every older copy.

Its file key and its seals are written down here as they were. The migration is a move to a new epoch: what format 1
held opens neither with the file that it leaves nor, once the steps of `store_file.py` are done, with any key.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, insert, text

from templates_store.database import Driver, errors_named
from templates_store.errors import StoreUnavailable
from templates_store.models import METADATA, PUPIL_KEYS, PUPILS, REFERENCES, SCHEMA_VERSION
from templates_store.sealing import EpochKeys, StoreKeys, code_bound, reference_bound, seal, unseal

_TABLES = ("pupil_key", "reference", "consent", "card", "tombstone", "document", "pupil", "store_state")
_COPIED = {
    "consent": "pupil, state, notice_version, given_by, given_at",
    "card": "card_lookup, pupil, blocked",
    "tombstone": "pupil_digest, revision, record_digest, epoch_before, epoch_after",
    "document": "name, content",
}


def file_key(keys: StoreKeys) -> bytes:
    """The key of a file of format 1."""
    return keys.format_1_file


def epoch(driver: Driver) -> int:
    """The epoch that a file of format 1 is in. Raises StoreUnavailable: it is of no known format."""
    with errors_named():
        columns = {row[1] for row in driver.execute("PRAGMA table_info(store_state)")}
        if "epoch" not in columns:
            raise StoreUnavailable("the store has no state of any known format")
        row = driver.execute("SELECT epoch, schema_version FROM store_state").fetchone()
    if row is None:
        raise StoreUnavailable("the store has lost its state")
    number, version = row
    if 1 < version <= SCHEMA_VERSION:
        # The migration's transaction is done (perhaps by an earlier program), the file is not yet encrypted anew.
        return int(number) - 1
    if version != 1:
        raise StoreUnavailable(f"the store has format {version}; this program knows format {SCHEMA_VERSION}")
    return int(number)


def migrate(connection: Connection, keys: StoreKeys, fresh: EpochKeys) -> None:
    """Rewrite everything as the present format in epoch `fresh`, within the caller's transaction; idempotent."""
    version = connection.execute(text("SELECT schema_version FROM store_state")).scalar_one()
    if version != 1:
        return
    state = connection.execute(text("SELECT * FROM store_state")).one()
    old_epoch_key = unseal(keys.root, state.wrapped_epoch_key, _bound("epoch-key", "", state.epoch))
    pupils = connection.execute(
        text(
            "SELECT pupil.*, wrapped_key, revision, notice_version, given_by, given_at, sealed_reference"
            " FROM pupil JOIN pupil_key USING (pupil) LEFT JOIN reference USING (pupil)"
        )
    ).all()
    # Renaming carries the foreign keys along; the copies are dropped children first.
    for table in _TABLES:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO old_{table}"))
    connection.execute(text("DROP INDEX IF EXISTS ix_card_pupil"))
    METADATA.create_all(connection)
    for row in pupils:
        _carry_over(connection, row, old_epoch_key, state.epoch, fresh)
    for table, columns in _COPIED.items():
        connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table}"))  # noqa: S608
    connection.execute(
        text(
            "INSERT INTO store_state (only_row, schema_version, epoch, changes, rolled_back, lease_until,"
            " high_water_mark, suspended, suspended_ran_s) VALUES (1, :version, :epoch, 0, 0, :until, :mark, 0, 0)"
        ),
        {
            "version": SCHEMA_VERSION,
            "epoch": fresh.number,
            "until": state.lease_until,
            "mark": state.high_water_mark,
        },
    )
    for table in _TABLES:
        connection.execute(text(f"DROP TABLE old_{table}"))


def _carry_over(connection: Connection, row: Any, old_epoch_key: bytes, old_epoch: int, fresh: EpochKeys) -> None:
    key = unseal(old_epoch_key, row.wrapped_key, _bound("pupil-key", row.pupil, old_epoch))
    code = unseal(key, row.sealed_code, _bound("code", row.pupil, 0))
    connection.execute(
        insert(PUPILS).values(
            pupil=row.pupil,
            first_name=row.first_name,
            last_name=row.last_name,
            class_name=row.class_name,
            entitlements=row.entitlements,
            code_lookup=row.code_lookup,
            sealed_code=seal(key, code, code_bound(row.pupil)),
        )
    )
    connection.execute(insert(PUPIL_KEYS).values(pupil=row.pupil, wrapped_key=fresh.wrap(row.pupil, key)))
    if row.revision is None:
        return
    consent = (row.notice_version, row.given_by, row.given_at)
    reference = unseal(key, row.sealed_reference, _bound("reference", row.pupil, row.revision, *consent))
    connection.execute(
        insert(REFERENCES).values(
            pupil=row.pupil,
            revision=row.revision,
            notice_version=row.notice_version,
            given_by=row.given_by,
            given_at=row.given_at,
            sealed_reference=seal(key, reference, reference_bound(row.pupil, row.revision, *consent)),
        )
    )


def _bound(kind: str, whose: str, revision: int, *more: str) -> bytes:
    """What format 1 bound into a seal."""
    return json.dumps([1, kind, whose, revision, *more], separators=(",", ":")).encode()
