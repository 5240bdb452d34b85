"""What systemd is told: ready at the first turn, alive while the loop turns, silent when it hangs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from canteen.clock import ManualClock
from terminal.pass_machine import Event
from terminal.service_manager import ServiceManager
from tests.conftest import wait_until
from tests.unit.terminal.lane import NOON, School


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The other end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    """All that was told since the last question."""
    said = []
    while True:
        try:
            said.append(manager.recv(100).decode("ascii"))
        except BlockingIOError:
            return said


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "10000000", **more}


def test_ready_once_then_alive_four_times_a_period(manager: socket.socket) -> None:
    """However fast the loop turns."""
    clock = ManualClock(NOON)
    service = ServiceManager(clock.monotonic_s, environment(manager))
    for _ in range(100):
        service.turned()
        clock.advance(0.1)
    assert ["READY=1", *["WATCHDOG=1"] * 4] == heard(manager)
    service.stopping()
    assert ["STOPPING=1"] == heard(manager)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"WATCHDOG_PID": "1"}, ["READY=1"]),
        ({"WATCHDOG_PID": str(os.getpid())}, ["READY=1", "WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "soon"}, ["READY=1"]),
        ({"WATCHDOG_USEC": ""}, ["READY=1"]),
    ],
)
def test_only_what_was_asked_for(manager: socket.socket, more: dict[str, str], expected: list[str]) -> None:
    """A watchdog of another process, or none."""
    service = ServiceManager(ManualClock(NOON).monotonic_s, environment(manager, **more))
    service.turned()
    assert expected == heard(manager)


def test_abstract_socket() -> None:
    """Its name begins with @."""
    name = f"canteen-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        ServiceManager(ManualClock(NOON).monotonic_s, {"NOTIFY_SOCKET": "@" + name}).turned()
        assert b"READY=1" == listening.recv(100)


def test_nobody_listens(tmp_path: Path) -> None:
    """Without a manager, or with one that is gone, the lane goes on."""
    ServiceManager(ManualClock(NOON).monotonic_s, {}).turned()
    ServiceManager(ManualClock(NOON).monotonic_s, {"NOTIFY_SOCKET": str(tmp_path / "gone")}).turned()


def test_a_hanging_loop_says_nothing(school: School, manager: socket.socket) -> None:
    """Beats come from the loop alone: while it hangs there are none, when it turns again there are."""
    runner = school.lane.runner
    hang, hangs, goes_on = threading.Event(), threading.Event(), threading.Event()
    runner._service_manager = ServiceManager(school.clock.monotonic_s, environment(manager, WATCHDOG_USEC="1"))

    def refresh() -> None:
        if hang.is_set():
            hangs.set()
            goes_on.wait(10)

    runner._presenter.refresh = refresh  # type: ignore[method-assign]  # of this one object
    lane = threading.Thread(target=runner.run)
    lane.start()
    try:
        school.lane.inbox.post(Event.ENTER)
        wait_until(lambda: "WATCHDOG=1" in heard(manager), what="the first beats")
        hang.set()
        school.clock.advance(1)
        school.lane.inbox.post(Event.ENTER)
        assert hangs.wait(5)
        heard(manager)
        school.lane.inbox.post(Event.ENTER)
        time.sleep(0.1)
        assert [] == heard(manager)
    finally:
        hang.clear()
        goes_on.set()
        school.lane.inbox.post(Event.STOPPING)
        lane.join(10)
    assert "STOPPING=1" == heard(manager)[-1]
