"""The SQLCipher file under SQLAlchemy: how it is made, opened, and what its errors are called."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlcipher3.dbapi2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from templates_store.errors import StoreUnavailable

_BUSY_S = 2.0
"""Nothing else writes this file; whoever looks at it (a backup) is gone sooner than this."""

_AFTER_KEY = (
    "PRAGMA journal_mode = WAL",
    # FULL: a purge that has been receipted must survive a power cut.
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA foreign_keys = ON",
)


def create_private(path: Path) -> None:
    """An empty file of mode 0600; the log and its index take over its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"the store cannot be made: {error.strerror}") from error


def open_engine(path: Path, file_key: bytes) -> Engine:
    """One connection, opened with a raw key (it is random: stretching it for 150 ms would add nothing)."""

    def connect() -> sqlcipher3.dbapi2.Connection:
        connection = sqlcipher3.dbapi2.connect(
            str(path), timeout=_BUSY_S, check_same_thread=False, isolation_level=None
        )
        try:
            # Pages and keys are locked in memory where the system allows, and wiped when freed.
            connection.execute("PRAGMA cipher_memory_security = ON")
            connection.execute(f"PRAGMA key = \"x'{file_key.hex()}'\"")
            for pragma in _AFTER_KEY:
                connection.execute(pragma)
        except sqlcipher3.dbapi2.Error:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        module=sqlcipher3.dbapi2,
        poolclass=StaticPool,
        # An error names the statement; the names and codes in it are nobody's business.
        hide_parameters=True,
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # The driver's own transactions are off (isolation_level None): a writer takes its lock at once, not half-way.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def fold_log(connection: Connection) -> None:
    """Folds the write-ahead log back and empties it: it keeps what a purge has just erased.

    Raises:
        StoreUnavailable: another process is reading the store.
    """
    driver: sqlite3.Connection | None = connection.connection.driver_connection
    if driver is None or driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise StoreUnavailable("another process holds the store: its log cannot be emptied")


@contextmanager
def errors_named() -> Iterator[None]:
    """Turns whatever the database says into StoreUnavailable, without the statement's values."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(f"the store failed: {error.orig}") from error
    except (SQLAlchemyError, sqlcipher3.dbapi2.Error) as error:
        raise StoreUnavailable(f"the store failed: {type(error).__name__}") from error
