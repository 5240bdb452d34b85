"""From journal to ledger: batches, oldest first, again and again until the ledger itself says it has them.

How much may be on its way follows the acknowledgements: while they come within half a second it grows by what they
acknowledge, or at once to as much as comes through in that time at their pace; it halves when they take two. So a fast
line is soon full and a slow one is never flooded.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

from canteen.clock import Clock
from sync.errors import TransportLost
from sync.messages import topic_up
from sync.pass_journal import JournalReader
from sync.transport import Transport

_log = logging.getLogger("canteen.sync.uplink")

WINDOW_LEAST = 16 * 1024
"""30 entries, two seconds of a line of 64 kbit/s."""
WINDOW_FIRST = 64 * 1024
WINDOW_MOST = 4 * 1024 * 1024

BATCH_LEAST = 8 * 1024
BATCH_MOST = 256 * 1024
"""About 500 entries. A batch is lost whole, so it is a quarter of the window, whatever the line."""

_SOON_S = 0.5
_LATE_S = 2.0
"""An order, a lost card's for example, waits behind what is on its way."""

_RESEND_AFTER_S = 5.0
_RESEND_AFTER_MAX_S = 120.0


@dataclass(slots=True)
class _Sent:
    """A batch on its way."""

    up_to: int
    octets: int
    at_s: float


@dataclass(slots=True)
class SendingWindow:
    """What is on its way, and how much of it there may be."""

    octets: int = WINDOW_FIRST
    _sent: deque[_Sent] = field(default_factory=deque)
    _halved_at_s: float = float("-inf")

    @property
    def on_its_way(self) -> int:
        return sum(sent.octets for sent in self._sent)

    @property
    def room(self) -> bool:
        return self.on_its_way < self.octets

    @property
    def batch_octets(self) -> int:
        """How large the next batch may be."""
        return min(BATCH_MOST, max(BATCH_LEAST, self.octets // 4))

    def note_sent(self, up_to: int, octets: int, at_s: float) -> None:
        self._sent.append(_Sent(up_to, octets, at_s))

    def note_acknowledged(self, up_to: int, at_s: float) -> None:
        """The ledger has all up to this entry."""
        was_full = not self.room
        done, newest = 0, None
        while self._sent and self._sent[0].up_to <= up_to:
            newest = self._sent.popleft()
            done += newest.octets
        if newest is None:
            return
        took_s = at_s - newest.at_s
        if took_s >= _LATE_S:
            if newest.at_s > self._halved_at_s:  # once for what was sent before the last halving
                self.octets, self._halved_at_s = max(WINDOW_LEAST, self.octets // 2), at_s
        elif took_s < _SOON_S and was_full:  # the little of a quiet day says nothing of what the line can take
            through = int(done * _SOON_S / max(took_s, 0.001))
            self.octets = min(WINDOW_MOST, max(self.octets + done, through))

    def lose(self) -> None:
        """Nothing is on its way any more, for no good reason: begin small."""
        self._sent.clear()
        self.octets = WINDOW_LEAST

    def restart(self) -> None:
        """A new connection, of which nothing is known."""
        self._sent.clear()
        self.octets = min(self.octets, WINDOW_FIRST)


class Uplink:
    """Sends what the ledger has not acknowledged. All state is the journal's mark; the rest may be lost at any time."""

    def __init__(self, journal: JournalReader, transport: Transport, device: str, clock: Clock) -> None:
        self._journal, self._transport, self._clock = journal, transport, clock
        self._topic = topic_up(device, "journal")
        self._window = SendingWindow()
        self._sent_up_to = 0
        self._acknowledged = 0
        self._progress_at_s = 0.0
        self._resend_after_s = _RESEND_AFTER_S

    def restart(self) -> None:
        """A new connection: whatever was on its way may be lost, so begin again after the mark."""
        self._sent_up_to = self._acknowledged = self._journal.acknowledged_up_to
        self._window.restart()
        self._progress_at_s = self._clock.monotonic_s()
        self._resend_after_s = _RESEND_AFTER_S

    def step(self) -> int:
        """Send what may be sent now; returns how many entries were. Call it often: idle, it costs one read."""
        now_s = self._clock.monotonic_s()
        self._look_at_mark(now_s)
        sent = 0
        while self._window.room:
            batch = self._journal.batch_after(self._sent_up_to, self._window.batch_octets)
            if batch is None:
                break
            if self._sent_up_to == self._acknowledged:
                self._progress_at_s = now_s  # the wait for an answer begins with the first one on its way
            try:
                self._transport.publish(self._topic, batch.payload)
            except TransportLost:
                break
            self._window.note_sent(batch.up_to, len(batch.payload), now_s)
            sent += batch.up_to - self._sent_up_to
            self._sent_up_to = batch.up_to
        return sent

    def _look_at_mark(self, now_s: float) -> None:
        acknowledged = self._journal.acknowledged_up_to
        if acknowledged < self._acknowledged:
            self._sent_up_to = acknowledged  # the server lost what it had: begin again where it stands
            self._window.restart()
        if acknowledged != self._acknowledged:
            self._acknowledged, self._progress_at_s = acknowledged, now_s
            self._window.note_acknowledged(acknowledged, now_s)
            self._resend_after_s = _RESEND_AFTER_S
        self._sent_up_to = max(self._sent_up_to, acknowledged)
        waited_s = now_s - self._progress_at_s
        if self._transport.unconfirmed and waited_s <= _RESEND_AFTER_MAX_S:
            return  # still on the line: sending it again would only make the line slower
        if self._sent_up_to > acknowledged and waited_s > self._resend_after_s:
            _log.info("no acknowledgement for %.0f s, sending again from %d", self._resend_after_s, acknowledged + 1)
            self._sent_up_to, self._progress_at_s = acknowledged, now_s
            self._window.lose()
            self._resend_after_s = min(2 * self._resend_after_s, _RESEND_AFTER_MAX_S)
