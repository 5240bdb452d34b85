"""A server without threads or a broker, and devices that sign real entries and open real orders."""

from __future__ import annotations

import itertools
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from billing_server.assembly import Services, assemble
from billing_server.configuration import AuthoritySettings, KeyFiles, Policy, SchoolSettings, Settings
from billing_server.database import Database
from billing_server.roster import Identity, NewPupil
from canteen.access_decision import Reason
from canteen.clock import ClockTrust, ManualClock
from canteen.consent import ConsentState, GivenBy
from canteen.credentials import CardNumber
from canteen.entitlements import EntitlementKind, forfait_4_days
from canteen.identifiers import DeviceId, PassId, PupilId, new_pass_id
from canteen.meal_pass import PassDenied, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.encoding import octets_text
from sync.errors import TransportLost
from sync.fact_bodies import write_fact
from sync.facts import CardIssued, ConsentRecorded, Fact, OrderApplied, PurgeReceipt
from sync.greeting import EntryProof, Hello, OrderProof, write_hello
from sync.messages import (
    GENESIS,
    Acknowledgement,
    JournalEntry,
    SignedOrder,
    entry_header,
    read_acknowledgement,
    read_orders,
    topic_up,
    write_batch,
)
from sync.orders import DeviceEntry, DeviceRole, Order, PurgeOrder
from sync.purge_request import receipt_of
from sync.sealing import OpeningKey, SealingKey
from sync.signing import Purpose, SigningKey

MONDAY_NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
"""12:00 in Paris."""

TODAY = date(2026, 11, 23)


class PublishedMessages:
    """What went out, in order; loses the connection when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.connected = True
        self.unconfirmed = 0

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def subscribe(self, pattern: str) -> None:
        """Everything is handed over by the test."""

    def publish(self, topic: str, payload: bytes) -> None:
        if not self.connected:
            raise TransportLost
        self.sent.append((topic, payload))


@dataclass
class SignedDevice:
    """A device's keys and its journal in memory."""

    name: DeviceId
    role: DeviceRole
    clock: ManualClock
    signing: SigningKey = field(default_factory=lambda: SigningKey(secrets.token_bytes(32)))
    opening: OpeningKey = field(default_factory=lambda: OpeningKey(secrets.token_bytes(32)))
    generation: str = field(default_factory=lambda: secrets.token_hex(8))
    journal: list[JournalEntry] = field(default_factory=list)
    orders_done: int = 0

    @property
    def entry(self) -> DeviceEntry:
        return DeviceEntry(self.name, self.role, self.signing.verifying_key, self.opening.sealing_key)

    def sign(
        self,
        fact: Fact,
        sequence: int,
        previous: str,
        at: datetime | None = None,
        trust: ClockTrust = ClockTrust.TRUSTED,
    ) -> JournalEntry:
        """A signed entry at any place, true or not."""
        kind, body = write_fact(fact)
        body["nonce"] = octets_text(secrets.token_bytes(12))
        recorded_at = at or self.clock.utc_now()
        header = entry_header(self.name, self.generation, sequence, previous, recorded_at, trust, kind, body)
        signature = self.signing.sign(Purpose.JOURNAL_ENTRY, header)
        return JournalEntry(
            self.name,
            self.generation,
            sequence,
            previous,
            recorded_at,
            trust,
            kind.value,
            body,
            signature,
        )

    def note(
        self, *facts: Fact, at: datetime | None = None, trust: ClockTrust = ClockTrust.TRUSTED
    ) -> list[JournalEntry]:
        """Append facts to the journal."""
        entries = []
        for fact in facts:
            previous = self.journal[-1].digest if self.journal else GENESIS
            entry = self.sign(fact, len(self.journal) + 1, previous, at, trust)
            self.journal.append(entry)
            entries.append(entry)
        return entries

    def hello(self, orders_up_to: int, said: int | None = None, newest: SignedOrder | None = None) -> bytes:
        """What its `canteen-sync` says: with the last entry, or one at `said` as if the journal reached there."""
        last = self.journal[-1:] if said is None else [self.sign(denied(), said, GENESIS)] if said else []
        proof = EntryProof.of(last[0]) if last else None
        return write_hello(Hello(orders_up_to, proof, None if newest is None else OrderProof.of(newest)))

    def resigned(self, entry: JournalEntry, kind: str, body: dict[str, object]) -> JournalEntry:
        """`entry` with another kind and body, signed again: a device that lies, or a newer version."""
        header = entry_header(
            self.name,
            entry.generation,
            entry.sequence,
            entry.previous,
            entry.recorded_at,
            entry.clock_trust,
            kind,
            body,
        )
        return JournalEntry(
            self.name,
            entry.generation,
            entry.sequence,
            entry.previous,
            entry.recorded_at,
            entry.clock_trust,
            kind,
            body,
            self.signing.sign(Purpose.JOURNAL_ENTRY, header),
        )


class SqliteFiles:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._blank = folder / "blank.sqlite"
        database = Database(f"sqlite+pysqlite:///{self._blank}")
        database.upgrade()
        database.close()

    def fresh(self) -> str:
        self._count += 1
        copy = self._folder / f"ledger-{self._count}.sqlite"
        shutil.copy(self._blank, copy)
        return f"sqlite+pysqlite:///{copy}"


