"""Hello is said again: soon, then ever later, for as long as the line lives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.clock import ClockTrust, ManualClock
from canteen.identifiers import DeviceId
from sync.downlink import Downlink
from sync.facts import FactKind, OrderApplied
from sync.greeting import read_hello
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
from sync.standing import put_on_record

TERMINAL = DeviceId("terminal-1")
START = datetime(2026, 11, 23, 11, tzinfo=UTC)


class Line:
    """A line that keeps what was said on it, and loses it."""

    connected, unconfirmed = True, 0

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def start(self) -> None:
        """It is there."""

    def stop(self) -> None:
        """It stays."""

    def subscribe(self, pattern: str) -> None:
        """Nothing comes."""

    def publish(self, topic: str, payload: bytes) -> None:
        assert f"canteen/{TERMINAL}/up/hello" == topic
        self.said.append(payload)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[PassJournal]:
    opened = PassJournal(tmp_path / "journal.sqlite", TERMINAL, SigningKey(b"k" * 32))
    yield opened
    opened.close()


@pytest.fixture
def box(tmp_path: Path) -> OrderBox:
    return OrderBox(tmp_path / "orders.sqlite")


def test_a_lost_hello_is_said_again_with_a_bound(journal: PassJournal, box: OrderBox) -> None:
    """A day of a line on which nothing comes back; a new connection begins soon again."""
    clock, line = ManualClock(START), Line()
    downlink = Downlink(journal, box, TERMINAL, SigningKey(b"s" * 32).verifying_key, clock)
    downlink.restart(line)
    at = []
    for second in range(24 * 3600):
        before = len(line.said)
        downlink.step(line)
        at += [second] * (len(line.said) - before)
        clock.advance(1)
    assert [6, 17, 38, 79, 160] == at[:5]
    assert 601 == at[-1] - at[-2]
    assert 140 <= len(at) <= 155
    said = len(line.said)
    downlink.restart(line)
    clock.advance(6)
    downlink.step(line)
    assert 2 == len(line.said) - said
    assert {0} == {read_hello(payload).orders_up_to for payload in line.said}


def test_a_question_asked_again_and_again_does_not_fill_the_journal(journal: PassJournal, box: OrderBox) -> None:
    """The same answer stands for half a day; a new one is given at once where an order was answered in between."""
    now = START
    for _ in range(100):
        box.note_asked()
        put_on_record(journal, box, now, ClockTrust.TRUSTED)
        assert not box.is_asked
        now += timedelta(minutes=10)
    assert 2 == journal.last_sequence
    journal.append(OrderApplied(1), now, ClockTrust.TRUSTED)
    box.note_asked()
    put_on_record(journal, box, now, ClockTrust.TRUSTED)
    expected = [FactKind.ORDERS_HELD, FactKind.ORDERS_HELD, FactKind.ORDER_APPLIED, FactKind.ORDERS_HELD]
    assert expected == [entry.kind for entry in journal.entries_after(0)]
