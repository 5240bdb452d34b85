"""The reader: one operator at a time, every wait ends, and what comes too late changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from enrollment_station.station_reader import (
    NoCard,
    NotServed,
    Progress,
    ReaderBusy,
    ReaderLost,
    ReaderTimes,
    StationReader,
    WaitCancelled,
)
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import ReaderLossReason
from firmware_bridge.simulated_desfire import SimulatedDesfire
from templates_store.errors import StoreUnavailable
from tests.unit.enrollment_station.bench import ADA, ALAN
from tests.unit.enrollment_station.reader_bench import Tray

CHIP = bytes.fromhex("04112233445566")
_GET_UID = bytes.fromhex("FFCA000000")


def _read(channel: CardChannel, at: Callable[[str], None]) -> bytes:
    at("identify")
    return channel.transmit(_GET_UID)


def _reader(tray: Tray, card_s: float = 0.1, work_s: float = 0.2, production: bool = False) -> StationReader:
    return StationReader(None, production=production, times=ReaderTimes(card_s, work_s), open_service=tray.open)


def _run(reader: StationReader, who: str = "Mme Delmas") -> bytes | NotServed:
    return reader.run(who, ADA, _read, lambda answer: answer)


class _Beside:
    """A call on a thread of its own."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.answer: object = None
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        self.answer = call()

    def join(self) -> object:
        self._thread.join(5)
        return self.answer


def test_a_card_is_waited_for() -> None:
    """It may come a moment later; without one the wait ends in time."""
    tray = Tray()
    begin_s = time.monotonic()
    assert NoCard() == _run(_reader(tray))
    assert time.monotonic() - begin_s < 0.5
    late = _Beside(lambda: _run(_reader(tray, card_s=5)))
    assert tray.asked.wait(2)
    tray.chip = SimulatedDesfire(CHIP)
    assert CHIP + b"\x90\x00" == late.join()


def test_the_second_operator_is_told_who_is_at_the_reader() -> None:
    """At once, and the first is not disturbed; the place is free again afterwards."""
    tray = Tray()
    reader = _reader(tray, card_s=5)
    first = _Beside(lambda: _run(reader))
    assert tray.asked.wait(2)
    assert ReaderBusy("Mme Delmas") == _run(reader, "M. Faure")
    assert Progress("waiting", "Mme Delmas") == reader.progress(ADA)
    assert reader.progress(ALAN) is None
    tray.chip = SimulatedDesfire(CHIP)
    assert CHIP + b"\x90\x00" == first.join()
    assert CHIP + b"\x90\x00" == _run(reader, "M. Faure")
    assert reader.progress(ADA) is None


def test_only_the_one_who_waits_can_cancel() -> None:
    """Another operator's, or another pupil's, cancel changes nothing."""
    tray = Tray()
    reader = _reader(tray, card_s=5)
    waiting = _Beside(lambda: _run(reader))
    assert tray.asked.wait(2)
    reader.cancel("M. Faure", ADA)
    reader.cancel("Mme Delmas", ALAN)
    assert ReaderBusy("Mme Delmas") == _run(reader, "M. Faure")
    reader.cancel("Mme Delmas", ADA)
    assert WaitCancelled() == waiting.join()


@pytest.mark.parametrize("loss", [ReaderLossReason.NO_SERVICE, ReaderLossReason.NO_READER])
def test_a_missing_reader_is_told_at_once(loss: ReaderLossReason) -> None:
    """Nobody waits for a card that cannot be seen."""
    tray = Tray()
    tray.loss = loss
    begin_s = time.monotonic()
    assert ReaderLost(loss) == _run(_reader(tray, card_s=20))
    assert time.monotonic() - begin_s < 1


def test_a_virtual_reader_is_none_in_production() -> None:
    """Twins are for tests and demonstrations."""
    tray = Tray()
    tray.chip = SimulatedDesfire(CHIP)
    tray.names = ["Virtual PCD 00 00"]
    assert ReaderLost(ReaderLossReason.NO_READER) == _run(_reader(tray, production=True))
    assert isinstance(_run(_reader(tray)), bytes)


def test_a_call_that_hangs_is_given_up_and_changes_nothing_later() -> None:
    """The page gets its answer; what comes after the time is not settled, and the card hears nothing more."""
    tray = Tray()
    tray.chip = SimulatedDesfire(CHIP)
    tray.answers.clear()
    settled: list[bytes] = []
    reader = _reader(tray)

    def twice(channel: CardChannel, at: Callable[[str], None]) -> bytes:
        return _read(channel, at) + channel.transmit(_GET_UID)

    assert ReaderLost(ReaderLossReason.STUCK) == reader.run("Mme Delmas", ADA, twice, settled.append)
    assert ReaderLost(ReaderLossReason.STUCK) == _run(reader)
    tray.answers.set()
    end_s = time.monotonic() + 2
    while reader.progress(ADA) is not None and time.monotonic() < end_s:
        time.sleep(0.01)
    assert 1 == tray.commands
    assert [] == settled
    assert isinstance(_run(reader), bytes)


def test_an_error_of_ours_comes_out_and_frees_the_reader() -> None:
    """A store that cannot be read while the card lies there."""
    tray = Tray()
    tray.chip = SimulatedDesfire(CHIP)
    reader = _reader(tray)

    def breaks(_channel: CardChannel, _at: Callable[[str], None]) -> bytes:
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        reader.run("Mme Delmas", ADA, breaks, lambda answer: answer)
    assert isinstance(_run(reader), bytes)


def test_the_end_of_the_station_ends_every_wait() -> None:
    """A wait for a card at once; an answer that hangs when there is no more time for it."""
    tray = Tray()
    reader = _reader(tray, card_s=30, work_s=30)
    waiting = _Beside(lambda: _run(reader))
    assert tray.asked.wait(2)
    reader.stop(at_once=False)
    assert WaitCancelled() == waiting.join()
    tray.chip = SimulatedDesfire(CHIP)
    tray.answers.clear()
    tray.asked.clear()
    hanging = _Beside(lambda: _run(reader))
    assert tray.asked.wait(2)
    reader.stop(at_once=False)
    assert Progress("identify", "Mme Delmas") == reader.progress(ADA)
    reader.stop(at_once=True)
    assert WaitCancelled() == hanging.join()
    tray.answers.set()