class LedgerBench:
    """The server's services, driven by hand, over a database that is migrated already."""

    def __init__(
        self, folder: Path, database_url: str, clock: ManualClock | None = None, pulls_per_minute: int = 120
    ) -> None:
        self.clock = clock or ManualClock(MONDAY_NOON)
        self.folder, self.database_url = folder, database_url
        self.settings = Settings(
            school_name="Collège des Tilleuls",
            language="fr",
            database_url=database_url,
            keys=KeyFiles(
                folder / "signing",
                folder / "sealing",
                folder / "code",
                folder / "operators.json",
                folder / "clients.json",
            ),
            broker=None,
            web_host="127.0.0.1",
            web_port=0,
            policy=Policy(),
            school=SchoolSettings("0751234X", 420),
            authority=AuthoritySettings(folder / "authority.key", folder / "authority.pem", folder / "revoked.pem"),
            pulls_per_minute=pulls_per_minute,
        )
        self._card_numbers = itertools.count(0x04A1B2C3D4E5F6)
        self.restart()

    def restart(self) -> None:
        """As after a kill: only what is on disk is left."""
        self.services: Services = assemble(self.settings, self.clock)
        self.published = PublishedMessages()
        self.services.line._outlet.connect(self.published)

    def close(self) -> None:
        self.services.database.close()

    def device(self, name: str, role: DeviceRole = DeviceRole.TERMINAL) -> SignedDevice:
        """A registered device."""
        device = SignedDevice(DeviceId(name), role, self.clock)
        with self.services.database.writing() as session:
            self.services.devices.register(session, device.entry)
        return device

    def pupil(self, first_name: str = "Léa", last_name: str = "Martin", class_name: str = "5eB") -> PupilId:
        entitlement = forfait_4_days(date(2026, 9, 1), date(2027, 7, 3))
        new = NewPupil(Identity(first_name, last_name, class_name), (entitlement,))
        with self.services.database.writing() as session:
            return self.services.pupils.add(session, [new])[0][0]

    def send(self, device: SignedDevice, entries: list[JournalEntry] | None = None) -> list[Acknowledgement]:
        """Deliver entries (the whole journal if not said); the acknowledgements that came back, verified."""
        before = len(self.published.sent)
        for part in batched(device.journal if entries is None else entries, 1000):
            self.services.ingest.take_journal(topic_up(device.name, "journal"), write_batch(part))
        acknowledgements = []
        for topic, payload in self.published.sent[before:]:
            if topic == f"canteen/{device.name}/down/ack":
                acknowledgement = read_acknowledgement(payload)
                acknowledgement.verify(self.services.signing_key.verifying_key)
                acknowledgements.append(acknowledgement)
        return acknowledgements

    def hello(self, device: SignedDevice, orders_up_to: int, newest: SignedOrder | None = None) -> list[SignedOrder]:
        """Say hello; the orders that come, verified."""
        before = len(self.published.sent)
        topic = topic_up(device.name, "hello")
        heard = self.services.ingest.take_hello(topic, device.hello(orders_up_to, newest=newest))
        if heard is not None:
            self.services.downlink.catch_up(*heard)
        orders: list[SignedOrder] = []
        for topic, payload in self.published.sent[before:]:
            if topic == f"canteen/{device.name}/down/orders":
                orders.extend(read_orders(payload))
        for order in orders:
            order.verify(self.services.signing_key.verifying_key)
        return orders

    def orders(self, device: SignedDevice) -> list[tuple[int, Order]]:
        """What waits for the device, opened."""
        waiting = self.hello(device, device.orders_done)
        return [(order.number, order.open(device.opening)) for order in waiting]

    def answer_all(self, device: SignedDevice) -> list[Order]:
        """The device carries out all that waits: receipts for purges, then the answers; sent up."""
        carried_out = []
        for number, order in self.orders(device):
            if isinstance(order, PurgeOrder):
                device.note(receipt_for(order, self.clock.utc_now()))
            device.note(OrderApplied(number))
            device.orders_done = number
            carried_out.append(order)
        self.send(device)
        return carried_out

    def card_issued(self, station: SignedDevice, pupil: PupilId, number: CardNumber | None = None) -> CardNumber:
        """The station gives a card; not sent yet."""
        card = number or CardNumber(f"{next(self._card_numbers):014X}")
        context = {"v": 1, "what": "card", "station": station.name, "pupil": pupil}
        server: SealingKey = self.services.opening_key.sealing_key
        station.note(CardIssued(pupil, server.seal(card.hexadecimal.encode(), context)))
        return card


def granted(pupil: PupilId, pass_id: PassId | None = None) -> PassGranted:
    return PassGranted(
        pass_id or new_pass_id(),
        pupil,
        PassMethod.HAND,
        ServiceMoment(TODAY, "midi"),
        EntitlementKind.FORFAIT_4_DAYS,
    )


def denied(pupil: PupilId | None = None, reason: Reason = Reason.HAND_NOT_MATCHED) -> PassDenied:
    return PassDenied(new_pass_id(), pupil, PassMethod.HAND, reason)


def consent(pupil: PupilId, state: ConsentState, at: datetime) -> ConsentRecorded:
    return ConsentRecorded(pupil, state, "2026-1", GivenBy.LEGAL_REPRESENTATIVE, at, "Mme Roux")


def receipt_for(order: PurgeOrder, at: datetime) -> PurgeReceipt:
    return receipt_of(order, at, "ab" * 32, 4, 5)


def batched(entries: list[JournalEntry], most: int) -> list[list[JournalEntry]]:
    return [entries[start : start + most] for start in range(0, len(entries), most)]


def hours(count: float) -> timedelta:
    return timedelta(hours=count)
