"""The threads between the broker and the ledger: whatever comes, the next message is handled."""

from __future__ import annotations

import pytest

from billing_server.line import Line
from billing_server.refusals import Refusals, WhyRefused
from canteen.clock import ManualClock
from sync.greeting import Hello, write_hello
from sync.messages import read_orders, topic_up, write_batch
from sync.transport import MessageHandler, StateHandler
from tests.conftest import wait_until
from tests.unit.billing_server.ledger_bench import MONDAY_NOON, LedgerBench, PublishedMessages, denied

pytest_plugins = ("tests.unit.billing_server.databases",)


class HandedOver(PublishedMessages):
    """A transport whose messages the test hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.came: StateHandler = lambda: None

    def make(self, on_message: MessageHandler, on_connected: StateHandler, on_lost: StateHandler) -> HandedOver:
        del on_message, on_lost
        self.came = on_connected
        return self

    def topics(self) -> list[str]:
        return [topic for topic, _ in list(self.sent)]


@pytest.fixture
def transport() -> HandedOver:
    return HandedOver()


def test_garbage_on_every_topic_then_a_pass(
    small_bench: LedgerBench, transport: HandedOver, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten thousand bad messages, and the good one after them is in the ledger; the log stays short."""
    terminal = small_bench.device("terminal-1")
    line = small_bench.services.line
    line.start(transport.make)
    try:
        for n in range(2500):
            for topic in ("canteen/terminal-1/up/journal", "canteen/x/up/hello", "nothing", "canteen/terminal-1/up/x"):
                line.handle(topic, b"\xff" * (n % 7))
            wait_until(lambda: line._incoming._queue.qsize() < 1000, what="the ingest thread")
        line.handle(topic_up(terminal.name, "journal"), write_batch(terminal.note(denied())))
        wait_until(lambda: "canteen/terminal-1/down/ack" in transport.topics(), what="the acknowledgement")
    finally:
        line.stop()
    assert len(caplog.records) < 60


def test_hello_and_new_orders_reach_the_device(small_bench: LedgerBench, transport: HandedOver) -> None:
    """At hello what is missing, at once what is new, and at our own reconnection whatever is unanswered."""
    terminal = small_bench.device("terminal-1")
    line = small_bench.services.line
    line.start(transport.make)
    try:
        wait_until(lambda: len(transport.sent) == 1, what="the orders of the registration")
        line.handle(topic_up(terminal.name, "hello"), write_hello(Hello(2)))
        wait_until(lambda: len(transport.sent) == 2, what="the orders it lacks")
        small_bench.pupil()
        wait_until(lambda: len(transport.sent) == 3, what="the new order")
        transport.came()
        wait_until(lambda: len(transport.sent) == 5, what="a greeting, and all orders again")
    finally:
        line.stop()
    numbers = [
        [order.number for order in read_orders(payload)]
        for topic, payload in transport.sent
        if topic.endswith("orders")
    ]
    assert [[1, 2, 3, 4], [3, 4], [5], [1, 2, 3, 4, 5]] == numbers


def test_a_fault_of_ours_stops_nothing(small_bench: LedgerBench, transport: HandedOver) -> None:
    """It is counted, and its text, which may hold what was in the message, is not logged."""
    terminal = small_bench.device("terminal-1")
    line: Line = small_bench.services.line
    line.start(transport.make)
    try:
        line._incoming.offer((None, b""))  # type: ignore[arg-type]  # what no transport would do
        line.handle(topic_up(terminal.name, "journal"), write_batch(terminal.note(denied())))
        wait_until(lambda: "canteen/terminal-1/down/ack" in transport.topics(), what="the acknowledgement")
    finally:
        line.stop()
    small_bench.services.housekeeping.round()
    from billing_server.models import Refusal

    with small_bench.services.database.reading() as session:
        assert 1 == session.get_one(Refusal, ("?", "unhandled")).times


def test_a_database_that_is_away_is_survived(small_bench: LedgerBench) -> None:
    """No acknowledgement goes out; when it is back, the same batch is taken."""
    terminal = small_bench.device("terminal-1")
    terminal.note(denied())
    database = small_bench.services.database
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE entries RENAME TO entries_away")
    assert [] == small_bench.send(terminal)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE entries_away RENAME TO entries")
    assert [1] == [a.sequence for a in small_bench.send(terminal)]


def test_a_flood_is_logged_at_powers_of_ten(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(ManualClock(MONDAY_NOON))
    for _ in range(1234):
        refusals.count("terminal-1", WhyRefused.GARBAGE)
    assert ["1 so far", "10 so far", "100 so far", "1000 so far"] == [
        record.getMessage().rpartition("(")[2].rstrip(")") for record in caplog.records
    ]
