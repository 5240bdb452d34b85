"""What terminals of one school tell each other: their passes, as they stand signed in the journal.

So that a code is not served twice in a service while the server is gone. It needs nothing but a broker that is still
there. Each terminal checks its neighbour's signature itself; sync only carries. What is told again (at every
connection, the passes of the last hours) changes nothing, and so does what is heard twice: over the school's broker
and over one that a terminal runs (docs/lanes.md).
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.encoding import MESSAGE_BYTES_MAX
from sync.errors import MalformedMessage, TransportLost
from sync.facts import FactKind
from sync.messages import JournalEntry, read_batch, read_topic, topic_lane
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.transport import Transport

_log = logging.getLogger("canteen.sync.lane_news")

TOLD = frozenset({FactKind.PASS_GRANTED, FactKind.PASS_COMPLETED, FactKind.PASS_ABANDONED, FactKind.PASS_UNRESOLVED})
"""Denials stay at home: nobody else needs them, so nobody else gets them."""

TOLD_AGAIN = timedelta(hours=20)
"""At a new connection: one day's services, so that a neighbour that was cut off knows who has eaten."""

KEPT = timedelta(days=2)
AHEAD = timedelta(days=1)
"""A pass dated later than this is no neighbour's: a wrong clock says hours, a forger says years."""

_BATCH = 50
_ENTRIES_AT_ONCE = 2000
_UNCONFIRMED_MOST = 6
"""A slow line is not flooded. The uplink has four or five batches on its way there, so the day's passes go in between
with it: the ledger takes journals from their beginning, but counts today's passes early."""


class LaneNews:
    """Tells the neighbours over one broker, and listens to them there."""

    def __init__(
        self, journal: JournalReader, box: OrderBox, transport: Transport, device: DeviceId, clock: Clock
    ) -> None:
        self._journal, self._box, self._transport = journal, box, transport
        self._device, self._clock = device, clock
        self._told_up_to = journal.last_sequence
        self._came = threading.Event()

    def came(self) -> None:
        """There is a new connection (any thread may say so): the next step begins with the day's passes."""
        self._came.set()

    def _restart(self) -> None:
        """Tell the day's passes again, and forget what neighbours told before yesterday."""
        now = self._clock.utc_now()
        self._box.forget_neighbours_before(now - KEPT)
        first = self._journal.first_of_newest(_ENTRIES_AT_ONCE, now - TOLD_AGAIN)
        self._told_up_to = self._journal.last_sequence if first is None else first - 1

    def step(self) -> None:
        """Tell what is new, while there is a connection."""
        if not self._transport.connected or self._transport.unconfirmed >= _UNCONFIRMED_MOST:
            return
        if self._came.is_set():
            self._came.clear()
            self._restart()
        batch = self._journal.batch_after(self._told_up_to, MESSAGE_BYTES_MAX, _BATCH, TOLD)
        if batch is None:
            return
        try:
            if batch.payload:
                self._transport.publish(topic_lane(self._device), batch.payload)
        except TransportLost:
            return
        self._told_up_to = batch.up_to

    def heard(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Keep a neighbour's passes for the terminal; what is none is refused with a line in the log."""
        try:
            self.hear(untrusted_topic, untrusted_payload)
        except MalformedMessage as refusal:
            _log.warning("refused a neighbour's message of %d bytes: %s", len(untrusted_payload), refusal)

    def hear(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """As `heard`. Raises MalformedMessage."""
        neighbour, direction, _ = read_topic(untrusted_topic)
        if direction != "lane":
            raise MalformedMessage("not a topic of the lanes")
        if neighbour == self._device:
            return
        entries = read_batch(untrusted_payload)
        if any(entry.device != neighbour or entry.kind not in TOLD for entry in entries):
            raise MalformedMessage("passes that are not the neighbour's own")
        self._box.put_neighbours(_recent(entries, self._clock))


def _recent(entries: list[JournalEntry], clock: Clock) -> list[JournalEntry]:
    now = clock.utc_now()
    return [entry for entry in entries if now - KEPT <= entry.recorded_at <= now + AHEAD]
