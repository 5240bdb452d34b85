"""Batches that come before their predecessors wait for them, and not for ever."""

from __future__ import annotations

import pytest

from billing_server.batch_reading import as_read
from billing_server.read_batch import ReadBatch, made_ready
from billing_server.turns import PATIENCE_S, Turns
from canteen.clock import ManualClock
from canteen.identifiers import DeviceId
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import MONDAY_NOON, SignedDevice, denied


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MONDAY_NOON)


@pytest.fixture
def batches(clock: ManualClock) -> list[ReadBatch]:
    """Six batches of ten."""
    terminal = SignedDevice(DeviceId("terminal-1"), DeviceRole.TERMINAL, clock)
    entries = [as_read(entry) for entry in terminal.note(*(denied() for _ in range(60)))]
    return [made_ready(terminal.name, entries[start : start + 10]) for start in range(0, 60, 10)]


def test_a_batch_waits_for_the_one_before_it(clock: ManualClock, batches: list[ReadBatch]) -> None:
    """This worker has every other one; each is due when the ledger has reached it, and together with what follows."""
    reached = 0
    generation = batches[0].untrusted_entries[0].generation
    turns = Turns(lambda _: {generation: reached}, clock)
    for place in (5, 3, 1, 4):
        turns.hold(batches[place])
    assert [] == turns.due()
    reached = 10
    assert [[batches[1]]] == turns.due()
    reached = 30
    assert [[batches[3], batches[4], batches[5]]] == turns.due()
    assert not turns.waiting


def test_what_waits_in_vain_goes_to_the_ledger(clock: ManualClock, batches: list[ReadBatch]) -> None:
    """Which says that it is a gap."""
    turns = Turns(lambda _: {}, clock)
    turns.hold(batches[2])
    clock.advance(PATIENCE_S - 1)
    turns.hold(batches[4])
    assert [] == turns.due()
    clock.advance(1)
    assert [[batches[2]]] == turns.due()
    assert turns.waiting


def test_a_repetition_waits_for_nothing(clock: ManualClock, batches: list[ReadBatch]) -> None:
    generation = batches[0].untrusted_entries[0].generation
    turns = Turns(lambda _: {generation: 60}, clock)
    turns.hold(batches[1])
    turns.hold(made_ready(batches[0].device, []))
    assert 2 == sum(map(len, turns.due()))
