"""A terminal's folder with keys, configuration and pupils, made in the ways of a school: signed orders in its box."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.child import Child
from benchmarks.hands import BenchHand
from canteen.access_decision import MissingEntitlement
from canteen.consent import Consent, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.identifiers import DeviceId, PupilId
from canteen.personal_code import personal_codes
from canteen.private_file import create_private_file
from canteen.serving_periods import EVERY_DAY, ServingCalendar, ServingPeriod
from firmware_bridge.channel_key import create_channel_key
from hand_geometry.reference_codec import encode_reference
from sync.encoding import octets_text
from sync.messages import sign_order
from sync.order_box import OrderBox
from sync.orders import (
    CalendarOrder,
    CardAssigned,
    DeviceEntry,
    DeviceRole,
    DevicesOrder,
    LeaseOrder,
    Order,
    ReferenceOrder,
    Roster,
    RosterPupil,
)
from sync.sealed_reference import ReferenceGrant, seal_reference
from sync.sealing import OpeningKey
from sync.signing import SigningKey

TERMINAL, STATION = DeviceId("terminal-1"), DeviceId("station-1")
ADDRESS = 101
CODE_LENGTH = 4
PASSES_MOST = 400
"""Of each kind: there are a thousand codes of four digits with their check digit."""
_KEY_BYTES = 32
_ALWAYS_OPEN = ServingCalendar("Europe/Paris", (ServingPeriod("midi", EVERY_DAY, 0, 24 * 60),))


@dataclass(frozen=True, slots=True)
class BenchPupil:
    """One who passes once: by code and hand, or by card. Nobody passes twice, for anti-passback is on."""

    code: str = field(repr=False)
    hand: BenchHand | None = field(default=None, repr=False)
    card: CardNumber | None = field(default=None, repr=False)


class BenchTerminal:
    """The files of one terminal, and its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.display_port = _free_port()
        self.camera_socket, self.world_socket = folder / "camera.sock", folder / "world.sock"
        self.board_line, self.channel_key = folder / "board.tty", folder / "channel.key"
        self._server_key = SigningKey(secrets.token_bytes(_KEY_BYTES))
        self._opening_key = OpeningKey.load_or_create(folder / "sealing.key")
        create_channel_key(self.channel_key)
        (folder / "terminal.toml").write_text(self._terminal_configuration(), encoding="utf-8")
        _write_certificate(folder)
        (folder / "sync.toml").write_text(self._sync_configuration(), encoding="utf-8")

    def start_terminal(self) -> Child:
        return self._start("terminal.main", "--config", str(self.folder / "terminal.toml"))

    def start_sync(self) -> Child:
        return self._start("sync.main", "--config", str(self.folder / "sync.toml"))

    def start_peripheral(self) -> Child:
        return self._start(
            "firmware_bridge.simulated_peripheral",
            *("--serial", str(self.board_line), "--control", str(self.world_socket)),
            *("--key-file", str(self.channel_key), "--address", str(ADDRESS)),
        )

    def order_pupils(self, hands: list[BenchHand], passes: int) -> tuple[list[BenchPupil], list[BenchPupil]]:
        """Leave in the order box `passes` pupils with a hand and as many with a card; who they are."""
        codes = islice(personal_codes(CODE_LENGTH), 2 * passes)
        by_hand = [BenchPupil(next(codes), hand=hands[at % len(hands)]) for at in range(passes)]
        by_card = [BenchPupil(next(codes), card=CardNumber(f"04{at + 1:012X}")) for at in range(passes)]
        now = datetime.now(UTC)
        with closing(self.order_box()) as box:
            box.put(
                [
                    sign_order(order, TERMINAL, number, now, self._opening_key.sealing_key, self._server_key)
                    for number, order in enumerate(self._orders(by_hand, by_card, now), start=1)
                ]
            )
        return by_hand, by_card

    def order_box(self) -> OrderBox:
        """The box the terminal takes its orders from; the caller closes it."""
        return OrderBox(self.folder / "orders.sqlite")

    def _orders(self, by_hand: list[BenchPupil], by_card: list[BenchPupil], now: datetime) -> Iterator[Order]:
        station_key = SigningKey(secrets.token_bytes(_KEY_BYTES))
        station_seal = OpeningKey(secrets.token_bytes(_KEY_BYTES)).sealing_key
        today = now.date()
        forfait = Entitlement(
            EntitlementKind.FORFAIT_5_DAYS, EVERY_DAY, today - timedelta(days=60), today + timedelta(days=300)
        )
        pupils = [*by_hand, *by_card]
        yield CalendarOrder("Banc d'essai", _ALWAYS_OPEN, MissingEntitlement.DENY, CODE_LENGTH)
        yield DevicesOrder((DeviceEntry(STATION, DeviceRole.STATION, station_key.verifying_key, station_seal),))
        yield Roster(
            tuple(
                RosterPupil(_pupil_id(at), f"Élève {at}", "", "6e A", PersonalCode(pupil.code), (forfait,))
                for at, pupil in enumerate(pupils)
            ),
            whole=True,
        )
        yield LeaseOrder(now + timedelta(days=7))
        consent = Consent("2026-1", GivenBy.LEGAL_REPRESENTATIVE, now)
        for at, pupil in enumerate(pupils):
            if pupil.card is not None:
                yield CardAssigned(_pupil_id(at), pupil.card)
            if pupil.hand is not None:
                grant = ReferenceGrant(_pupil_id(at), 1, now, consent, encode_reference(pupil.hand.reference))
                sealed = seal_reference(grant, STATION, TERMINAL, station_key, self._opening_key.sealing_key)
                yield ReferenceOrder(_pupil_id(at), STATION, 1, sealed)

    def _start(self, module: str, *arguments: str) -> Child:
        return Child(module, list(arguments), self.folder / f"{module.replace('.', '-')}.log")

    def _terminal_configuration(self) -> str:
        return f"""\
device = "{TERMINAL}"
production = false

[storage]
journal = "journal.sqlite"
orders = "orders.sqlite"
store = "store.sqlite"
store_key = "store.key"
signing_key = "signing.key"
sealing_key = "sealing.key"

[trust]
server_signing_key = "{octets_text(self._server_key.verifying_key.octets)}"

[board]
serial = "{self.board_line}"
address = {ADDRESS}
channel_key = "{self.channel_key}"

[camera]
kind = "simulated"
path = "{self.camera_socket}"

[display]
port = {self.display_port}
"""

    def _sync_configuration(self) -> str:
        """For a broker that is not there."""
        return f"""\
device = "{TERMINAL}"

[storage]
journal = "{self.folder / "journal.sqlite"}"
orders = "{self.folder / "orders.sqlite"}"

[trust]
server_signing_key = "{octets_text(self._server_key.verifying_key.octets)}"

[broker]
host = "127.0.0.1"
port = {_free_port()}
ca = "{self.folder / "sync.pem"}"
certificate = "{self.folder / "sync.pem"}"
key = "{self.folder / "tls.key"}"
"""


def _pupil_id(at: int) -> PupilId:
    return PupilId(f"p-{at + 1:016x}")


def _free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _write_certificate(folder: Path) -> None:
    """A certificate of its own for sync: nobody will ask to see it, but the file has to be one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, TERMINAL)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    create_private_file(
        folder / "tls.key",
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    (folder / "sync.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
