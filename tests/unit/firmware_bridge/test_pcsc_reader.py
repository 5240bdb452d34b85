"""The reader's two threads over a scripted daemon: what a real one does too rarely to be waited for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from canteen.credentials import CardNumber
from firmware_bridge.card_reading import UidCards
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import (
    CardPresented,
    CardReaderLost,
    CardReaderRecovered,
    CardRefusal,
    CardRefused,
    PcscReaderEvent,
    ReaderLossReason,
)
from firmware_bridge.errors import CardLost, CardMisused, ReaderUnavailable
from firmware_bridge.pcsc_reader import WORKERS_MAX, PcscCardReader
from firmware_bridge.pcsc_service import Presence, SmartCardService, card_on_reader, choose_reader

FIRST, SECOND = bytes.fromhex("04A1B2C3D4E5F6"), bytes.fromhex("04F6E5D4C3B2A1")


@dataclass
class Desk:
    """What lies on the reader and how the daemon is, for as many connections as are made."""

    plugged: bool = True
    serving: bool = True
    uid: bytes | None = None
    changes: int = 0
    fail_connects: int = 0
    connections: int = 0
    hang: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.hang.set()

    def put(self, uid: bytes | None) -> None:
        """A card comes or goes."""
        with self.changed:
            self.uid, self.changes = uid, self.changes + 1
            self.changed.notify_all()

    def connection(self) -> SmartCardService:
        """A connection to this daemon."""
        if not self.serving:
            raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)
        self.connections += 1
        return _Connection(self)


class _Connection:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def readers(self) -> list[str]:
        return ["Scripted 00"] if self._desk.plugged else []

    def wait(self, reader: str, known: Presence, timeout_s: float) -> Presence:
        assert "Scripted 00" == reader
        self._desk.hang.wait()
        with self._desk.changed:
            if known.changes == self._desk.changes:
                self._desk.changed.wait(timeout_s)
            if not self._desk.serving:
                raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)
            if not self._desk.plugged:
                raise ReaderUnavailable(ReaderLossReason.NO_READER)
            return Presence(self._desk.uid is not None, self._desk.changes, 0)

    @contextmanager
    def connect(self, reader: str) -> Iterator[CardChannel]:
        assert "Scripted 00" == reader
        if self._desk.fail_connects or self._desk.uid is None:
            self._desk.fail_connects = max(0, self._desk.fail_connects - 1)
            raise CardLost("not there")
        yield _Card(self._desk.uid)

    def close(self) -> None:
        pass


@dataclass
class _Card:
    uid: bytes

    def transmit(self, apdu: bytes) -> bytes:
        assert bytes.fromhex("FFCA000000") == apdu
        return self.uid + b"\x90\x00"


class Bench:
    """A started reader over a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.events: queue.Queue[PcscReaderEvent] = queue.Queue()
        self.reader = PcscCardReader(None, UidCards(), self.events.put, production=False, open_service=desk.connection)

    def next(self, timeout_s: float = 2.0) -> PcscReaderEvent:
        return self.events.get(timeout=timeout_s)

    def quiet(self, for_s: float) -> bool:
        try:
            self.events.get(timeout=for_s)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(Desk())
    made.reader.start()
    yield made
    made.desk.hang.set()
    made.reader.stop()


def presented(uid: bytes) -> CardPresented:
    return CardPresented(CardNumber.from_bytes(uid))


def test_a_card_exchanged_between_two_looks_is_seen(bench: Bench) -> None:
    """The daemon's count of changes tells, although a card lies there both times."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.put(FIRST)
    assert presented(FIRST) == bench.next()
    with bench.desk.changed:
        bench.desk.uid, bench.desk.changes = SECOND, bench.desk.changes + 2
        bench.desk.changed.notify_all()
    assert presented(SECOND) == bench.next()
    with bench.desk.changed:
        bench.desk.changes += 2
        bench.desk.changed.notify_all()
    assert presented(SECOND) == bench.next()


def test_a_card_at_the_edge_of_the_field_is_read_after_all(bench: Bench) -> None:
    """Two failed attempts without any change that the daemon saw: no refusal, one card."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.fail_connects = 2
    bench.desk.put(FIRST)
    assert presented(FIRST) == bench.next()
    assert bench.quiet(0.7)


