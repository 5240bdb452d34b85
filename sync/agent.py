"""`canteen-sync`: one loop that moves the journal up and orders down, for as long as it takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.downlink import Downlink
from sync.errors import JournalUnavailable, MalformedMessage, OrderBoxUnavailable
from sync.lane_news import LaneNews
from sync.messages import topic_down, topic_lane
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.signing import VerifyingKey
from sync.transport import MessageHandler, StateHandler, Transport
from sync.uplink import Uplink

_log = logging.getLogger("canteen.sync.agent")

TransportFactory = Callable[[MessageHandler, StateHandler, StateHandler], Transport]

_LOOK_EVERY_S = 0.05
"""How soon a new fact is seen: a tenth of what a pass may take to reach the ledger, one cheap read each time."""

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
    ) -> None:
        self._box, self._clock = box, clock
        self._downlink = Downlink(journal, box, device, server, clock)
        self._greet = threading.Event()
        self._transport = make_transport(self._heard, self._came, self._went)
        self._transport.subscribe(topic_down(device, "#"))
        self._transport.subscribe(topic_lane("+"))
        self._uplink = Uplink(journal, self._transport, device, clock)
        self._news = LaneNews(journal, box, self._transport, device, clock)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        self._box.note_link(connected=False, now=self._clock.utc_now())
        self._transport.start()
        try:
            while not stop.is_set():
                try:
                    self._step()
                except (JournalUnavailable, OrderBoxUnavailable) as trouble:
                    # The terminal's disk; it may be freed again. This loop is the one owner of the retry.
                    _log.error("%s", trouble)
                    stop.wait(_AFTER_TROUBLE_S)
                stop.wait(_LOOK_EVERY_S)
        finally:
            self._transport.stop()
            self._note_link(connected=False)

    def _step(self) -> None:
        if self._greet.is_set():
            self._greet.clear()
            self._uplink.restart()
            self._news.restart()
            self._downlink.say_hello(self._transport)
        if self._transport.connected:
            self._news.step()
            self._uplink.step()
            self._downlink.step(self._transport)

    def _heard(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        if not untrusted_topic.endswith("/lane/passes"):
            self._downlink.handle(untrusted_topic, untrusted_payload)
            return
        try:
            self._news.hear(untrusted_topic, untrusted_payload)
        except MalformedMessage as refusal:
            _log.warning("refused a neighbour's message of %d bytes: %s", len(untrusted_payload), refusal)

    def _came(self) -> None:
        self._note_link(connected=True)
        self._greet.set()

    def _went(self) -> None:
        self._note_link(connected=False)

    def _note_link(self, *, connected: bool) -> None:
        try:
            self._box.note_link(connected, self._clock.utc_now())
        except OrderBoxUnavailable as trouble:
            _log.error("%s", trouble)
