"""The SQLCipher file under SQLAlchemy: how it is opened, keyed anew, folded, and what its errors are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from templates_store.errors import StoreUnavailable

Driver = Any
"""The driver's own connection; it has no types."""

DriverError: type[Exception] = sqlcipher3.dbapi2.Error

_BUSY_S = 2.0
"""Nothing else writes this file; whoever looks at it (a backup) is gone sooner than this."""

_NOT_A_DATABASE = 26
"""SQLITE_NOTADB: what SQLCipher says of a first page that its key does not open."""

_CACHE_KIB = 128 * 1024
"""At most: a school of 2,000 takes 2 MiB. Pages in the cache are not decrypted again, so that a look-up stays flat."""

_AFTER_KEY = (
    "PRAGMA journal_mode = WAL",
    # FULL: a purge that has been receipted must survive a power cut.
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
)


def create_private(path: Path) -> None:
    """An empty file of mode 0600; the log and its index take over its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"the store cannot be made: {error.strerror}") from error


def open_driver(path: Path, file_key: bytes) -> Driver | None:
    """A connection with a raw key (it is random: stretching it for 150 ms would add nothing), or None: another key.

    Raises:
        StoreUnavailable: the file cannot be read, or is damaged behind its first page.
    """
    connection = None
    try:
        connection = sqlcipher3.dbapi2.connect(
            str(path), timeout=_BUSY_S, check_same_thread=False, isolation_level=None
        )
        # A key that does not fit is a question here, not an event for the log.
        connection.execute("PRAGMA cipher_log_level = NONE")
        connection.execute(f"PRAGMA key = \"x'{file_key.hex()}'\"")
        for pragma in _AFTER_KEY:
            connection.execute(pragma)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlcipher3.dbapi2.Error as error:
        if connection is not None:
            connection.close()
        if getattr(error, "sqlite_errorcode", None) == _NOT_A_DATABASE:
            return None
        raise StoreUnavailable(f"the store cannot be opened: {error}") from error
    return connection


def engine_over(driver: Driver) -> Engine:
    """SQLAlchemy over this one connection."""
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: driver,
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


def rekey(driver: Driver, path: Path, file_key: bytes) -> None:
    """Encrypts every page anew, in one transaction of SQLCipher's own.

    Raises:
        StoreUnavailable: the file is as it was, and this connection is not to be used any more.
    """
    with errors_named():
        driver.execute(f"PRAGMA rekey = \"x'{file_key.hex()}'\"")
    # It answers "ok" on a full disk, too. What counts is what another connection finds.
    witness = open_driver(path, file_key)
    if witness is None:
        raise StoreUnavailable("the store could not be encrypted anew")
    witness.close()


def fold_log(driver: Driver) -> None:
    """Folds the write-ahead log back and empties it: it keeps what a purge has just erased.

    Raises:
        StoreUnavailable: another process is reading the store.
    """
    with errors_named():
        if driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise StoreUnavailable("another process holds the store: its log cannot be emptied")


@contextmanager
def errors_named() -> Iterator[None]:
    """Turns whatever the database says into StoreUnavailable, without the statement's values."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(f"the store failed: {error.orig}") from error
    except (SQLAlchemyError, sqlcipher3.dbapi2.Error) as error:
        raise StoreUnavailable(f"the store failed: {error if _is_plain(error) else type(error).__name__}") from error


def _is_plain(error: Exception) -> bool:
    """Whether it is the driver's own sentence: it names tables, never values."""
    return isinstance(error, sqlcipher3.dbapi2.Error)
