"""`canteen-sync`: one loop that moves the journal up and orders down, for as long as it takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.downlink import Downlink
from sync.errors import JournalUnavailable, OrderBoxUnavailable
from sync.lane_news import LaneNews
from sync.messages import topic_down, topic_lane
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.renewal import Renewal
from sync.signing import VerifyingKey
from sync.transport import MessageHandler, StateHandler, Transport
from sync.uplink import Uplink

_log = logging.getLogger("canteen.sync.agent")

TransportFactory = Callable[[MessageHandler, StateHandler, StateHandler], Transport]

_LOOK_EVERY_S = 0.05
"""How soon a new fact is seen: a tenth of what a pass may take to reach the ledger, one cheap read each time. What
comes from the server is acted on at once."""

_AFTER_TROUBLE_S = 1.0


class SyncAgent:
    """Holds no key and reads no seal; killed at any moment, it goes on from the journal's mark."""

    def __init__(
        self,
        journal: JournalReader,
        box: OrderBox,
        device: DeviceId,
        server: VerifyingKey,
        make_transport: TransportFactory,
        clock: Clock,
        make_lane_transport: TransportFactory | None = None,
        renewal: Renewal | None = None,
    ) -> None:
        """`make_lane_transport` reaches a broker that a terminal runs, for what neighbours tell each other.

        `renewal` keeps the certificate fresh; without it nobody does.
        """
        self._renewal = renewal
        self._box, self._clock = box, clock
        self._downlink = Downlink(journal, box, device, server, clock, renewal)
        self._journal, self._generation = journal, journal.generation
        self._greet = threading.Event()
        self._wake = threading.Event()
        self._transport = make_transport(self._heard, self._came, self._went)
        self._transport.subscribe(topic_down(device, "#"))
        self._transport.subscribe(topic_lane("+"))
        self._uplink = Uplink(journal, self._transport, device, clock)
        self._news = LaneNews(journal, box, self._transport, device, clock)
        self._lane = self._lane_news = None
        if make_lane_transport is not None:
            self._lane = make_lane_transport(self._heard_in_lane, self._lane_came, lambda: None)
            self._lane.subscribe(topic_lane("+"))
            self._lane_news = LaneNews(journal, box, self._lane, device, clock)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        self._box.note_link(connected=False, now=self._clock.utc_now())
        self._transport.start()
        if self._lane is not None:
            self._lane.start()
        try:
            while not stop.is_set():
                try:
                    self._step()
                except (JournalUnavailable, OrderBoxUnavailable) as trouble:
                    # The terminal's disk; it may be freed again. This loop is the one owner of the retry.
                    _log.error("%s", trouble)
                    stop.wait(_AFTER_TROUBLE_S)
                self._wake.wait(_LOOK_EVERY_S)
                self._wake.clear()
        finally:
            self._transport.stop()
            if self._lane is not None:
                self._lane.stop()
            self._note_link(connected=False)

    def _step(self) -> None:
        generation = self._journal.generation
        if self._greet.is_set() or generation != self._generation:
            # A new connection, or a new journal: numbers of before mean nothing any more.
            self._greet.clear()
            self._generation = generation
            self._uplink.restart()
            self._news.came()
            self._downlink.restart(self._transport)
        self._news.step()
        if self._lane_news is not None:
            self._lane_news.step()
        if self._transport.connected:
            self._uplink.step()
            self._downlink.step(self._transport)
            if self._renewal is not None:
                self._renewal.step(self._transport)

    def _heard(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        if untrusted_topic.endswith("/lane/passes"):
            self._news.heard(untrusted_topic, untrusted_payload)
        else:
            self._downlink.handle(untrusted_topic, untrusted_payload)
            self._wake.set()

    def _heard_in_lane(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        if self._lane_news is not None:
            self._lane_news.heard(untrusted_topic, untrusted_payload)

    def _lane_came(self) -> None:
        _log.info("connected to the lanes' broker")
        if self._lane_news is not None:
            self._lane_news.came()

    def _came(self) -> None:
        self._note_link(connected=True)
        self._greet.set()
        self._wake.set()

    def _went(self) -> None:
        self._note_link(connected=False)

    def _note_link(self, *, connected: bool) -> None:
        try:
            self._box.note_link(connected, self._clock.utc_now())
        except OrderBoxUnavailable as trouble:
            _log.error("%s", trouble)
