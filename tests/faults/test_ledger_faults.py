"""The server under faults: killed between commit and acknowledgement, its PostgreSQL restarted, its disk full, an old
backup put back, a flood of bad messages. Afterwards each entry is there once and each alarm is raised that should be.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from billing_server.models import Alarm, Entry, MealPassRow, Purge, Refusal
from canteen.meal_pass import PassCompleted
from sync.messages import topic_up, write_batch
from sync.orders import CardBlocked, DeviceRole, PurgeCause, PurgeOrder, PurgeScope
from tests.conftest import wait_until
from tests.unit.billing_server.databases import _PROGRAMS, PostgresDatabase, _run
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, SqliteFiles, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


def record(bench: LedgerBench, device: SignedDevice, passes: int) -> None:
    pupil = bench.pupil()
    for _ in range(passes):
        grant = granted(pupil)
        device.note(grant, PassCompleted(grant.pass_id))


def count(bench: LedgerBench, table: type[Entry | MealPassRow]) -> int:
    with bench.services.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def open_alarms(bench: LedgerBench) -> set[str]:
    with bench.services.database.reading() as session:
        return set(session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None))))


def batches(device: SignedDevice, size: int = 20) -> list[bytes]:
    return [write_batch(device.journal[start : start + size]) for start in range(0, len(device.journal), size)]


def ingest_and_be_killed(bench: LedgerBench, payload: bytes) -> None:
    """In a process of its own: commit the batch, then SIGKILL before the word of it is out."""
    child = os.fork()
    if child == 0:
        try:
            bench.restart()
            ingest_class = type(bench.services.ingest)
            ingest_class._acknowledge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            bench.services.ingest.take_journal(topic_up("terminal-1", "journal"), payload)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert (True, signal.SIGKILL) == (os.WIFSIGNALED(status), os.WTERMSIG(status))


def test_killed_between_commit_and_acknowledgement(bench: LedgerBench) -> None:
    """A real kill -9 of a real process, twenty times; nothing is lost, nothing is double, on both databases."""
    device = bench.device("terminal-1")
    for _turn in range(20):
        record(bench, device, 2)
        bench.close()
        ingest_and_be_killed(bench, write_batch(device.journal))
        bench.restart()
    assert [80] == [mark.sequence for mark in bench.send(device)]
    assert (80, 40) == (count(bench, Entry), count(bench, MealPassRow))


@contextmanager
def own_postgres(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A cluster that may be stopped and started; its address and `pg_ctl` as a command."""
    programs = sorted(_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL here: install postgresql")
    binaries = programs[-1].parent
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    _run([*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "canteen", "--auth=trust", "-N", "-E", "UTF8"])
    options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options]
    _run([*control, "start"])
    try:
        yield f"postgresql+psycopg://canteen@/postgres?host={folder}", control
    finally:
        _run([*control, "-m", "immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_postgresql_is_restarted_under_the_ledger() -> None:
    """Crashed (immediate) twice while batches come in: what was acknowledged is there, the rest comes again."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="pgf-", dir="/tmp"))
    with own_postgres(folder) as (url, control):
        keys = Path(tempfile.mkdtemp(dir=folder.parent))
        bench = LedgerBench(keys, url)
        bench.services.database.upgrade()
        device = bench.device("terminal-1")
        record(bench, device, 200)
        topic, payloads = topic_up("terminal-1", "journal"), batches(device)
        acknowledged = threading.Event()

        def restart() -> None:
            for _turn in range(2):
                _run([*control, "-m", "immediate", "restart"])
                time.sleep(0.2)
            acknowledged.set()

        restarting = threading.Thread(target=restart)
        restarting.start()
        sendings = 0
        while not acknowledged.is_set() or sendings < 2:
            for payload in payloads:
                bench.services.ingest.take_journals(topic, [payload])
            sendings += acknowledged.is_set()
        restarting.join()
        wait_until(bench.services.database.answers, what="PostgreSQL")
        assert [400] == [mark.sequence for mark in bench.send(device)]
        assert (400, 200) == (count(bench, Entry), count(bench, MealPassRow))
        assert "fork" not in open_alarms(bench)
        bench.close()
        shutil.rmtree(keys)


def end_waiting_copy(engine: Engine, how: str) -> bool:
    """End the COPY that waits for another transaction; whether there was one."""
    end = text(
        f"SELECT {how}(pid) FROM pg_stat_activity"  # noqa: S608 - our own two words
        " WHERE query LIKE 'COPY%' AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return connection.execute(end).all() != []


@pytest.mark.parametrize("how", ["pg_terminate_backend", "pg_cancel_backend"])
def test_postgresql_breaks_off_in_the_middle_of_a_copy(
    tmp_path: Path, postgres_database: PostgresDatabase, how: str
) -> None:
    """At one of 500 rows, with the connection or without: nothing is acknowledged, all of it comes again."""
    bench = LedgerBench(tmp_path, postgres_database.fresh())
    device, engine = bench.device("terminal-1"), bench.services.database.engine
    record(bench, device, 300)
    bench.send(device, device.journal[:100])
    in_its_place = text(
        "INSERT INTO entries SELECT device, generation, 350, previous, digest, recorded_at, clock_trust, kind, body,"
        " body_digest, signature, received_at FROM entries WHERE sequence = 1"
    )
    heard: list[object] = []
    sending = threading.Thread(target=lambda: heard.extend(bench.send(device, device.journal[100:])))
    with engine.connect() as other:
        other.execute(text("SET LOCAL session_replication_role = replica"))  # looks at no key: `journals` is locked
        other.execute(in_its_place)
        sending.start()
        wait_until(lambda: end_waiting_copy(engine, how), what="the COPY to wait in its middle")
        sending.join()
    assert (100, []) == (count(bench, Entry), heard)
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        assert ["not-stored"] == list(session.scalars(select(Refusal.why)))
    assert [600] == [mark.sequence for mark in bench.send(device)]
    assert (600, 300) == (count(bench, Entry), count(bench, MealPassRow))
    assert set() == open_alarms(bench)
    bench.close()


def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, sqlite_files: SqliteFiles
) -> None:
    """SQLite is told that there are no more pages: as on a full disk, the batch is refused whole."""
    bench = LedgerBench(tmp_path, sqlite_files.fresh())
    device = bench.device("terminal-1")
    record(bench, device, 300)
    with bench.services.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    bench.services.database.engine.dispose()
    from sqlalchemy import event

    full = True

    def limit(connection: object, _record: object, _proxy: object) -> None:
        most = (pages or 0) + 2 if full else 1_000_000
        connection.execute(f"PRAGMA max_page_count={most}")  # type: ignore[attr-defined]  # SQLite's own connection

    event.listen(bench.services.database.engine, "checkout", limit)
    assert [] == bench.send(device)
    assert 0 == count(bench, Entry)
    full = False
    assert [600] == [mark.sequence for mark in bench.send(device)]
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        assert ["not-stored"] == list(session.scalars(select(Refusal.why)))
    bench.close()


def test_duplicated_and_reordered_batches(bench: LedgerBench) -> None:
    """Every batch three times, shuffled, then what a device does: again from the mark, until all is there."""
    device = bench.device("terminal-1")
    record(bench, device, 60)
    payloads = batches(device) * 3
    random.Random(7).shuffle(payloads)
    topic = topic_up("terminal-1", "journal")
    for payload in payloads:
        bench.services.ingest.take_journals(topic, [payload])
    for payload in batches(device):
        bench.services.ingest.take_journals(topic, [payload])
    assert (120, 60) == (count(bench, Entry), count(bench, MealPassRow))
    assert set() == open_alarms(bench) - {"gap"}
    assert "gap" not in open_alarms(bench)


def test_an_old_backup_of_the_server_is_put_back(tmp_path: Path, sqlite_files: SqliteFiles) -> None:
    """The ledger's acknowledgement is then lower than the device's mark: it sends again, and all is as before."""
    bench = LedgerBench(tmp_path, sqlite_files.fresh())
    device = bench.device("terminal-1")
    record(bench, device, 5)
    bench.send(device)
    bench.answer_all(device)
    bench.close()
    path = Path(bench.database_url.removeprefix("sqlite+pysqlite:///"))
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    bench.restart()
    record(bench, device, 5)
    bench.send(device)
    before = count(bench, Entry)
    bench.close()
    for leftover in path.parent.glob(path.name + "-*"):
        leftover.unlink()
    shutil.copy(backup, path)
    bench.restart()
    later = device.note(denied())
    (mark,) = bench.send(device, later)
    assert mark.sequence < later[0].sequence - 1
    assert {"gap"} == open_alarms(bench)
    (mark,) = bench.send(device, device.journal[mark.sequence :])
    assert (len(device.journal), before + 1) == (mark.sequence, count(bench, Entry))
    assert set() == open_alarms(bench)
    bench.close()


def test_orders_after_an_old_backup_are_not_taken_for_done(tmp_path: Path, sqlite_files: SqliteFiles) -> None:
    """The device has used the numbers that the restored server would give: it is told anew, a purge and a card too."""
    bench = LedgerBench(tmp_path, sqlite_files.fresh())
    device, station = bench.device("terminal-1"), bench.device("station-1", DeviceRole.STATION)
    pupil = bench.pupil()
    bench.card_issued(station, pupil)
    bench.send(station)
    bench.answer_all(device)
    bench.close()
    path = Path(bench.database_url.removeprefix("sqlite+pysqlite:///"))
    shutil.copy(path, tmp_path / "backup")
    bench.restart()
    for _ in range(5):
        bench.pupil()
    newest = max(bench.hello(device, device.orders_done), key=lambda order: order.number)
    bench.answer_all(device)
    bench.close()
    for leftover in path.parent.glob(path.name + "-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup", path)
    bench.restart()
    with bench.services.database.writing() as session:
        bench.services.cards.block(session, 1)
        purge = bench.services.purges.start(session, pupil, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, "Mme Roux")
    orders = [order.open(device.opening) for order in bench.hello(device, device.orders_done, newest)]
    assert 1 == sum(isinstance(order, CardBlocked) for order in orders)
    assert [purge] == [order.purge for order in orders if isinstance(order, PurgeOrder)]
    assert "server-restored" in open_alarms(bench)
    bench.send(device)
    bench.answer_all(device)
    bench.answer_all(station)
    with bench.services.database.reading() as session:
        assert session.get_one(Purge, purge).completed_at is not None
    bench.close()


def test_ten_thousand_bad_messages_cost_little_and_stop_nobody(tmp_path: Path, sqlite_files: SqliteFiles) -> None:
    """Through the line's own threads and queue: memory stays bounded, the log too, and the next pass is taken."""
    import resource

    bench = LedgerBench(tmp_path, sqlite_files.fresh())
    device = bench.device("terminal-1")
    record(bench, device, 1)
    line = bench.services.line
    line.start(None)
    bench.services.line._outlet.connect(bench.published)
    noise = [b"", b"{", b'{"v":1,"entries":[{}]}', os.urandom(300), b"[" * 2000, write_batch(device.journal)[:-1]]
    names = ["terminal-1", "stranger", "../etc", "#"]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_s = time.monotonic()
    for number in range(10_000):
        name, what = names[number % 4], ("journal", "hello", "other")[number % 3]
        line.handle(f"canteen/{name}/up/{what}", noise[number % len(noise)])
    wait_until(line._incoming._queue.empty, 30, "the flood to be over")
    line.handle(topic_up("terminal-1", "journal"), write_batch(device.journal))
    wait_until(lambda: count(bench, MealPassRow) == 1, 10, "the pass behind the flood")
    assert time.monotonic() - started_s < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024
    line.stop()
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        refused = session.scalar(select(func.sum(Refusal.times)))
        kinds = session.scalar(select(func.count()).select_from(Refusal))
    assert 10_000 == refused
    assert (kinds or 0) < 20
    bench.close()
