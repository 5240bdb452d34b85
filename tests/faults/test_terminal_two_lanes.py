"""Two lanes, a real broker, no server: one meal a code while they hear each other; cut apart, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.clock import ManualClock
from canteen.meal_pass import PassCompleted, PassGranted
from demo.network_switch import NetworkSwitch
from sync.agent import SyncAgent
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from terminal.pass_machine import State
from tests.conftest import RunningBroker, wait_until
from tests.unit.terminal.lane import (
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    SERVER_KEY,
    School,
    card,
    filled_school,
    pupil_id,
)


class _LunchClock:
    """The lane's own noon for facts, the true seconds for waiting."""

    def __init__(self, lane: ManualClock) -> None:
        self._lane = lane

    def utc_now(self) -> datetime:
        return self._lane.utc_now()

    def monotonic_s(self) -> float:
        return time.monotonic()


@contextmanager
def agent(school: School, broker: RunningBroker) -> Iterator[NetworkSwitch]:
    """`canteen-sync` of this lane, with connections of its own to the two files and a cable that can be cut."""
    switch = NetworkSwitch(broker.port)
    switch.start()
    settings = broker.settings(school.device, switch.port)
    journal = JournalReader(school.folder / "journal.sqlite")
    box = OrderBox(school.folder / "orders.sqlite")
    syncing = SyncAgent(
        journal,
        box,
        school.device,
        SERVER_KEY.verifying_key,
        lambda *handlers: MqttTransport(settings, school.device, *handlers),
        _LunchClock(school.clock),
    )
    stop = threading.Event()
    thread = threading.Thread(target=syncing.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: box.link.connected, what="the line")
        yield switch
    finally:
        stop.set()
        thread.join(timeout=10)
        switch.stop()
        journal.close()
        box.close()


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[tuple[School, School]]:
    left = filled_school(tmp_path / "left").begin()
    right = filled_school(tmp_path / "right", device=NEIGHBOUR, key=NEIGHBOUR_KEY).begin()
    yield left, right
    left.close()
    right.close()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()


def knows(school: School, passes: int) -> bool:
    """Whether that many entries have come; the lane then reads them at its next housekeeping."""
    if len(school.box.neighbours_after(0)) < passes:
        return False
    school.settle(1.0)
    return True


def eats(school: School, number: int) -> bool:
    school.present(card(number))
    served = school.is_in(State.PASSAGE_OPEN)
    if served:
        assert school.push()
    else:
        assert Reason.ALREADY_SERVED.value == school.screen.view.reason
    school.settle(3.0)
    return served


def grants_of(school: School, number: int) -> int:
    return len([f for f in school.facts if isinstance(f, PassGranted) and f.pupil == pupil_id(number)])


def test_one_meal_across_lanes(lanes: tuple[School, School], broker: RunningBroker) -> None:
    """Heard: denied at the other lane. Cut from each other: both serve. Together again: both journals hold it."""
    left, right = lanes
    with agent(left, broker) as cable, agent(right, broker):
        assert eats(left, 1)
        wait_until(lambda: knows(right, 2), what="the right lane to hear")
        assert not eats(right, 1)

        cable.cut()
        wait_until(lambda: not left.box.link.connected, what="the cut")
        assert eats(left, 2)
        assert eats(right, 2)
        assert (1, 1) == (grants_of(left, 2), grants_of(right, 2))

        cable.restore()
        wait_until(lambda: knows(right, 4) and knows(left, 2), 30, "the news of the cut")
        assert not eats(left, 2)
        assert not eats(right, 2)
        assert eats(right, 3)
        wait_until(lambda: knows(left, 4), what="the left lane to hear")
        assert not eats(left, 3)
    assert [1, 1, 0] == [grants_of(left, number) for number in (1, 2, 3)]
    assert [0, 1, 1] == [grants_of(right, number) for number in (1, 2, 3)]
    assert 2 == len(left.facts_of(PassCompleted))
