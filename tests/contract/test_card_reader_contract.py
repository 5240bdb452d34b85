"""The card reader over a real PC/SC daemon and a virtual reader: every card, every loss, every return."""

from __future__ import annotations

import queue
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firmware_bridge.card_encoding import CardBlank, CardEncoded, CardEncoder
from firmware_bridge.card_keys import EncodingKeys
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import CardReading, SchoolCards, UidCards
from firmware_bridge.devices import (
    CardPresented,
    CardReaderLost,
    CardReaderRecovered,
    CardRefusal,
    CardRefused,
    PcscReaderEvent,
    ReaderLossReason,
)
from firmware_bridge.errors import CardLost, SimulatedDeviceInProduction
from firmware_bridge.pcsc_reader import PcscCardReader
from firmware_bridge.pcsc_service import card_on_reader
from tests.virtual_reader import UAI, VirtualReader, virtual_reader

NOTICED_S = 1.0
DAEMON_LOOKS_S = 0.5
"""The daemon looks at this driver's reader every 0.4 s; readers on USB tell at once."""


@dataclass
class Inbox:
    """What the reader reported, with the time of each report."""

    events: queue.Queue[tuple[float, PcscReaderEvent]] = field(default_factory=queue.Queue)

    def take(self, event: PcscReaderEvent) -> None:
        """The reader's event handler."""
        self.events.put((time.monotonic(), event))

    def next(self, timeout_s: float = 3.0) -> PcscReaderEvent:
        """The next event; fails the test when none comes."""
        return self.events.get(timeout=timeout_s)[1]

    def rest(self, quiet_s: float) -> list[PcscReaderEvent]:
        """Everything until nothing comes for `quiet_s`."""
        events: list[PcscReaderEvent] = []
        try:
            while True:
                events.append(self.next(quiet_s))
        except queue.Empty:
            return events


@pytest.fixture
def pcsc(tmp_path: Path) -> Iterator[VirtualReader]:
    """A daemon of this test's own."""
    with virtual_reader(tmp_path) as reader:
        yield reader


def school_cards(pcsc: VirtualReader) -> SchoolCards:
    return SchoolCards(EncodingKeys.from_master_secret(pcsc.master_secret).reading, CardLayout(UAI))


@contextmanager
def reading(how: CardReading, name: str | None = None) -> Iterator[Inbox]:
    """A started reader's inbox."""
    inbox = Inbox()
    reader = PcscCardReader(name, how, inbox.take, production=False)
    reader.start()
    try:
        yield inbox
    finally:
        reader.stop()


def test_a_card_is_reported_once_and_fast(pcsc: VirtualReader) -> None:
    """Once however long it lies there; again when it is presented again; well below a second."""
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderRecovered() == inbox.next()
        card = pcsc.card()
        first = inbox.next()
        assert isinstance(first, CardPresented)
        assert [] == inbox.rest(0.6)
        card.remove()
        time.sleep(DAEMON_LOOKS_S)
        began_s = time.monotonic()
        card.insert()
        assert first == inbox.next()
        assert time.monotonic() - began_s < NOTICED_S


def test_each_card_has_its_answer(pcsc: VirtualReader) -> None:
    """Through daemon and driver, the same reasons as in the chip's own tests; and an EV2 chip among them."""
    expected = {
        "factory": CardRefusal.NOT_ENCODED,
        "half-written": CardRefusal.HALF_WRITTEN,
        "wrong-key": CardRefusal.WRONG_KEY,
        "other-school": CardRefusal.OTHER_SCHOOL,
        # vpcd hands "FF CA" to the card, so the copied number is seen as with a real reader.
        "copied-uid": CardRefusal.COPIED_UID,
        "replayed": CardRefusal.REPLAYED_SESSION,
    }
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderRecovered() == inbox.next()
        for state, reason in expected.items():
            card = pcsc.card(state)
            assert CardRefused(reason) == inbox.next()
            card.remove()
            time.sleep(DAEMON_LOOKS_S)
        pcsc.card("encoded", "ev2")
        assert isinstance(inbox.next(), CardPresented)


def test_uid_mode_only_when_asked_for(pcsc: VirtualReader) -> None:
    """The weak mode takes the blank card that the school's way refuses."""
    with reading(UidCards()) as inbox:
        assert CardReaderRecovered() == inbox.next()
        pcsc.card("factory")
        presented = inbox.next()
        assert isinstance(presented, CardPresented)
        assert "04112233445566" == presented.card.hexadecimal


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_daemon_is_noticed_and_used_again(pcsc: VirtualReader, how: signal.Signals) -> None:
    """Lost within a second, back within a second, and a card read before is not reported again by itself."""
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderRecovered() == inbox.next()
        card = pcsc.card()
        presented = inbox.next()
        assert isinstance(presented, CardPresented)
        began_s = time.monotonic()
        pcsc.stop_daemon(how)
        assert CardReaderLost(ReaderLossReason.NO_SERVICE) == inbox.next()
        assert time.monotonic() - began_s < NOTICED_S
        pcsc.start_daemon()
        began_s = time.monotonic()
        assert CardReaderRecovered() == inbox.next()
        assert time.monotonic() - began_s < NOTICED_S
        card.insert()
        assert [] == inbox.rest(1.0)
        card.remove()
        time.sleep(DAEMON_LOOKS_S)
        card.insert()
        assert presented == inbox.next()


