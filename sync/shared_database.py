"""The SQLite files between two processes of one device: opened alike by both, durable when a commit returns."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

BUSY_S = 2.0
"""The other process holds the file for milliseconds; two seconds of waiting mean that the disk is ill."""


def open_shared_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread of a caller that locks; the tables of `schema` are there.

    Raises:
        sqlite3.Error: the file is no database, or cannot be written.
        OSError: its folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite itself makes files that the group cannot write, and the other process runs as another user of the group.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o660))
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(schema)
    return connection
