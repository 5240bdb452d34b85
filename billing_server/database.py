"""The database: one engine, sessions that read and sessions that write, and the schema brought up to date at start."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from billing_server.errors import ConfigurationRefused

_MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "0007"
"""The newest revision in migrations/versions; a test compares."""

_MIGRATION_LOCK = 0x63616E7465656E
"""PostgreSQL's advisory lock for bringing the schema up to date; the number spells "canteen"."""

_BUSY_S = 30
"""How long a SQLite writer waits for another; a roster import of 2,000 pupils takes a few seconds on a Pi."""


class Database:
    """PostgreSQL for real, SQLite when small; nothing outside this file knows which."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationRefused if `url` is none we know."""
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ConfigurationRefused("database.url cannot be read") from error
        self._sqlite_path: Path | None = None
        arguments: dict[str, Any] = {}
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigurationRefused("database.url must name a file: a ledger in memory would be lost")
            self._sqlite_path = Path(parsed.database)
            self._sqlite_path.parent.mkdir(parents=True, exist_ok=True)
            arguments["connect_args"] = {"timeout": _BUSY_S}
        elif parsed.get_backend_name() == "postgresql":
            arguments["pool_pre_ping"] = True  # a restarted server costs one reconnection, not an error page
            arguments["connect_args"] = {"options": "-c timezone=utc"}  # the year 1 has no local time in America
        else:
            raise ConfigurationRefused("database.url should be sqlite+pysqlite:// or postgresql+psycopg://")
        self.engine: Engine = create_engine(parsed, **arguments)
        if self._sqlite_path is not None:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        self.writers = sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)

    @property
    def is_postgresql(self) -> bool:
        return self._sqlite_path is None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent look; nothing is kept."""
        with self._reading() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction: all of it is durable when the block ends, or none."""
        with self.writers.begin() as session:
            yield session

    def answers(self) -> bool:
        """Whether the database can be asked anything just now."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def upgrade(self) -> None:
        """Bring the schema to this program's; a second process starting beside us waits its turn."""
        if self._schema() == SCHEMA:
            return
        # Half a second of imports on a Pi, needed at the first start and after an update only.
        from alembic import command
        from alembic.config import Config

        with self._migrating() as connection:
            configuration = Config()
            configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
            connection.commit()

    def _schema(self) -> str | None:
        try:
            with self.engine.connect() as connection:
                return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except SQLAlchemyError:
            return None  # no such table yet, or no database: the migration will say which

    def tidy(self) -> None:
        """Fold SQLite's write-ahead log back: what was erased must not linger there."""
        if self._sqlite_path is not None:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        if self._sqlite_path is None:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                connection.commit()
                try:
                    yield connection
                finally:
                    connection.rollback()
                    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _MIGRATION_LOCK})
                    connection.commit()
            return
        with self._sqlite_path.with_name(self._sqlite_path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.engine.execution_options(writes=True).connect() as connection:
                yield connection


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes would fail at once if another wrote in between: a writer
    # takes its turn at the beginning.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