def test_a_card_that_never_wakes_up_is_torn_away_once(bench: Bench) -> None:
    """One refusal, within a second, not one an attempt."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.fail_connects = 10_000
    bench.desk.put(FIRST)
    assert CardRefused(CardRefusal.TORN_AWAY) == bench.next(1.0)
    assert bench.quiet(0.7)
    bench.desk.put(None)
    bench.desk.fail_connects = 0
    bench.desk.put(SECOND)
    assert presented(SECOND) == bench.next()


def test_a_short_outage_makes_no_ghost(bench: Bench) -> None:
    """The card that was read before still lies there: not again. Another one in its place: read."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.put(FIRST)
    assert presented(FIRST) == bench.next()
    for uid, expected in ((FIRST, None), (SECOND, presented(SECOND))):
        bench.desk.plugged = False
        assert CardReaderLost(ReaderLossReason.NO_READER) == bench.next()
        bench.desk.uid = uid
        bench.desk.plugged = True
        assert CardReaderRecovered() == bench.next()
        if expected is None:
            assert bench.quiet(0.4)
        else:
            assert expected == bench.next()


def test_what_is_lost_is_said_once_and_when_it_changes(bench: Bench) -> None:
    """No reader, then no service: two reports, not one a fifth of a second."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.plugged = False
    assert CardReaderLost(ReaderLossReason.NO_READER) == bench.next()
    assert bench.quiet(0.5)
    assert ReaderLossReason.NO_READER is bench.reader.loss
    bench.desk.serving = False
    assert CardReaderLost(ReaderLossReason.NO_SERVICE) == bench.next()
    assert not bench.reader.ready
    bench.desk.plugged = bench.desk.serving = True
    assert CardReaderRecovered() == bench.next()
    assert bench.reader.ready


def test_hanging_calls_do_not_pile_up(bench: Bench) -> None:
    """Each hanging worker is replaced, up to a number; when the calls come back one worker is left, and cards once."""
    assert CardReaderRecovered() == bench.next()
    bench.desk.hang.clear()
    assert CardReaderLost(ReaderLossReason.STUCK) == bench.next()
    time.sleep(1.2)
    assert _workers() <= WORKERS_MAX
    bench.desk.hang.set()
    assert CardReaderRecovered() == bench.next()
    bench.desk.put(FIRST)
    assert presented(FIRST) == bench.next()
    assert bench.quiet(0.4)
    assert 1 == _workers()


def test_stopping_ends_the_threads_and_the_reports() -> None:
    """Nothing is said after `stop`; a second start is refused."""
    made = Bench(Desk())
    made.reader.start()
    assert CardReaderRecovered() == made.next()
    with pytest.raises(CardMisused):
        made.reader.start()
    made.reader.stop()
    made.desk.put(FIRST)
    assert made.quiet(0.4)
    assert 0 == _workers()


def test_the_contactless_slot_is_chosen() -> None:
    """Some readers list a slot for contact cards or security modules first."""
    names = ["ACS ACR1281 1S Dual Reader 00 00 SAM", "ACS ACR1281 1S Dual Reader 00 01 PICC", "Other 01 00"]
    assert names[1] == choose_reader(names, None)
    assert names[2] == choose_reader(names, "Other")
    assert names[0] == choose_reader(names[:1], None)
    for wanted, there in (("Third", names), (None, [])):
        with pytest.raises(ReaderUnavailable) as refused:
            choose_reader(there, wanted)
        assert ReaderLossReason.NO_READER is refused.value.reason


def test_the_station_waits_for_a_card_only_so_long() -> None:
    """An operator who forgot the card gets an answer."""
    desk = Desk()
    with pytest.raises(CardLost), card_on_reader(None, 0.1, desk.connection):
        pytest.fail("there is no card")
    threading.Timer(0.1, desk.put, [FIRST]).start()
    with card_on_reader(None, 2, desk.connection) as channel:
        assert CardNumber.from_bytes(FIRST) == UidCards().read(channel)


def _workers() -> int:
    return sum(thread.name == "pcsc-worker" for thread in threading.enumerate())
