"""From an MQTT message to the ledger and back to an acknowledgement: one payload, one transaction, one answer.

The acknowledgement is signed and published after the commit. If the program dies in between, the device sends again and
the ledger knows the entries: nothing is lost, nothing is there twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from billing_server import ledger
from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.batch_reading import read_entries
from billing_server.database import Database
from billing_server.devices import DeviceDesk
from billing_server.early_passes import note_early
from billing_server.greeting import Greeter
from billing_server.models import Device, Journal
from billing_server.orders import locked_device, locked_devices
from billing_server.projections import Projector
from billing_server.pulse import Pulse
from billing_server.read_batch import ReadBatch, made_ready
from billing_server.refusals import Refusals, WhyRefused
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.errors import BadSignature, MalformedMessage, TransportLost
from sync.facts import FactKind
from sync.greeting import Hello, read_hello
from sync.messages import (
    read_topic,
    topic_down,
    write_acknowledgement,
)
from sync.orders import DeviceRole
from sync.signing import SigningKey, VerifyingKey
from sync.transport import Publish

_log = logging.getLogger("canteen.billing.ingest")


_MAKES_ORDERS = FactKind.ENROLLMENT_ADVISED.value


@dataclass(frozen=True, slots=True)
class Ingest:
    """Takes what devices send. Every method may be called with anything: what is wrong is refused and counted."""

    database: Database
    projector: Projector
    devices: DeviceDesk
    refusals: Refusals
    pulse: Pulse
    signing_key: SigningKey = field(repr=False)
    clock: Clock
    publish: Publish
    greeter: Greeter

    def take_journal(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Put a batch into the ledger and acknowledge how far its journals are durable."""
        self.take_journals(untrusted_topic, [untrusted_payload])

    def take_journals(self, untrusted_topic: str, untrusted_payloads: list[bytes]) -> bool:
        """Put batches of one device into the ledger in one transaction, with one acknowledgement for all.

        False if any of them was refused, or not stored.
        """
        batches = [batch for payload in untrusted_payloads if (batch := self.read_journal(untrusted_topic, payload))]
        return bool(batches) and self.store(batches) and len(batches) == len(untrusted_payloads)

    def read_journal(self, untrusted_topic: str, untrusted_payload: bytes) -> ReadBatch | None:
        """The entries of a batch that are of the topic's device; None if it was refused."""
        return self._read(self._sender(untrusted_topic, "up"), untrusted_payload)

    def store(self, batches: list[ReadBatch]) -> bool:
        """Put batches of one device into the ledger together, and acknowledge; False if not all were stored."""
        device = batches[0].device
        stored = self._take_together(device, batches)
        if not stored and len(batches) > 1:
            # One of them may be what the database refuses; the others must not wait for it.
            stored = sum(self._take_together(device, [batch]) for batch in batches) == len(batches)
        return stored

    def reached(self, device: str) -> dict[str, int]:
        """How far the ledger has the journals of `device`, by generation; nothing while the database is away."""
        try:
            with self.database.reading() as session:
                journals = session.execute(select(Journal.generation, Journal.up_to).where(Journal.device == device))
                return {generation: up_to for generation, up_to in journals}  # noqa: C416 - a row is no pair to mypy
        except SQLAlchemyError:
            return {}

    def take_news(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Count passes early that a terminal told its neighbours of."""
        batch = self._read(self._sender(untrusted_topic, "lane"), untrusted_payload)
        if batch is None:
            return
        with self.database.writing() as session:
            device = session.get(Device, batch.device)
            if device is None or device.revoked_at is not None or device.role != DeviceRole.TERMINAL:
                why = WhyRefused.UNKNOWN_DEVICE if device is None or not device.revoked_at else WhyRefused.REVOKED
            elif note_early(session, device, batch.untrusted_entries, self.clock.utc_now()):
                why = None
            else:
                why = WhyRefused.BAD_SIGNATURE
        if why is None:
            self.pulse.beat()
        else:
            self.refusals.count(batch.device, why)

    def _read(self, device: DeviceId | None, untrusted_payload: bytes) -> ReadBatch | None:
        if device is None:
            return None
        try:
            entries = read_entries(untrusted_payload)
        except MalformedMessage:
            self.refusals.count(device, WhyRefused.GARBAGE)
            return None
        if {read.device for read in entries} - {device}:
            self.refusals.count(device, WhyRefused.ANOTHERS_ENTRIES)
            return None
        return made_ready(device, entries)

    def _take_together(self, device: DeviceId, batches: list[ReadBatch]) -> bool:
        try:
            marks = self._store(device, batches)
        except SQLAlchemyError as error:
            # No acknowledgement: the device keeps its entries and sends them again.
            _log.error("batch of %s not stored: %s", device, type(error).__name__)
            self.refusals.count(device, WhyRefused.NOT_STORED)
            return False
        if marks is None:
            return False
        self.pulse.beat()
        for mark in marks:
            self._acknowledge(device, mark)
        return True

    def take_hello(self, untrusted_topic: str, untrusted_payload: bytes) -> tuple[DeviceId, int] | None:
        """Note what a device has; its name and the number of its last order, or None if it was refused."""
        device = self._sender(untrusted_topic, "up")
        if device is None:
            return None
        try:
            hello = read_hello(untrusted_payload)
        except MalformedMessage:
            self.refusals.count(device, WhyRefused.GARBAGE)
            return None
        asks, mark, read_at = False, None, self.clock.utc_now()
        with self.database.writing() as session:
            row = locked_device(session, device)
            why = _why_refused(row) or self._forged(device, row, hello)
            if why is None and row is not None:
                asks = self.devices.take_hello(session, row, hello)
                if hello.last_entry is not None:
                    mark = ledger.mark_of(session, device, hello.last_entry.generation)
        if why is not None:
            self.refusals.count(device, why)
            return None
        self.pulse.beat()
        if mark is not None:
            # After a backup was put back on either side, this is what shows it: entries are sent again, or begun anew.
            self._acknowledge(device, mark, read_at)
        if asks:
            self.greeter.greet(device, asks=True)
        return device, hello.orders_up_to

    def _forged(self, device: DeviceId, row: Device | None, hello: Hello) -> WhyRefused | None:
        try:
            if hello.last_entry is not None and row is not None:
                hello.last_entry.verify(device, VerifyingKey(row.verifying_key))
            if hello.newest_order is not None:
                hello.newest_order.verify(self.signing_key.verifying_key)
                if hello.newest_order.device != device:
                    return WhyRefused.BAD_SIGNATURE
        except BadSignature:
            return WhyRefused.BAD_SIGNATURE
        return None

    def _sender(self, untrusted_topic: str, expected: str) -> DeviceId | None:
        try:
            device, direction, _ = read_topic(untrusted_topic)
        except MalformedMessage:
            self.refusals.count(None, WhyRefused.GARBAGE)
            return None
        return device if direction == expected else None

    def _store(self, name: DeviceId, batches: list[ReadBatch]) -> list[ledger.Mark] | None:
        now = self.clock.utc_now()
        with self.database.writing() as session:
            device = session.get(Device, name)
            why = _why_refused(device)
            if device is None or why is not None:
                self.refusals.count(name, why or WhyRefused.UNKNOWN_DEVICE)
                return None
            if device.role == DeviceRole.STATION or any(_MAKES_ORDERS in batch.kinds for batch in batches):
                locked_devices(session)  # what a station tells makes orders; of what a terminal tells, an advice alone
            appended = ledger.append(session, device, batches, now)
            if appended.bad_signatures:
                self.refusals.count(name, WhyRefused.BAD_SIGNATURE)
                raise_alarm(session, AlarmKind.BAD_SIGNATURE, name, now, device=name)
            self.projector.project(session, device, appended.batches)
        return appended.marks

    def _acknowledge(self, device: DeviceId, mark: ledger.Mark, at: datetime | None = None) -> None:
        wire = write_acknowledgement(
            device, mark.generation, mark.sequence, mark.digest, at or self.clock.utc_now(), self.signing_key
        )
        try:
            self.publish(topic_down(device, "ack"), wire)
        except TransportLost:
            _log.info("acknowledgement for %s not sent: no connection; it will ask again", device)


def _why_refused(device: Device | None) -> WhyRefused | None:
    if device is None:
        return WhyRefused.UNKNOWN_DEVICE
    return None if device.revoked_at is None else WhyRefused.REVOKED
