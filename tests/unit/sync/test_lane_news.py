"""Two terminals and a broker, no server: each soon knows whom the other has served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId, new_pass_id, new_pupil_id
from canteen.meal_pass import PassDenied, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from demo.network_switch import NetworkSwitch
from sync.agent import SyncAgent
from sync.errors import MalformedMessage
from sync.lane_news import LaneNews
from sync.messages import topic_lane, write_batch
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
from tests.conftest import RunningBroker, wait_until

SERVER = SigningKey(b"s" * 32)
MIDDAY = ServiceMoment(date(2026, 11, 23), "midi")


class Lane:
    """A terminal's two files and its agent."""

    def __init__(self, folder: Path, name: str, broker: RunningBroker) -> None:
        self.device = DeviceId(name)
        self.key = SigningKey.load_or_create(folder / f"{name}.key")
        self.journal = PassJournal(folder / f"{name}.journal", self.device, self.key)
        self.box = OrderBox(folder / f"{name}.orders")
        self.switch = NetworkSwitch(broker.port)
        self.switch.start()
        self._settings = broker.settings(name, self.switch.port)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        agent = SyncAgent(
            self.journal,
            self.box,
            self.device,
            SERVER.verifying_key,
            lambda *handlers: MqttTransport(self._settings, self.device, *handlers),
            SystemClock(),
        )
        thread = threading.Thread(target=agent.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: self.box.link.connected, what="the line")
            yield
        finally:
            stop.set()
            thread.join(timeout=10)

    def serve(self) -> PassGranted:
        fact = PassGranted(new_pass_id(), new_pupil_id(), PassMethod.CARD, MIDDAY, None)
        self.journal.append(fact, datetime.now(UTC), ClockTrust.TRUSTED)
        return fact

    def heard(self) -> set[str]:
        return {entry.body["pass"] for _, entry in self.box.neighbours_after(0)}


@pytest.fixture
def lanes(tmp_path: Path, broker: RunningBroker) -> Iterator[tuple[Lane, Lane]]:
    left, right = Lane(tmp_path, "terminal-1", broker), Lane(tmp_path, "terminal-2", broker)
    yield left, right
    left.switch.stop()
    right.switch.stop()


def test_each_hears_of_the_others_passes(lanes: tuple[Lane, Lane]) -> None:
    """Live both ways, signed, without the server, and nobody hears of denials or of itself."""
    left, right = lanes
    with left.running(), right.running():
        one, other = left.serve(), right.serve()
        left.journal.append(
            PassDenied(new_pass_id(), None, PassMethod.CARD, Reason.UNKNOWN_CARD), datetime.now(UTC), ClockTrust.TRUSTED
        )
        wait_until(lambda: right.heard() == {one.pass_id}, what="the right lane to know")
        wait_until(lambda: left.heard() == {other.pass_id}, what="the left lane to know")
    ((_, entry),) = right.box.neighbours_after(0)
    entry.verify(left.key.verifying_key)


def test_what_was_served_during_a_cut_is_told_afterwards_and_once(lanes: tuple[Lane, Lane]) -> None:
    """Both cut off, both serve; with the line back each knows, and telling again changes nothing."""
    left, right = lanes
    with left.running(), right.running():
        before = left.serve()
        wait_until(lambda: right.heard() == {before.pass_id}, what="the pass before the cut")
        left.switch.cut()
        wait_until(lambda: not left.box.link.connected, what="the cut")
        during = left.serve()
        assert right.heard() == {before.pass_id}
        left.switch.restore()
        wait_until(lambda: right.heard() == {before.pass_id, during.pass_id}, 30, "the pass of the cut")
        assert len(right.box.neighbours_after(0)) == 2


def test_a_neighbour_speaks_for_itself_only(tmp_path: Path, broker: RunningBroker) -> None:
    """Passes under another name, or facts that are none of a neighbour's business, are refused whole."""
    left = Lane(tmp_path, "terminal-1", broker)
    right = Lane(tmp_path, "terminal-2", broker)
    left.serve()
    transport = MqttTransport(broker.settings("terminal-2"), "terminal-2", lambda *_: None, lambda: None, lambda: None)
    news = LaneNews(right.journal, right.box, transport, right.device, SystemClock())
    batch = write_batch(left.journal.entries_after(0))
    with pytest.raises(MalformedMessage):
        news.hear(topic_lane("terminal-3"), batch)
    left.journal.append(
        PassDenied(new_pass_id(), None, PassMethod.CARD, Reason.UNKNOWN_CARD), datetime.now(UTC), ClockTrust.TRUSTED
    )
    with pytest.raises(MalformedMessage):
        news.hear(topic_lane("terminal-1"), write_batch(left.journal.entries_after(0)))
    assert right.heard() == set()
    news.hear(topic_lane("terminal-1"), batch)
    assert len(right.heard()) == 1
    left.switch.stop()
    right.switch.stop()


def test_nobody_fills_the_disk_under_a_neighbours_name(tmp_path: Path, broker: RunningBroker) -> None:
    """Of one neighbour a bounded number is kept, the newest, and nothing of a day that has not come."""
    left, right = Lane(tmp_path, "terminal-1", broker), Lane(tmp_path, "terminal-2", broker)
    left.serve()
    (entry,) = left.journal.entries_after(0)
    now = datetime.now(UTC)
    forged = [replace(entry, sequence=n, signature=b"s" * 64) for n in range(1, 9001)]
    right.box.put_neighbours(forged)
    kept = right.box.neighbours_after(0, 20_000)
    assert 8000 == len(kept)
    assert 9000 == kept[-1][1].sequence
    right.box.put_neighbours([replace(entry, device=DeviceId("terminal-3"), body={**entry.body, "x": "y" * 5000})])
    assert {"terminal-1"} == {one.device for _, one in right.box.neighbours_after(0, 20_000)}
    transport = MqttTransport(broker.settings("terminal-2"), "terminal-2", lambda *_: None, lambda: None, lambda: None)
    news = LaneNews(right.journal, right.box, transport, right.device, SystemClock())
    tomorrow = replace(entry, device=DeviceId("terminal-4"), recorded_at=now + timedelta(days=300))
    news.hear(topic_lane("terminal-4"), write_batch([tomorrow]))
    assert {"terminal-1"} == {one.device for _, one in right.box.neighbours_after(0, 20_000)}
    left.switch.stop()
    right.switch.stop()
