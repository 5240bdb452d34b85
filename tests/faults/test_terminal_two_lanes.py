"""Two lanes, real brokers, no server: one meal a code while they hear each other; cut apart, nothing is lost.

The second broker is the one that a terminal runs, with the very files that are installed there (systemd/lane-broker.*).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.clock import ManualClock
from canteen.meal_pass import PassCompleted, PassGranted
from demo.broker import LANE_BROKER_NAME, start_broker, write_broker_configuration
from demo.network_switch import NetworkSwitch
from demo.pki import CertificateAuthority
from sync.agent import SyncAgent
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from terminal.pass_machine import State
from tests.conftest import RunningBroker, free_port, listening, wait_until
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
def agent(school: School, broker: RunningBroker, lane_broker: RunningBroker | None = None) -> Iterator[NetworkSwitch]:
    """`canteen-sync` of this lane, with connections of its own to the two files and a cable that can be cut.

    With a `lane_broker` the cable is the one to it, and the school's broker is reached directly.
    """
    switch = NetworkSwitch((lane_broker or broker).port)
    switch.start()
    settings = broker.settings(school.device, None if lane_broker else switch.port)
    lane = None if lane_broker is None else lane_broker.settings(school.device, switch.port)
    journal = JournalReader(school.folder / "journal.sqlite")
    box = OrderBox(school.folder / "orders.sqlite")
    syncing = SyncAgent(
        journal,
        box,
        school.device,
        SERVER_KEY.verifying_key,
        lambda *handlers: MqttTransport(settings, school.device, *handlers),
        _LunchClock(school.clock),
        None if lane is None else lambda *handlers: MqttTransport(lane, school.device, *handlers),
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


PROJECT = Path(__file__).resolve().parents[2]


@dataclass
class Brokers:
    """The school's broker, which can be killed, and the one on a terminal, bridged to it."""

    school: RunningBroker
    lane: RunningBroker
    processes: dict[str, subprocess.Popen[bytes]]

    def kill_the_schools(self) -> None:
        self.processes["school"].kill()
        self.processes["school"].wait()

    def start_the_schools(self) -> None:
        self.processes["school"] = start_broker(self.school.configuration, self.school.log)
        wait_until(lambda: listening(self.school.port), what="the school's broker")


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    authority = CertificateAuthority(tmp_path / "pki")
    folder = tmp_path / "lane-broker"
    school_port, lane_port = free_port(), free_port()
    configuration = write_broker_configuration(tmp_path / "broker", school_port, authority)
    files = authority.issue(LANE_BROKER_NAME, server=True)
    folder.mkdir(mode=0o700)
    text = (PROJECT / "systemd/lane-broker.conf").read_text(encoding="utf-8")
    for installed, here in (
        ("/etc/canteen/lane-broker/ca.pem", authority.certificate),
        ("/etc/canteen/lane-broker/broker.pem", files.certificate),
        ("/etc/canteen/lane-broker/broker.key", files.key),
        ("/etc/canteen/lane-broker/acl", folder / "acl"),
        ("crlfile /etc/canteen/lane-broker/revoked.pem", ""),
        ("listener 8884", f"listener {lane_port} 127.0.0.1"),
        ("school-broker:8883", f"127.0.0.1:{school_port}"),
        ("restart_timeout 1 15", "restart_timeout 1 1"),
    ):
        assert installed in text
        text = text.replace(installed, str(here))
    if os.geteuid() == 0:
        text += "user root\n"  # else it becomes a user who cannot read this test's folder
    (folder / "mosquitto.conf").write_text(text, encoding="utf-8")
    shutil.copy(PROJECT / "systemd/lane-broker.acl", folder / "acl")
    (folder / "acl").chmod(0o600)
    school = RunningBroker(school_port, authority, configuration, tmp_path / "broker.log")
    lane = RunningBroker(lane_port, authority, folder / "mosquitto.conf", tmp_path / "lane.log")
    found = Brokers(school, lane, {})
    try:
        found.start_the_schools()
        found.processes["lane"] = start_broker(lane.configuration, lane.log)
        wait_until(lambda: listening(lane_port), what="the lanes' broker")
        yield found
    finally:
        for process in found.processes.values():
            process.terminate()
            process.wait(timeout=5)


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[tuple[School, School]]:
    left = filled_school(tmp_path / "left", 4).begin()
    right = filled_school(tmp_path / "right", 4, device=NEIGHBOUR, key=NEIGHBOUR_KEY).begin()
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


