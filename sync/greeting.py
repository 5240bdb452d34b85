"""How device and server find each other again: the device's hello, with proofs, and the server's greeting.

canteen/<device>/up/hello        Hello      "I have orders up to n", and two signatures that stand for themselves
canteen/<device>/down/greeting   Greeting   "I am here": say hello; or, where the hello puzzles the server, say on the
                                            record, signed in the journal, which orders you hold

`canteen-sync` holds no key, so it signs nothing. What it says bare only asks for orders to be sent again. What moves
anything at the server is somebody's signature: the device's own on its last entry, the server's own on the newest order
that came, and the facts of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from sync.encoding import Fields, canonical, digest, instant_text, octets_text, parse_object
from sync.errors import BadSignature, MalformedMessage
from sync.messages import PROTOCOL_VERSION, JournalEntry, SignedOrder, read_digest, read_generation, read_versioned
from sync.signing import Purpose, SigningKey, VerifyingKey


@dataclass(frozen=True, slots=True)
class EntryProof:
    """The header of a journal entry with its signature, without the body: so many entries there are."""

    header: dict[str, Any] = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def of(cls, entry: JournalEntry) -> EntryProof:
        return cls(entry.header, entry.signature)

    @property
    def device(self) -> str:
        return Fields(self.header).text("device")

    @property
    def generation(self) -> str:
        return read_generation(Fields(self.header))

    @property
    def sequence(self) -> int:
        return Fields(self.header).integer("sequence", 1)

    @property
    def recorded_at(self) -> datetime:
        return Fields(self.header).instant("recorded_at")

    @property
    def digest(self) -> str:
        """As the next entry would name it."""
        return digest(canonical(self.header))

    def verify(self, device: DeviceId, key: VerifyingKey) -> None:
        """Raises BadSignature unless `device` signed it with `key`."""
        if self.device != device:
            raise BadSignature("an entry of another device")
        key.verify(Purpose.JOURNAL_ENTRY, self.header, self.signature)


@dataclass(frozen=True, slots=True)
class OrderProof:
    """The signed part of an order, without the order: the server itself made this number for this device."""

    device: DeviceId
    number: int
    issued_at: datetime
    sealed_digest: str
    signature: bytes = field(repr=False)

    @classmethod
    def of(cls, order: SignedOrder) -> OrderProof:
        return cls(order.device, order.number, order.issued_at, digest(order.sealed), order.signature)

    def verify(self, server: VerifyingKey) -> None:
        """Raises BadSignature."""
        statement = {
            "v": PROTOCOL_VERSION,
            "device": self.device,
            "number": self.number,
            "issued_at": instant_text(self.issued_at),
            "sealed_digest": self.sealed_digest,
        }
        server.verify(Purpose.ORDER, statement, self.signature)


def write_order_proof(proof: OrderProof) -> bytes:
    """As it is kept in the order box, after the order itself has been erased."""
    return canonical(_order_proof(proof))


def read_order_proof(untrusted_bytes: bytes) -> OrderProof:
    """Raises MalformedMessage."""
    return _read_order_proof(Fields(parse_object(untrusted_bytes)))


@dataclass(frozen=True, slots=True)
class Hello:
    """Said at every connection and at every greeting.

    Attributes:
        orders_up_to: the highest order that is here with none missing before it; nobody's word, so that the server
            sends what follows and does nothing else.
        last_entry: the newest entry of the journal; None while it is empty.
        newest_order: the highest order that ever came; None before the first.
    """

    orders_up_to: int
    last_entry: EntryProof | None = None
    newest_order: OrderProof | None = None


def write_hello(hello: Hello) -> bytes:
    entry, order = hello.last_entry, hello.newest_order
    return canonical(
        {
            "v": PROTOCOL_VERSION,
            "orders_up_to": hello.orders_up_to,
            "last_entry": None
            if entry is None
            else {"header": entry.header, "signature": octets_text(entry.signature)},
            "newest_order": None if order is None else _order_proof(order),
        }
    )


def read_hello(untrusted_payload: bytes) -> Hello:
    """Raises MalformedMessage. Fields without which earlier devices said hello are None."""
    fields = read_versioned(untrusted_payload)
    entry = order = None
    if fields.present("last_entry"):
        proof = Fields(fields.mapping("last_entry"))
        entry = EntryProof(proof.mapping("header"), proof.signature())
        _ = (entry.device, entry.generation, entry.sequence, entry.recorded_at)  # they are there
    if fields.present("newest_order"):
        order = _read_order_proof(Fields(fields.mapping("newest_order")))
    return Hello(fields.integer("orders_up_to"), entry, order)


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server's signed word that it is here.

    Attributes:
        asks: the device is to say on the record which orders it holds (the fact `orders-held`).
        authority: SHA-256 of the certificate authority whose certificates the server gives out now, in hexadecimal;
            None where it has none.
    """

    device: DeviceId
    issued_at: datetime
    asks: bool
    authority: str | None = None
    signature: bytes = field(default=b"", repr=False)

    @property
    def statement(self) -> dict[str, Any]:
        return {
            "v": PROTOCOL_VERSION,
            "device": self.device,
            "issued_at": instant_text(self.issued_at),
            "asks": self.asks,
            "authority": self.authority,
        }

    def verify(self, server: VerifyingKey) -> None:
        """Raises BadSignature."""
        server.verify(Purpose.GREETING, self.statement, self.signature)


def write_greeting(greeting: Greeting, server: SigningKey) -> bytes:
    """A greeting, signed, as it is published."""
    signature = server.sign(Purpose.GREETING, greeting.statement)
    return canonical({**greeting.statement, "signature": octets_text(signature)})


def read_greeting(untrusted_payload: bytes) -> Greeting:
    """Raises MalformedMessage."""
    fields = read_versioned(untrusted_payload)
    return Greeting(
        device=_device(fields),
        issued_at=fields.instant("issued_at"),
        asks=fields.flag("asks"),
        authority=read_digest(fields, "authority") if fields.present("authority") else None,
        signature=fields.signature(),
    )


def _order_proof(proof: OrderProof) -> dict[str, Any]:
    return {
        "device": proof.device,
        "number": proof.number,
        "issued_at": instant_text(proof.issued_at),
        "sealed_digest": proof.sealed_digest,
        "signature": octets_text(proof.signature),
    }


def _read_order_proof(fields: Fields) -> OrderProof:
    return OrderProof(
        device=_device(fields),
        number=fields.integer("number", 1),
        issued_at=fields.instant("issued_at"),
        sealed_digest=read_digest(fields, "sealed_digest"),
        signature=fields.signature(),
    )


def _device(fields: Fields) -> DeviceId:
    try:
        return parse_device_id(fields.text("device"))
    except InvalidIdentifier as error:
        raise MalformedMessage("device is no name of a device") from error