def test_a_reader_pulled_and_put_back(pcsc: VirtualReader) -> None:
    """The daemon goes on without the reader, then has it again."""
    with reading(school_cards(pcsc), "Virtual PCD") as inbox:
        assert CardReaderRecovered() == inbox.next()
        pcsc.unplug()
        pcsc.stop_daemon()
        pcsc.start_daemon()
        losses = [inbox.next()]
        if losses == [CardReaderLost(ReaderLossReason.NO_SERVICE)]:
            losses.append(inbox.next())
        assert CardReaderLost(ReaderLossReason.NO_READER) == losses[-1]
        pcsc.plug()
        pcsc.stop_daemon()
        pcsc.start_daemon()
        while (event := inbox.next()) != CardReaderRecovered():
            assert isinstance(event, CardReaderLost)
        pcsc.card()
        assert isinstance(inbox.next(), CardPresented)


def test_a_daemon_that_hangs_is_noticed(pcsc: VirtualReader) -> None:
    """No error comes, only silence; and when it stirs again cards are read, by one worker."""
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderRecovered() == inbox.next()
        before = threading.active_count()
        pcsc.freeze_daemon()
        began_s = time.monotonic()
        assert CardReaderLost(ReaderLossReason.STUCK) == inbox.next()
        assert time.monotonic() - began_s < NOTICED_S + 0.2  # some air for a busy machine
        time.sleep(0.5)
        pcsc.thaw_daemon()
        assert CardReaderRecovered() == inbox.next()
        pcsc.card()
        assert isinstance(inbox.next(), CardPresented)
        assert [] == inbox.rest(0.6)
        assert before == threading.active_count()


@pytest.mark.parametrize(("at", "phase"), [(2, "before"), (7, "after")])
def test_a_card_torn_away_and_back_is_read(pcsc: VirtualReader, at: int, phase: str) -> None:
    """Torn away in the middle of a reading: said so if it stays away, and the next presentation counts."""
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderRecovered() == inbox.next()
        card = pcsc.card()
        presented = inbox.next()
        card.remove()
        time.sleep(DAEMON_LOOKS_S)
        card.say(f"tear {at} {phase}")
        card.insert()
        assert CardRefused(CardRefusal.TORN_AWAY) == inbox.next()
        time.sleep(DAEMON_LOOKS_S)
        card.insert()
        assert presented == inbox.next()


def test_no_daemon_at_all_is_said_within_a_second(pcsc: VirtualReader) -> None:
    """The first report of a reader that cannot start."""
    pcsc.stop_daemon()
    began_s = time.monotonic()
    with reading(school_cards(pcsc)) as inbox:
        assert CardReaderLost(ReaderLossReason.NO_SERVICE) == inbox.next()
        assert time.monotonic() - began_s < NOTICED_S
        pcsc.start_daemon()
        assert CardReaderRecovered() == inbox.next()


def test_virtual_readers_never_serve_in_production(pcsc: VirtualReader) -> None:
    """Named, it is refused at once; unnamed, it counts as no reader."""
    inbox = Inbox()
    with pytest.raises(SimulatedDeviceInProduction):
        PcscCardReader("Virtual PCD", school_cards(pcsc), inbox.take, production=True).start()
    reader = PcscCardReader(None, school_cards(pcsc), inbox.take, production=True)
    reader.start()
    assert CardReaderLost(ReaderLossReason.NO_READER) == inbox.next()
    reader.stop()


def test_the_station_makes_a_card_on_a_reader(pcsc: VirtualReader) -> None:
    """Format, personalise, verify, re-use, wipe through the daemon; and the time for a terminal to read it."""
    encoder = CardEncoder(EncodingKeys.from_master_secret(pcsc.master_secret), CardLayout(UAI))
    with pytest.raises(CardLost), card_on_reader(None, 0.2):
        pytest.fail("there is no card")
    pcsc.card("factory")
    with card_on_reader("Virtual PCD", 2) as channel:
        assert CardBlank() == encoder.format(channel)
        made = encoder.personalise(channel)
        assert isinstance(made, CardEncoded)
        times_s: list[float] = []
        for _ in range(20):
            began_s = time.monotonic()
            assert made.card == encoder.verify(channel)
            times_s.append(time.monotonic() - began_s)
        assert statistics.median(times_s) < 0.1
        assert isinstance(encoder.reuse(channel), CardEncoded)
        assert CardBlank() == encoder.wipe(channel)
        assert CardRefusal.NOT_ENCODED == encoder.verify(channel)
