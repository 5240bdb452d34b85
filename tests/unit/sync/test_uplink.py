"""How much is on its way: full on a fast line, little on a slow one, never the same twice while it is still there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.clock import ClockTrust, ManualClock
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted, PassDenied, PassMethod
from sync.messages import read_batch, write_batch
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
from sync.uplink import BATCH_MOST, WINDOW_FIRST, WINDOW_LEAST, WINDOW_MOST, SendingWindow, Uplink

NOON = datetime(2026, 11, 23, 11, tzinfo=UTC)


class CappedLine:
    """A line of so many bytes a second with a ledger behind it, in a clock turned by hand."""

    connected = True

    def __init__(self, journal: PassJournal, clock: ManualClock, octets_a_second: float) -> None:
        self._journal, self._clock, self._rate = journal, clock, octets_a_second
        self._queue: list[tuple[float, int, int]] = []
        self._free_at_s = 0.0
        self.carried = 0
        self.longest = 0
        self.ledger_answers = True

    @property
    def unconfirmed(self) -> int:
        return sum(at_s > self._clock.monotonic_s() for at_s, _, _ in self._queue)

    @property
    def queued(self) -> int:
        return sum(octets for at_s, _, octets in self._queue if at_s > self._clock.monotonic_s())

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def subscribe(self, pattern: str) -> None: ...

    def publish(self, topic: str, payload: bytes) -> None:
        assert topic == "canteen/terminal-1/up/journal"
        self._free_at_s = max(self._free_at_s, self._clock.monotonic_s()) + len(payload) / self._rate
        self._queue.append((self._free_at_s, read_batch(payload)[-1].sequence, len(payload)))
        self.carried += len(payload)
        self.longest = max(self.longest, self.queued)

    def deliver(self) -> None:
        """The ledger takes and acknowledges what has come through."""
        here = [item for item in self._queue if item[0] <= self._clock.monotonic_s()]
        self._queue = [item for item in self._queue if item not in here]
        if here and self.ledger_answers:
            up_to = max(item[1] for item in here)
            digest, generation = self._journal.digest_of(up_to), self._journal.generation
            assert digest is not None
            assert generation is not None
            self._journal.acknowledge(generation, up_to, digest, self._clock.utc_now())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[PassJournal]:
    journal = PassJournal(tmp_path / "journal", DeviceId("terminal-1"), SigningKey.load_or_create(tmp_path / "key"))
    journal.append_all(
        [
            fact
            for _ in range(1000)
            for fact in (
                PassDenied(new_pass_id(), None, PassMethod.CARD, Reason.UNKNOWN_CARD),
                PassCompleted(new_pass_id()),
            )
        ],
        NOON,
        ClockTrust.TRUSTED,
    )
    yield journal
    journal.close()


def drain(journal: PassJournal, line: CappedLine, clock: ManualClock, most_s: float) -> float:
    uplink = Uplink(journal, line, "terminal-1", clock)
    uplink.restart()
    passed_s = 0.0
    while journal.backlog and passed_s < most_s:
        uplink.step()
        clock.advance(0.05)
        passed_s += 0.05
        line.deliver()
    return passed_s


def test_a_batch_is_what_the_protocol_writes(journal: PassJournal) -> None:
    """Put together from the stored text, byte for byte."""
    batch = journal.batch_after(3, 20_000)
    assert batch is not None
    assert write_batch(journal.entries_after(3, batch.up_to - 3)) == batch.payload
    assert 20_000 <= len(batch.payload) < 22_000
    assert journal.batch_after(journal.last_sequence, 1) is None


def test_a_slow_line_is_kept_busy_and_not_flooded(journal: PassJournal, clock: ManualClock) -> None:
    """64 kbit/s: nothing is sent twice, and an order waits behind a few seconds of it, not behind a month."""
    line = CappedLine(journal, clock, 8_000)
    whole = len(write_batch(journal.entries_after(0, 2000)))
    took_s = drain(journal, line, clock, 1000)
    assert journal.backlog == 0
    assert line.carried < 1.02 * whole
    assert took_s < 1.2 * whole / 8_000
    assert line.longest <= WINDOW_FIRST + WINDOW_FIRST // 4


def test_a_fast_line_is_filled(journal: PassJournal, clock: ManualClock) -> None:
    """100 Mbit/s: the window opens until the whole journal is on its way."""
    line = CappedLine(journal, clock, 12e6)
    assert drain(journal, line, clock, 100) < 1.0
    assert line.longest > WINDOW_FIRST


def test_a_silent_ledger_is_asked_again_with_little(journal: PassJournal, clock: ManualClock) -> None:
    """What the broker has and the ledger does not acknowledge is sent again, ever more rarely, and never in bulk."""
    line = CappedLine(journal, clock, 12e6)
    line.ledger_answers = False
    drain(journal, line, clock, 40)
    assert WINDOW_FIRST < line.carried < WINDOW_FIRST + 5 * WINDOW_LEAST
    line.ledger_answers = True
    drain(journal, line, clock, 100)
    assert journal.backlog == 0


def test_the_window_stays_in_its_bounds() -> None:
    window = SendingWindow()
    for turn in range(200):
        while window.room:
            window.note_sent(turn, window.batch_octets, float(turn))
        window.note_acknowledged(turn, turn + 0.1)
    assert (WINDOW_MOST, BATCH_MOST) == (window.octets, window.batch_octets)
    for turn in range(200, 240):
        window.note_sent(turn, 1000, 10.0 * turn)
        window.note_acknowledged(turn, 10.0 * turn + 5)
    assert WINDOW_LEAST == window.octets


def test_a_quiet_day_does_not_open_the_window() -> None:
    """A pass a second says nothing of what the line can take."""
    window = SendingWindow()
    for turn in range(100):
        window.note_sent(turn, 500, float(turn))
        window.note_acknowledged(turn, turn + 0.05)
    assert WINDOW_FIRST == window.octets


@pytest.mark.parametrize(("took_s", "times"), [(0.05, 10), (0.3, 2), (1.0, 1)])
def test_the_window_opens_faster_on_a_fast_line(took_s: float, times: int) -> None:
    window = SendingWindow()
    window.note_sent(1, WINDOW_FIRST, 0.0)
    window.note_acknowledged(1, took_s)
    assert times * WINDOW_FIRST == window.octets


def test_a_batch_of_some_kinds_leaves_out_the_others(journal: PassJournal) -> None:
    """As the lanes are told: what is left out is passed by all the same."""
    entries = journal.entries_after(0, 50)
    kind = entries[-1].kind
    batch = journal.batch_after(0, 1_000_000, 50, {kind})
    assert batch is not None
    assert (entries[-1].sequence, write_batch([e for e in entries if e.kind == kind])) == (batch.up_to, batch.payload)
    nothing = journal.batch_after(0, 1_000_000, 50, set())
    assert nothing is not None
    assert (entries[-1].sequence, b"") == (nothing.up_to, nothing.payload)


def test_the_first_of_the_newest(journal: PassJournal) -> None:
    entries = journal.entries_after(0, 2000)
    newest = entries[-1].recorded_at
    since = [e.sequence for e in entries if e.recorded_at >= newest]
    assert since[-3:][0] == journal.first_of_newest(3, newest)
    assert since[0] == journal.first_of_newest(5000, newest)
    assert journal.first_of_newest(3, newest + timedelta(days=1)) is None
