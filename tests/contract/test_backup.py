"""One file holds the whole ledger, and gives it back: on SQLite, and on PostgreSQL by its own tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, select, text

from billing_server.backup import restore_backup, write_backup
from billing_server.configuration import KeyFiles, Settings
from billing_server.database import Database
from billing_server.errors import CannotServe
from billing_server.feed_positions import LEAP
from billing_server.models import Base
from billing_server.reading import passes_after
from tests.unit.billing_server.ledger_bench import LedgerBench, granted

pytest_plugins = ("tests.unit.billing_server.databases",)

PASSPHRASE = "un mot de passe long"


@contextmanager
def elsewhere(url: str, folder: Path) -> Iterator[str]:
    """The address of a new, empty database of the same kind."""
    there = make_url(url)
    if there.get_backend_name() == "sqlite":
        yield f"sqlite+pysqlite:///{folder / 'restored.sqlite'}"
        return
    admin = create_engine(there.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE canteen_restored TEMPLATE template0"))
        try:
            yield there.set(database="canteen_restored").render_as_string(hide_password=False)
        finally:
            connection.execute(text("DROP DATABASE canteen_restored WITH (FORCE)"))
    admin.dispose()


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All there is, table by table."""
    database = Database(url)
    try:
        with database.reading() as session:
            return {
                table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
                for table in Base.metadata.sorted_tables
            }
    finally:
        database.close()


def test_there_and_back(bench: LedgerBench, tmp_path: Path) -> None:
    """Every row of every table, keys and configuration; onto a ledger that is there, never."""
    terminal = bench.device("terminal-1")
    terminal.note(granted(bench.pupil()), granted(bench.pupil("Tom")))
    bench.send(terminal)
    config, file = tmp_path / "billing.toml", tmp_path / "backup.age"
    config.write_text("school_name = 'x'\n", encoding="utf-8")
    before = rows(bench.database_url)
    assert before["passes"]
    write_backup(bench.settings, config, file, PASSPHRASE, bench.clock.utc_now())
    assert b"terminal-1" not in file.read_bytes()

    new = tmp_path / "new"
    new.mkdir()
    with elsewhere(bench.database_url, new) as url:
        settings = moved(bench.settings, url, new)
        made_at = restore_backup(settings, new / "billing.toml", file, PASSPHRASE)
        assert bench.clock.utc_now() == made_at
        before["feed_positions"] = [("denials", LEAP), ("outcomes", LEAP), ("passes", LEAP)]
        assert before == rows(url)
        assert bench.settings.keys.signing_key.read_bytes() == settings.keys.signing_key.read_bytes()
        with pytest.raises(CannotServe, match="already there"):
            restore_backup(settings, new / "billing.toml", file, PASSPHRASE)
        bare = tmp_path / "bare"
        bare.mkdir()
        with pytest.raises(CannotServe, match="already"):
            restore_backup(moved(bench.settings, url, bare), bare / "billing.toml", file, PASSPHRASE)
        assert before == rows(url)
        assert [] == list(bare.iterdir())


def test_a_reader_by_cursor_misses_nothing_of_a_restored_server(bench: LedgerBench, tmp_path: Path) -> None:
    """It has read on after the backup; what the terminals tell again has places that it has not passed."""
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    bench.send(one, one.note(granted(bench.pupil("Léa"))))
    config, file = tmp_path / "billing.toml", tmp_path / "backup.age"
    config.write_text("school_name = 'x'\n", encoding="utf-8")
    write_backup(bench.settings, config, file, PASSPHRASE, bench.clock.utc_now())
    bench.send(one, one.note(granted(bench.pupil("Tom"))))
    bench.send(two, two.note(granted(bench.pupil("Zoé"))))
    seen = positions(bench, 0)
    new = tmp_path / "new"
    new.mkdir()
    with elsewhere(bench.database_url, new) as url:
        settings = moved(bench.settings, url, new)
        restore_backup(settings, new / "billing.toml", file, PASSPHRASE)
        restored = LedgerBench(new, url, bench.clock)
        try:
            restored.send(two)
            restored.send(two, two.note(granted(bench.pupil("Eva"))))
            restored.send(one)
            more = positions(restored, seen[-1][0])
            assert {name for _, name in seen + more} == {name for _, name in positions(restored, 0)}
            assert 4 == len({name for _, name in seen + more})
            places = dict(seen)
            assert all(places.get(place, name) == name for place, name in more)  # none was given to two
        finally:
            restored.close()


def positions(bench: LedgerBench, after: int) -> list[tuple[int, str]]:
    with bench.services.database.reading() as session:
        return [(row.position, row.pass_id) for row in passes_after(session, after, 100)]


def moved(settings: Settings, url: str, folder: Path) -> Settings:
    """The same server on another machine."""
    names = (getattr(settings.keys, field.name).name for field in dataclasses.fields(settings.keys))
    authority = settings.authority
    assert authority is not None
    return dataclasses.replace(
        settings,
        database_url=url,
        keys=KeyFiles(*(folder / name for name in names)),
        authority=dataclasses.replace(
            authority,
            key=folder / authority.key.name,
            certificate=folder / authority.certificate.name,
            revoked=folder / authority.revoked.name,
        ),
    )
