"""The agent against a real broker: what the ledger acknowledges is done, what it does not is sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted
from demo.network_switch import NetworkSwitch
from sync.agent import SyncAgent
from sync.greeting import read_hello
from sync.messages import (
    JournalEntry,
    read_batch,
    sign_order,
    topic_down,
    write_acknowledgement,
    write_orders,
)
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.orders import LeaseOrder
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from tests.conftest import RunningBroker, wait_until

TERMINAL = DeviceId("terminal-1")


class Ledger:
    """A ledger that keeps what it gets in memory and acknowledges, unless told to be silent."""

    def __init__(self, broker: RunningBroker, key: SigningKey) -> None:
        self.key = key
        self.entries: dict[int, JournalEntry] = {}
        self.received = 0
        self.hellos: list[int] = []
        self.silent = False
        self.transport = MqttTransport(broker.server_settings, "billing", self._take, lambda: None, lambda: None)
        self.transport.subscribe("canteen/+/up/#")
        self.transport.start()
        wait_until(lambda: self.transport.connected, what="the ledger's connection")

    def _take(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/hello"):
            self.hellos.append(read_hello(payload).orders_up_to)
            return
        for entry in read_batch(payload):
            self.received += 1
            self.entries[entry.sequence] = entry
        if not self.silent:
            self.acknowledge()

    def acknowledge(self) -> None:
        last = self.entries[max(self.entries)]
        payload = write_acknowledgement(
            TERMINAL, last.generation, last.sequence, last.digest, datetime.now(UTC), self.key
        )
        self.transport.publish(topic_down(TERMINAL, "ack"), payload)


@pytest.fixture
def server_key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "server.key")


@pytest.fixture
def journal(tmp_path: Path) -> PassJournal:
    key = SigningKey.load_or_create(tmp_path / "terminal.key")
    return PassJournal(tmp_path / "journal.sqlite", TERMINAL, key)


@pytest.fixture
def box(tmp_path: Path) -> OrderBox:
    return OrderBox(tmp_path / "orders.sqlite")


@pytest.fixture
def ledger(broker: RunningBroker, server_key: SigningKey) -> Iterator[Ledger]:
    ledger = Ledger(broker, server_key)
    yield ledger
    ledger.transport.stop()


@pytest.fixture
def switch(broker: RunningBroker) -> Iterator[NetworkSwitch]:
    switch = NetworkSwitch(broker.port)
    switch.start()
    yield switch
    switch.stop()


@pytest.fixture
def run_agent(
    broker: RunningBroker, journal: PassJournal, box: OrderBox, server_key: SigningKey, switch: NetworkSwitch
) -> Iterator[Callable[[], None]]:
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run() -> None:
        agent = SyncAgent(
            journal,
            box,
            TERMINAL,
            server_key.verifying_key,
            lambda *handlers: MqttTransport(broker.settings(TERMINAL, switch.port), TERMINAL, *handlers),
            SystemClock(),
        )
        threads.append(threading.Thread(target=agent.run, args=(stop,)))
        threads[-1].start()

    yield run
    stop.set()
    for thread in threads:
        thread.join(timeout=10)


def record(journal: PassJournal, passes: int) -> None:
    for _ in range(passes):
        journal.append(PassCompleted(new_pass_id()), datetime.now(UTC), ClockTrust.TRUSTED)


def test_what_was_recorded_reaches_the_ledger_and_is_acknowledged(
    journal: PassJournal, ledger: Ledger, run_agent: Callable[[], None], box: OrderBox
) -> None:
    """A backlog and then live entries arrive, the mark follows, and the terminal knows the line is up."""
    record(journal, 300)
    run_agent()
    wait_until(lambda: journal.backlog == 0, what="the backlog")
    record(journal, 1)
    wait_until(lambda: journal.backlog == 0, what="the live entry")
    assert list(range(1, 302)) == sorted(ledger.entries)
    assert box.link.connected
    assert box.link.last_contact is not None


def test_a_cut_loses_nothing_and_what_comes_twice_is_the_same(
    journal: PassJournal,
    ledger: Ledger,
    run_agent: Callable[[], None],
    box: OrderBox,
    switch: NetworkSwitch,
) -> None:
    """Entries made while the cable is cut arrive when it is back."""
    run_agent()
    wait_until(lambda: box.link.connected, what="the line")
    switch.cut()
    wait_until(lambda: not box.link.connected, what="the cut to be seen")
    since = box.link.since
    record(journal, 20)
    assert journal.backlog == 20
    switch.restore()
    wait_until(lambda: journal.backlog == 0, timeout_s=20, what="the entries of the cut")
    assert list(range(1, 21)) == sorted(ledger.entries)
    assert since is not None


def test_only_the_ledgers_own_word_moves_the_mark(
    journal: PassJournal, ledger: Ledger, run_agent: Callable[[], None], tmp_path: Path
) -> None:
    """The broker's PUBACK does not count, nor an acknowledgement that somebody else signed."""
    ledger.silent = True
    record(journal, 3)
    run_agent()
    wait_until(lambda: len(ledger.entries) == 3, what="the entries")
    assert journal.acknowledged_up_to == 0
    honest, ledger.key = ledger.key, SigningKey.load_or_create(tmp_path / "forger.key")
    ledger.acknowledge()
    ledger.transport.publish(topic_down(TERMINAL, "ack"), b"\xff garbage {")
    ledger.key = honest
    ledger.acknowledge()
    wait_until(lambda: journal.backlog == 0, what="the acknowledgement")


