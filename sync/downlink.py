"""From the server to the order box and the journal's mark: parse, check whose it is, keep; never open a seal."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.carried_file import CarriedCount, CarriedMessage
from sync.errors import BadSignature, MalformedMessage, TransportLost
from sync.greeting import EntryProof, Hello, read_greeting, write_hello
from sync.messages import read_acknowledgement, read_orders, read_topic, topic_up
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.renewal import Renewal
from sync.signing import VerifyingKey
from sync.transport import Transport

_log = logging.getLogger("canteen.sync.downlink")

_ASK_AGAIN_S = 2.0

_AGAIN_FIRST_S = 5.0
_AGAIN_MOST_S = 600.0
"""A hello that is lost on a line that stays up (a busy server, say) is made good by the next: soon, then ever later,
then every ten minutes for as long as the line lives."""


class Downlink:
    """Handles what comes in. Anything wrong is refused with a line in the log, and the next message is as welcome."""

    def __init__(
        self,
        journal: JournalReader,
        box: OrderBox,
        device: DeviceId,
        server: VerifyingKey,
        clock: Clock,
        renewal: Renewal | None = None,
    ) -> None:
        self._renewal = renewal
        self._journal, self._box, self._device, self._server, self._clock = journal, box, device, server, clock
        self._asked_at_s = float("-inf")
        self._again_s = _AGAIN_FIRST_S
        self._gap = self._greeted = False

    def handle(self, untrusted_topic: str, untrusted_payload: bytes) -> bool:
        """Take one message; when this returns, what it brought is durable. False if it was refused."""
        try:
            device, direction, what = read_topic(untrusted_topic)
            if (device, direction) != (self._device, "down"):
                raise MalformedMessage("a topic of somebody else")
            if what == "ack":
                self._take_acknowledgement(untrusted_payload)
            elif what == "orders":
                self._take_orders(untrusted_payload)
            elif what == "greeting":
                self._take_greeting(untrusted_payload)
            elif what == "certificate" and self._renewal is not None:
                self._renewal.take(untrusted_payload)
            else:
                raise MalformedMessage("an unknown topic")
        except (MalformedMessage, BadSignature) as refusal:
            _log.warning("refused a message of %d bytes: %s", len(untrusted_payload), refusal)
            return False
        return True

    def handle_carried(self, messages: Iterable[CarriedMessage | None]) -> CarriedCount:
        """Take what came in a file; every line stands alone."""
        taken = refused = 0
        for message in messages:
            if message is not None and self.handle(message.untrusted_topic, message.untrusted_payload):
                taken += 1
            else:
                refused += 1
        return CarriedCount(taken, refused)

    def restart(self, transport: Transport) -> None:
        """A new connection, or a new journal: say hello now, and soon again."""
        self._again_s = _AGAIN_FIRST_S
        self._say_hello(transport)

    def _say_hello(self, transport: Transport) -> None:
        """Tell the server what is here, so that it sends the rest."""
        self._asked_at_s = self._clock.monotonic_s()
        self._gap = self._greeted = False
        last = self._journal.entries_after(self._journal.last_sequence - 1, 1)
        hello = Hello(self._box.received_up_to, EntryProof.of(last[-1]) if last else None, self._box.newest_order)
        try:
            transport.publish(topic_up(self._device, "hello"), write_hello(hello))
        except TransportLost:
            self._gap = True

    def step(self, transport: Transport) -> None:
        """Answer a greeting, ask again for orders that are missing before one that is here, and else say it again."""
        waited_s = self._clock.monotonic_s() - self._asked_at_s
        if waited_s > self._again_s:
            self._again_s = min(2 * self._again_s, _AGAIN_MOST_S)
            self._say_hello(transport)
        elif (self._gap or self._greeted) and waited_s > _ASK_AGAIN_S:
            self._say_hello(transport)

    def _take_acknowledgement(self, untrusted_payload: bytes) -> None:
        acknowledgement = read_acknowledgement(untrusted_payload)
        acknowledgement.verify(self._server)
        if acknowledgement.device != self._device:
            raise MalformedMessage("an acknowledgement for another device")
        self._box.note_contact(self._clock.utc_now(), acknowledgement.issued_at)
        if not self._journal.acknowledge(
            acknowledgement.generation,
            acknowledgement.sequence,
            acknowledgement.entry_digest,
            acknowledgement.issued_at,
        ):
            _log.warning("the ledger acknowledged an entry that is not in this journal")

    def _take_greeting(self, untrusted_payload: bytes) -> None:
        greeting = read_greeting(untrusted_payload)
        greeting.verify(self._server)
        if greeting.device != self._device:
            raise MalformedMessage("a greeting for another device")
        self._box.note_contact(self._clock.utc_now(), greeting.issued_at)
        if self._renewal is not None:
            self._renewal.note_authority(greeting.authority)
        if greeting.asks:
            self._box.note_asked()
        else:
            self._greeted = True

    def _take_orders(self, untrusted_payload: bytes) -> None:
        orders = read_orders(untrusted_payload)
        for order in orders:
            order.verify(self._server)
            if order.device != self._device:
                raise MalformedMessage("an order for another device")
        known_up_to = self._box.received_up_to
        self._box.put(orders)
        if orders:
            newest = max(orders, key=lambda order: order.number)
            self._box.note_contact(self._clock.utc_now(), newest.issued_at, newest_order=newest.number > known_up_to)
            self._gap = max(order.number for order in orders) > self._box.received_up_to
