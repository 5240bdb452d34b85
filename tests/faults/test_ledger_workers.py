"""Several workers share what comes in: journals stay whole while the broker deals them out and workers are killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from billing_server.assembly import assemble
from billing_server.configuration import load_settings
from billing_server.errors import ConfigurationRefused
from billing_server.models import Alarm, Entry, ForkedEntry, MealPassRow
from canteen.identifiers import new_pupil_id
from canteen.meal_pass import PassCompleted
from demo.processes import leashed
from sync.facts import Fact
from sync.orders import DeviceRole
from tests.conftest import RunningBroker, wait_until
from tests.contract.test_ledger_over_mosquitto import RunningDevice
from tests.unit.billing_server.databases import PostgresDatabase
from tests.unit.billing_server.ledger_bench import granted

pytest_plugins = ("tests.unit.billing_server.databases",)

DEVICES = 3
PASSES = 800

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Program:
    """`canteen-billing` as a process: the server, or a worker beside it."""

    def __init__(self, configuration: Path, *command: str) -> None:
        self.log = configuration.with_name("-".join(("program", *command)) + ".log")
        self._command = ["--config", str(configuration), *command]
        self.start()

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                leashed([sys.executable, "-m", "billing_server.main", *self._command]), stdout=log, stderr=log
            )
        wait_until(lambda: "connected to the broker" in self.log.read_text(), 90, "a program")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def configuration(tmp_path: Path, postgres_database: PostgresDatabase, broker: RunningBroker) -> Path:
    ours = broker.server_settings
    path = tmp_path / "billing.toml"
    path.write_text(
        f'school_name = "Collège"\n[database]\nurl = "{postgres_database.fresh()}"\n[web]\nport = 0\n'
        '[keys]\nsigning_key = "signing"\nsealing_key = "sealing"\ncode_key = "code"\noperators = "operators.json"\n'
        f'[broker]\nhost = "{ours.host}"\nport = {ours.port}\nca = "{ours.ca}"\n'
        f'certificate = "{ours.certificate}"\nkey = "{ours.key}"\nworkers = true\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()


def test_workers_are_killed_while_they_drain(
    tmp_path: Path, configuration: Path, broker: RunningBroker, programs: list[Program]
) -> None:
    """Three terminals, two workers, one after the other killed with batches in hand: each pass once, no gap left."""
    services = assemble(load_settings(configuration))
    services.database.upgrade()
    programs.append(Program(configuration))
    programs.append(Program(configuration, "ingest"))
    devices = [RunningDevice(f"terminal-{n}", DeviceRole.TERMINAL, tmp_path, broker, services) for n in range(DEVICES)]

    def count(table: type[Entry | MealPassRow | ForkedEntry]) -> int:
        with services.database.reading() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    try:
        for device in devices:
            facts: list[Fact] = []
            for _ in range(PASSES):
                grant = granted(new_pupil_id())
                facts += [grant, PassCompleted(grant.pass_id)]
            device.note(*facts)
        for turn, program in enumerate(reversed(programs)):
            wait_until(lambda turn=turn: count(Entry) > 300 + 1500 * turn, 60, "some entries")  # type: ignore[misc]  # mypy: lambda default
            program.kill()
            program.start()
        wait_until(lambda: not any(device.journal.backlog for device in devices), 120, "the ledger's acknowledgement")
    finally:
        for device in devices:
            device.stop()
    assert (2 * PASSES * DEVICES, PASSES * DEVICES, 0) == (count(Entry), count(MealPassRow), count(ForkedEntry))
    with services.database.reading() as session:
        assert [] == session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None))).all()
    logs = [program.log.read_text() for program in programs]
    assert not any("Traceback" in log for log in logs)
    services.database.close()


def test_workers_need_postgresql_and_say_so(tmp_path: Path, configuration: Path) -> None:
    text = configuration.read_text(encoding="utf-8")
    configuration.write_text(text.replace("workers = true\n", ""), encoding="utf-8")
    with pytest.raises(ConfigurationRefused, match="workers = true"):
        assemble(load_settings(configuration), worker="2")
    url = text.partition('url = "')[2].partition('"')[0]
    configuration.write_text(text.replace(url, f"sqlite+pysqlite:///{tmp_path}/x.sqlite"), encoding="utf-8")
    with pytest.raises(ConfigurationRefused, match="needs PostgreSQL"):
        assemble(load_settings(configuration))
