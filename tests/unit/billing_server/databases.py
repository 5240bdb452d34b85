"""Fresh, migrated databases for tests: a SQLite file, and one database each in a private PostgreSQL cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from billing_server.database import Database

_PROGRAMS = Path("/usr/lib/postgresql")


class SqliteFiles:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._blank = folder / "blank.sqlite"
        database = Database(f"sqlite+pysqlite:///{self._blank}")
        database.upgrade()
        database.close()

    def fresh(self) -> str:
        self._count += 1
        copy = self._folder / f"ledger-{self._count}.sqlite"
        shutil.copy(self._blank, copy)
        return f"sqlite+pysqlite:///{copy}"


class PostgresDatabases:
    """Copies of one migrated database, dropped at the end."""

    def __init__(self, url: str) -> None:
        self._url, self._count, self._mark = make_url(url), 0, f"canteen_test_{os.getpid()}"
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT")
        blank = self._create("blank", "template0")
        database = Database(blank)
        database.upgrade()
        database.close()

    def fresh(self) -> str:
        self._count += 1
        return self._create(str(self._count), f"{self._mark}_blank")

    def drop_all(self) -> None:
        with self._admin.connect() as connection:
            for name in [str(n + 1) for n in range(self._count)] + ["blank"]:
                connection.execute(text(f'DROP DATABASE IF EXISTS "{self._mark}_{name}" WITH (FORCE)'))
        self._admin.dispose()

    def _create(self, name: str, template: str) -> str:
        full = f"{self._mark}_{name}"
        with self._admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{full}" TEMPLATE "{template}" ENCODING \'UTF8\''))
        return self._url.set(database=full).render_as_string(hide_password=False)


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
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
        start = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"]
        _run([*as_user, *start])
        try:
            yield f"postgresql+psycopg://canteen@/postgres?host={folder}"
        finally:
            _run([*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    # pg_ctl's server keeps an inherited pipe open for ever; files end.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd="/"
    )
    if done.returncode != 0:
        pytest.fail(f"{Path(command[-1]).name}: {' '.join(command)} failed")
