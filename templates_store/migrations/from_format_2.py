"""Format 2: references could not follow a growing hand. Nothing that is sealed changes; two columns are new."""

from __future__ import annotations

from sqlalchemy import Connection

VERSION = 2

_STEPS = (
    "ALTER TABLE reference ADD COLUMN adaptation INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE reference ADD COLUMN sealed_history BLOB",
    "UPDATE store_state SET schema_version = 3",
)


def migrate(connection: Connection) -> None:
    """Bring a store of format 2 to format 3, within the caller's transaction."""
    for step in _STEPS:
        connection.exec_driver_sql(step)
