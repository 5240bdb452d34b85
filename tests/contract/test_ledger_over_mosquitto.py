"""The server as it runs, with a real broker and the terminals' own agent: passes up, orders down, a restart between."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from billing_server.assembly import Services, assemble
from billing_server.configuration import BrokerAddress, KeyFiles, Policy, Settings
from billing_server.models import Alarm, Card, Denial, Entry, ForkedEntry, MealPassRow, OrderRow, Purge
from billing_server.roster import Identity, NewPupil
from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId, PupilId
from canteen.meal_pass import PassCompleted
from sync.agent import SyncAgent
from sync.facts import CardIssued, Fact, OrderApplied
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole, Order, PurgeCause, PurgeOrder, Roster
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from sync.standing import put_on_record
from tests.conftest import RunningBroker, wait_until
from tests.unit.billing_server.ledger_bench import SqliteFiles, denied, granted, receipt_for

pytest_plugins = ("tests.unit.billing_server.databases",)


class RunningDevice:
    """A device's journal, order box and agent, as its own processes have them."""

    def __init__(self, name: str, role: DeviceRole, folder: Path, broker: RunningBroker, server: Services) -> None:
        self.name, self.role = DeviceId(name), role
        self.signing = SigningKey.load_or_create(folder / f"{name}.signing")
        self.opening = OpeningKey.load_or_create(folder / f"{name}.opening")
        self.journal = PassJournal(folder / f"{name}.journal", self.name, self.signing)
        self.box = OrderBox(folder / f"{name}.box")
        with server.database.writing() as session:
            entry = DeviceEntry(self.name, role, self.signing.verifying_key, self.opening.sealing_key)
            server.devices.register(session, entry)
        settings, clock = broker.settings(name), SystemClock()
        agent = SyncAgent(
            self.journal,
            self.box,
            self.name,
            server.signing_key.verifying_key,
            lambda *handlers: MqttTransport(settings, name, *handlers),
            clock,
        )
        self.carried_out: list[Order] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=agent.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def note(self, *facts: Fact) -> None:
        self.journal.append_all(list(facts), SystemClock().utc_now(), ClockTrust.TRUSTED)

    def work(self) -> None:
        """Carry out what waits, as the program with the key does, as far as the protocol sees it."""
        now = SystemClock().utc_now()
        put_on_record(self.journal, self.box, now, ClockTrust.TRUSTED)
        while (order := self.box.next_waiting()) is not None:
            self.carried_out.append(body := order.open(self.opening))
            if isinstance(body, PurgeOrder):
                self.note(receipt_for(body, now))
            self.note(OrderApplied(order.number, order.issued_at))
            self.box.mark_done(order.number)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self.journal.close()
        self.box.close()


@dataclasses.dataclass
class RunningCanteen:
    """A server with one terminal and one station, connected."""

    settings: Settings
    server: Services
    terminal: RunningDevice
    station: RunningDevice
    broker: RunningBroker

    def restart(self) -> None:
        self.server.stop()
        self.server = assemble(self.settings)
        self.server.start()

    def count(self, table: type[Entry | MealPassRow | ForkedEntry | Denial]) -> int:
        with self.server.database.reading() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def pupil(self) -> PupilId:
        with self.server.database.writing() as session:
            return self.server.pupils.add(session, [NewPupil(Identity("Léa", "Martin", "5eB"), ())])[0][0]


@pytest.fixture
def canteen(tmp_path: Path, sqlite_files: SqliteFiles, broker: RunningBroker) -> Iterator[RunningCanteen]:
    ours = broker.server_settings
    settings = Settings(
        school_name="Collège des Tilleuls",
        language="fr",
        database_url=sqlite_files.fresh(),
        keys=KeyFiles(*(tmp_path / name for name in ("signing", "sealing", "code", "operators.json", "clients.json"))),
        broker=BrokerAddress(ours.host, ours.port, ours.ca, ours.certificate, ours.key),
        web_host="127.0.0.1",
        web_port=0,
        policy=Policy(),
    )
    server = assemble(settings)
    server.start()
    terminal = RunningDevice("terminal-1", DeviceRole.TERMINAL, tmp_path, broker, server)
    station = RunningDevice("station-1", DeviceRole.STATION, tmp_path, broker, server)
    running = RunningCanteen(settings, server, terminal, station, broker)
    yield running
    running.terminal.stop()
    running.station.stop()
    running.server.stop()


def test_a_backlog_survives_restarts_and_an_order_overtakes_it(canteen: RunningCanteen) -> None:
    """2,400 entries, the server stopped twice on the way: each is there once. A lost card is known within 2 s."""
    pupil = canteen.pupil()
    context = {"v": 1, "what": "card", "station": "station-1", "pupil": pupil}
    sealed = canteen.server.opening_key.sealing_key.seal(b"04A1B2C3D4E5F6", context)
    canteen.station.note(CardIssued(pupil, sealed))
    wait_until(lambda: canteen.terminal.box.received_up_to >= 7, what="the card at the terminal")
    for _ in range(12):
        facts: list[Fact] = []
        for _ in range(100):
            grant = granted(pupil)
            facts += [grant, PassCompleted(grant.pass_id)]
        canteen.terminal.note(*facts)
    before = canteen.terminal.box.received_up_to
    with canteen.server.database.writing() as session:
        canteen.server.cards.block(session, session.scalars(select(Card.id)).one())
    asked_s = time.monotonic()
    wait_until(lambda: canteen.terminal.box.received_up_to > before, what="the blocked card at the terminal")
    assert time.monotonic() - asked_s < 10  # 2 s on an idle machine
    canteen.restart()
    canteen.restart()
    wait_until(lambda: canteen.terminal.journal.backlog == 0, 30, "the ledger's acknowledgement")
    assert (2401, 1200) == (canteen.count(Entry), canteen.count(MealPassRow))
    waiting = canteen.terminal.box.next_waiting()
    assert waiting is not None
    assert 1 == waiting.number