def test_the_schools_broker_is_killed(lanes: tuple[School, School], brokers: Brokers) -> None:
    """Nobody but the broker on a terminal is left: still one meal a code. Cut from it too, both serve."""
    left, right = lanes
    with agent(left, brokers.school, brokers.lane) as cable, agent(right, brokers.school, brokers.lane):
        assert eats(left, 1)
        wait_until(lambda: knows(right, 2), what="the right lane to hear")
        brokers.kill_the_schools()
        wait_until(lambda: not left.box.link.connected and not right.box.link.connected, what="the broker's end")
        assert not eats(right, 1)
        assert eats(left, 2)
        wait_until(lambda: knows(right, 4), what="the right lane to hear over the lanes' broker")
        assert not eats(right, 2)

        cable.cut()
        assert eats(left, 3)
        assert eats(right, 3)
        assert (1, 1) == (grants_of(left, 3), grants_of(right, 3))
        cable.restore()
        wait_until(lambda: knows(right, 6) and knows(left, 2), 30, "the news of the cut")
        assert not eats(left, 3)

        brokers.start_the_schools()
        wait_until(lambda: left.box.link.connected and right.box.link.connected, 30, "the school's broker again")
        assert eats(right, 4)
        wait_until(lambda: knows(left, 4), what="the left lane to hear")
    assert 6 == len(right.box.neighbours_after(0))  # what comes over two brokers is kept once


def test_the_bridge_joins_who_reaches_only_one_of_the_two(lanes: tuple[School, School], brokers: Brokers) -> None:
    """The right lane has no way to the lanes' broker, the left one's to the school's is cut: they hear each other."""
    left, right = lanes
    with agent(left, brokers.school, brokers.lane) as to_lane, agent(right, brokers.school) as to_school:
        to_lane.cut()
        assert eats(left, 1)
        wait_until(lambda: knows(right, 2), what="over the school's broker alone")
        to_lane.restore()
        to_school.cut()
        with agent(right, brokers.lane):
            assert eats(left, 2)
            wait_until(lambda: knows(right, 4), 20, "over the lanes' broker alone")
            assert not eats(right, 2)


def test_the_lanes_broker_carries_nothing_else(brokers: Brokers) -> None:
    """Not the journal, not an order, nothing under another's name: the access list says no, and nobody hears it."""
    heard: list[str] = []
    listener = MqttTransport(
        brokers.lane.settings("terminal-2"), "terminal-2", lambda topic, _: heard.append(topic), _quiet, _quiet
    )
    listener.subscribe("#")
    listener.subscribe("canteen/+/lane/passes")
    speaker = MqttTransport(brokers.lane.settings("terminal-1"), "terminal-1", lambda *_: None, _quiet, _quiet)
    for transport in (listener, speaker):
        transport.start()
        wait_until(lambda transport=transport: transport.connected, what="the connection")  # type: ignore[misc]  # bound now
    time.sleep(0.2)
    for topic in (
        "canteen/terminal-1/up/journal",
        "canteen/terminal-2/down/orders",
        "canteen/terminal-2/lane/passes",
        "canteen/terminal-1/lane/passes",
    ):
        speaker.publish(topic, b"{}")
    wait_until(lambda: bool(heard), what="what is allowed")
    time.sleep(0.2)
    assert {"canteen/terminal-1/lane/passes"} == set(heard)
    for transport in (listener, speaker):
        transport.stop()


def _quiet() -> None:
    pass
