"""Fresh, migrated databases for tests: a SQLite file each, and a database in a private PostgreSQL cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text, update

from billing_server.database import Database
from billing_server.models import Base, FeedPosition
from tests.unit.billing_server.ledger_bench import LedgerBench, SqliteFiles

_PROGRAMS = Path("/usr/lib/postgresql")


class PostgresDatabase:
    """One migrated database of our own, emptied before each test: that takes a tenth of making another."""

    def __init__(self, url: str) -> None:
        self._name = f"canteen_test_{os.getpid()}"
        self._admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {self._name} TEMPLATE template0 ENCODING 'UTF8'"))
        own = make_url(url).set(database=self._name)
        self._url = own.render_as_string(hide_password=False)
        database = Database(self._url)
        database.upgrade()
        database.close()
        self._emptying = create_engine(own)

    def fresh(self) -> str:
        tables = [table.name for table in Base.metadata.sorted_tables if table.name != FeedPosition.__tablename__]
        with self._emptying.begin() as connection:
            connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"))
            connection.execute(update(FeedPosition).values(last=0))
        return self._url

    def drop(self) -> None:
        self._emptying.dispose()
        with self._admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {self._name} WITH (FORCE)"))
        self._admin.dispose()


@contextmanager
def postgresql_url() -> Iterator[str]:
    """A server to test with: the one CANTEEN_TEST_POSTGRES_URL names, or a private one on a Unix socket."""
    given = os.environ.get("CANTEEN_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    programs = sorted(_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL here: set CANTEEN_TEST_POSTGRES_URL or install postgresql")
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user and subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode != 0:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    binaries = programs[-1].parent
    # Not under pytest's own folder: that one is closed to other users, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        _run([*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "canteen", "--auth=trust", "-N"])
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
        # Not by pg_ctl, whose server outlives a killed test; to the server, SIGQUIT is the end at once.
        server = [str(binaries / "postgres"), "-D", str(data), *options.split()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*(as_user or ["setpriv"]), "--pdeathsig", "QUIT", *server], stdout=log, stderr=log, cwd="/"
            )
        try:
            _wait_ready(binaries, folder, process)
            yield f"postgresql+psycopg://canteen@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", name="sqlite_files")
def each_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(scope="session", name="postgres_database")
def the_postgres_database() -> Iterator[PostgresDatabase]:
    with postgresql_url() as url:
        database = PostgresDatabase(url)
        yield database
        database.drop()


@pytest.fixture(params=["sqlite", "postgresql"], name="database_url")
def fresh_database_url(request: pytest.FixtureRequest) -> str:
    """A fresh ledger; each test runs on both."""
    name = {"sqlite": "sqlite_files", "postgresql": "postgres_database"}[request.param]
    databases: SqliteFiles | PostgresDatabase = request.getfixturevalue(name)
    return databases.fresh()


@pytest.fixture(name="bench")
def bench_on_both(tmp_path: Path, database_url: str) -> Iterator[LedgerBench]:
    """A server on either database."""
    ledger_bench = LedgerBench(tmp_path, database_url)
    yield ledger_bench
    ledger_bench.close()


@pytest.fixture(name="small_bench")
def bench_on_sqlite(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[LedgerBench]:
    """A server on SQLite, for what does not touch the database's ways."""
    ledger_bench = LedgerBench(tmp_path, sqlite_files.fresh())
    yield ledger_bench
    ledger_bench.close()


def _wait_ready(binaries: Path, folder: Path, process: subprocess.Popen[bytes]) -> None:
    asking = [str(binaries / "pg_isready"), "-q", "-h", str(folder)]
    end = time.monotonic() + 60
    while subprocess.run(asking, check=False, cwd="/").returncode != 0:
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"PostgreSQL does not start: {(folder / 'log').read_text()[-500:]}")
        time.sleep(0.05)


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd="/"
    )
    if done.returncode != 0:
        pytest.fail(f"{Path(command[-1]).name}: {' '.join(command)} failed")