def test_orders_reach_the_box_and_forged_ones_do_not(
    ledger: Ledger, run_agent: Callable[[], None], box: OrderBox, server_key: SigningKey, tmp_path: Path
) -> None:
    """An order of another key is refused; a good one after it is taken; a hole is asked for again."""
    opening = OpeningKey.load_or_create(tmp_path / "opening.key")
    forger = SigningKey.load_or_create(tmp_path / "forger.key")
    now = datetime.now(UTC)

    def send(number: int, key: SigningKey) -> None:
        order = sign_order(LeaseOrder(now), TERMINAL, number, now, opening.sealing_key, key)
        ledger.transport.publish(topic_down(TERMINAL, "orders"), write_orders([order]))

    run_agent()
    wait_until(lambda: bool(ledger.hellos), what="the greeting")
    send(1, forger)
    send(2, server_key)
    wait_until(lambda: box.newest_order is not None, what="order 2")
    said = len(ledger.hellos)
    wait_until(lambda: len(ledger.hellos) > said, what="asking for order 1")
    assert box.next_waiting() is None
    send(1, server_key)
    wait_until(lambda: box.received_up_to == 2, what="both orders")
    waiting = box.next_waiting()
    assert waiting is not None
    assert LeaseOrder(now) == waiting.open(opening)


def test_a_capped_line_carries_everything_once(
    broker: RunningBroker, journal: PassJournal, box: OrderBox, server_key: SigningKey, ledger: Ledger
) -> None:
    """800 kbit/s: the backlog takes longer than the wait for an answer, and nothing is sent twice for that."""
    line = NetworkSwitch(broker.port, octets_a_second=100_000)
    line.start()
    journal.append_all([PassCompleted(new_pass_id()) for _ in range(1500)], SystemClock().utc_now(), ClockTrust.TRUSTED)
    agent = SyncAgent(
        journal,
        box,
        TERMINAL,
        server_key.verifying_key,
        lambda *handlers: MqttTransport(broker.settings(TERMINAL, line.port), TERMINAL, *handlers),
        SystemClock(),
    )
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: journal.backlog == 0, 60, "the ledger's acknowledgement")
    finally:
        stop.set()
        thread.join()
        line.stop()
    assert (1500, 1500) == (len(ledger.entries), ledger.received)
