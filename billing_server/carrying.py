"""The messages of the network in files on a stick: what devices bring up, and what the server sends down with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.database import Database
from billing_server.downlink import order_messages
from billing_server.ingest import Ingest
from billing_server.models import Device, Journal
from billing_server.refusals import Refusals, WhyRefused
from billing_server.renewals import RenewalDesk
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.carried_file import CarriedCount, CarriedMessage, order_lines, read_carried_up
from sync.encoding import canonical
from sync.messages import read_topic, topic_down, write_acknowledgement
from sync.sealing import OpeningKey
from sync.signing import SigningKey

LINES_MOST = 5000
"""A million entries: more than a device records in ten years."""


@dataclass(frozen=True, slots=True)
class CarryDesk:
    """Takes files in and makes them; a file is no more trusted than the network, and bounded like it."""

    database: Database
    ingest: Ingest
    renewals: RenewalDesk
    refusals: Refusals
    opening_key: OpeningKey = field(repr=False)
    signing_key: SigningKey = field(repr=False)
    clock: Clock

    def take_in(self, untrusted_file: IO[bytes]) -> CarriedCount:
        """Put every line of an up file into the ledger; what is none of ours is refused and counted, line by line."""
        taken = refused = 0
        lines = read_carried_up(untrusted_file, self.opening_key)
        for message in islice(lines, LINES_MOST):
            if message is None:
                self.refusals.count(None, WhyRefused.GARBAGE)
                refused += 1
            elif self._take(message):
                taken += 1
            else:
                refused += 1
        if untrusted_file.read(1):
            self.refusals.count(None, WhyRefused.TOO_BUSY)
            refused += 1
        return CarriedCount(taken, refused)

    def lines_for(self, devices: list[str]) -> Iterator[bytes]:
        """The down file for these devices: acknowledgements, every order not answered yet, the newest certificate."""
        for device in devices:
            with self.database.reading() as session:
                messages = [
                    *self._acknowledgements(session, device),
                    *order_messages(session, device, 0),
                    *self._certificate(session, DeviceId(device)),
                ]
            yield from order_lines(messages)

    def devices(self, session: Session) -> list[str]:
        """Whom a file can be made for."""
        return list(session.scalars(select(Device.device).where(Device.revoked_at.is_(None)).order_by(Device.device)))

    def _take(self, message: CarriedMessage) -> bool:
        device, _, what = read_topic(message.untrusted_topic)
        if what == "renewal":
            return self.renewals.answer(device, message.untrusted_payload)
        return self.ingest.take_journals(message.untrusted_topic, [message.untrusted_payload])

    def _certificate(self, session: Session, device: DeviceId) -> Iterator[tuple[str, bytes]]:
        """The same one again does no harm: a device knows its own."""
        message = self.renewals.newest(session, device)
        if message is not None:
            yield topic_down(device, "certificate"), canonical(message)

    def _acknowledgements(self, session: Session, device: str) -> Iterator[tuple[str, bytes]]:
        journals = select(Journal).where(Journal.device == device, Journal.up_to > 0)
        for journal in session.scalars(journals.order_by(Journal.first_received_at)):
            wire = write_acknowledgement(
                DeviceId(device),
                journal.generation,
                journal.up_to,
                journal.last_digest,
                self.clock.utc_now(),
                self.signing_key,
            )
            yield topic_down(device, "ack"), wire