def test_a_pass_is_in_the_ledger_within_a_second(canteen: RunningCanteen) -> None:
    """Through the journal, the broker and the ingest thread."""
    pupil = canteen.pupil()
    wait_until(lambda: canteen.terminal.box.received_up_to >= 6, what="the orders at the terminal")
    canteen.terminal.note(granted(pupil))
    noted_s = time.monotonic()
    wait_until(lambda: canteen.count(MealPassRow) == 1, what="the pass in the ledger")
    assert time.monotonic() - noted_s < 10  # under 1 s on an idle machine


def alarms(canteen: RunningCanteen) -> set[str]:
    with canteen.server.database.reading() as session:
        return set(session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None))))


def all_answered(canteen: RunningCanteen) -> bool:
    """Every order carried out and answered, every entry in the ledger."""
    for device in (canteen.terminal, canteen.station):
        device.work()
    with canteen.server.database.reading() as session:
        waiting = session.scalar(select(func.count()).select_from(OrderRow).where(OrderRow.answered_at.is_(None)))
    return waiting == 0 and canteen.terminal.journal.backlog == canteen.station.journal.backlog == 0


def test_an_older_backup_of_the_server_while_the_broker_stays_up(canteen: RunningCanteen) -> None:
    """The devices stay connected and would say nothing: greeted, they do. Passes come again, orders are said again, and
    who left in the lost days leaves once more.
    """
    pupil, leaver = canteen.pupil(), canteen.pupil()
    canteen.terminal.note(granted(pupil))
    wait_until(lambda: all_answered(canteen), 20, "the first morning")
    ledger = Path(canteen.settings.database_url.removeprefix("sqlite+pysqlite:///"))
    canteen.server.stop()
    backup = ledger.read_bytes()
    canteen.server = assemble(canteen.settings)
    canteen.server.start()
    with canteen.server.database.writing() as session:
        canteen.server.purges.depart(session, leaver, PurgeCause.DEPARTURE, "Mme Roux")
    canteen.terminal.note(granted(pupil), granted(pupil))
    wait_until(lambda: all_answered(canteen), 20, "the second morning")
    canteen.server.stop()
    for file in ledger.parent.glob(ledger.name + "-*"):
        file.unlink()
    ledger.write_bytes(backup)
    canteen.server = assemble(canteen.settings)
    canteen.server.start()
    later = canteen.pupil()  # numbered at once, with numbers that the devices have used
    wait_until(
        lambda: all_answered(canteen) and canteen.count(MealPassRow) == 3 and "purge-asked-again" in alarms(canteen),
        30,
        "what was lost",
    )
    wait_until(lambda: all_answered(canteen), 20, "the departure, asked again")
    assert {"server-restored", "purge-asked-again"} <= alarms(canteen)
    assert alarms(canteen) <= {"server-restored", "double-service", "purge-asked-again"}
    told = [order for order in canteen.terminal.carried_out if isinstance(order, PurgeOrder | Roster)]
    assert {pupil, later, leaver} == {row.pupil for order in told if isinstance(order, Roster) for row in order.pupils}
    assert [leaver] == [order.pupil for order in told[-1:] if isinstance(order, PurgeOrder)]
    with canteen.server.database.reading() as session:
        assert session.scalars(select(Purge)).one().completed_at is not None


def test_an_older_copy_of_a_whole_terminal_put_back(canteen: RunningCanteen, tmp_path: Path) -> None:
    """Its meals after the fork reach the ledger in a new journal, once each; both versions of the forked are kept."""
    pupils = [canteen.pupil() for _ in range(4)]
    canteen.terminal.note(granted(pupils[0]))
    wait_until(lambda: all_answered(canteen), 20, "the first morning")
    old = canteen.terminal
    files = ("terminal-1.journal", "terminal-1.box")
    for name in files:
        with (
            closing(sqlite3.connect(tmp_path / name)) as live,
            closing(sqlite3.connect(tmp_path / f"old {name}")) as copy,
        ):
            live.backup(copy)
    old.note(granted(pupils[1]), denied(pupils[1]))
    with canteen.server.database.writing() as session:
        canteen.server.purges.depart(session, pupils[3], PurgeCause.DEPARTURE, "Mme Roux")
    wait_until(lambda: all_answered(canteen), 20, "the second morning")
    generation = old.journal.generation
    old.stop()
    for name in files:
        for file in tmp_path.glob(f"{name}-*"):
            file.unlink()
        (tmp_path / f"old {name}").replace(tmp_path / name)
    again = RunningDevice("terminal-1", DeviceRole.TERMINAL, tmp_path, canteen.broker, canteen.server)
    canteen.terminal = again
    again.note(granted(pupils[2]), denied(pupils[2]))
    wait_until(lambda: all_answered(canteen) and canteen.count(MealPassRow) == 3, 30, "the meals after the fork")
    assert generation != again.journal.generation
    assert {"fork", "new-generation", "device-restored"} <= alarms(canteen)
    assert "gap" not in alarms(canteen)
    assert "pass-repeated" not in alarms(canteen)
    assert canteen.count(ForkedEntry) > 0
    assert canteen.count(Denial) == 2
    purged = [order for order in again.carried_out if isinstance(order, PurgeOrder)]
    assert [pupils[3]] == [order.pupil for order in purged], "what the old copy brought back goes again"
