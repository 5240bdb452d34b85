"""Orders on their way down: at a hello all that a device lacks, new ones at once, everything at a reconnection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.database import Database
from billing_server.greeting import Greeter
from billing_server.models import Device
from billing_server.orders import unanswered
from sync.errors import TransportLost
from sync.messages import read_signed_order, topic_down, write_orders
from sync.transport import Publish

_log = logging.getLogger("canteen.billing.downlink")

ORDERS_A_MESSAGE = 50
BYTES_A_MESSAGE = 200_000
"""A terminal behind a poor line takes a message whole or not at all, so none should take long."""


@dataclass(frozen=True, slots=True)
class Downlink:
    """Publishes orders. Publishing one twice is harmless: the device knows them by number."""

    database: Database
    publish: Publish
    greeter: Greeter
    sent_up_to: dict[str, int]

    def catch_up(self, device: str, above: int) -> None:
        """Publish all unanswered orders of `device` above a number."""
        while True:
            with self.database.reading() as session:
                message = _next_message(session, device, above)
            if message is None:
                return
            above, payload = message
            try:
                self.publish(topic_down(device, "orders"), payload)
            except TransportLost:
                return  # at the next connection it is all sent again
            self.sent_up_to[device] = max(above, self.sent_up_to.get(device, 0))

    def send_new(self, device: str) -> None:
        """Publish what was made since the last time."""
        self.catch_up(device, self.sent_up_to.get(device, 0))

    def send_all(self) -> None:
        """We were away: greet every device, and publish whatever it has not answered for."""
        with self.database.reading() as session:
            ours = select(Device.device).where(Device.revoked_at.is_(None)).order_by(Device.device)
            devices = list(session.scalars(ours))
        for device in devices:
            self.greeter.greet(device)
            self.catch_up(device, 0)


def order_messages(session: Session, device: str, above: int) -> Iterator[tuple[str, bytes]]:
    """Every unanswered order of `device` above a number, as (topic, payload) of as many messages as it takes."""
    while (message := _next_message(session, device, above)) is not None:
        above, payload = message
        yield topic_down(device, "orders"), payload


def _next_message(session: Session, device: str, above: int) -> tuple[int, bytes] | None:
    """The next orders in one message, and the number of the last of them; None if there are none, or none any more."""
    row = session.get(Device, device)
    if row is None or row.revoked_at is not None:
        return None
    chunk: list[tuple[int, bytes]] = []
    size = 0
    for number, wire in unanswered(session, device, above, ORDERS_A_MESSAGE):
        if chunk and size + len(wire) > BYTES_A_MESSAGE:
            break
        chunk.append((number, wire))
        size += len(wire)
    if not chunk:
        return None
    return chunk[-1][0], write_orders([read_signed_order(wire) for _, wire in chunk])
