"""A whole station in a folder, and a server's hand that writes its orders; no network, no process."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from canteen.clock import ManualClock
from canteen.credentials import PersonalCode
from canteen.identifiers import DeviceId, PupilId
from canteen.personal_code import check_digit
from enrollment_station.app import make_app
from enrollment_station.assembly import Station, assemble
from enrollment_station.configuration import load_configuration
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand
from sync.fact_bodies import read_fact
from sync.facts import Fact
from sync.messages import sign_order
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole, DevicesOrder, LeaseOrder, Order, Roster, RosterPupil
from sync.sealing import OpeningKey, SealingKey
from sync.signing import SigningKey, VerifyingKey

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
STATION = DeviceId("station-1")
ADA, ALAN, GRACE = (PupilId(f"p-00000000000000a{n}") for n in range(3))
NAMES = {ADA: ("Philippine", "Desrosiers"), ALAN: ("Apolline", "Kervella"), GRACE: ("Ysoline", "Échenoz")}
CODES = {
    pupil: PersonalCode(digits + check_digit(digits))
    for pupil, digits in zip(NAMES, ("4072931", "5518260", "6640973"), strict=True)
}


@cache
def placement(identity: int, sample: int) -> bytes:
    """A synthetic placement as JPEG."""
    return encode_jpeg(synthetic_hand(identity, sample))


def placements(identity: int) -> list[bytes]:
    return [placement(identity, sample) for sample in range(3)]


@dataclass
class Terminal:
    """A terminal's keys."""

    name: DeviceId
    signing_key: SigningKey = field(default_factory=lambda: SigningKey(secrets.token_bytes(32)))
    opening_key: OpeningKey = field(default_factory=lambda: OpeningKey(secrets.token_bytes(32)))

    @property
    def entry(self) -> DeviceEntry:
        return DeviceEntry(self.name, DeviceRole.TERMINAL, self.signing_key.verifying_key, self.opening_key.sealing_key)


class PowerCut(BaseException):
    """Raised in place of a write: whatever was to follow it did not happen."""


def power_cut(*_: object) -> None:
    """Stands in for the step at which the power goes."""
    raise PowerCut


class Client:
    """A browser without a network: calls the application itself. Keeps cookies, follows no redirects."""

    def __init__(self, app: FastAPI, headers: dict[str, str] | None = None) -> None:
        transport = httpx.ASGITransport(app)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://station", headers=headers)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._http.get(path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._http.post(path, **more))


class Bench:
    """The station under test. `restart` closes and opens it again, as a supervisor would."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.server = SigningKey(secrets.token_bytes(32))
        self.server_seal = OpeningKey(secrets.token_bytes(32))
        self.clock = ManualClock(NOON)
        self.configuration = folder / "station.toml"
        self.configuration.write_text(toml(self.server.verifying_key, self.server_seal.sealing_key, port))
        self._number = 0
        self.open()
        self.token = self.station.operators.add("Mme Delmas")

    def open(self) -> None:
        self.station: Station = assemble(load_configuration(self.configuration), self.clock)
        self.station.applier.begin()
        self.client = Client(make_app(self.station))

    def close(self) -> None:
        self.station.close()

    def restart(self) -> None:
        self.close()
        self.open()

    # The server's side

    def put_orders(self, *orders: Order, server: SigningKey | None = None) -> list[int]:
        """Leaves orders in the box as sync does; their numbers."""
        seal = OpeningKey.load_or_create(self.folder / "sealing.key").sealing_key
        box = OrderBox(self.folder / "orders.sqlite")
        numbers = []
        for order in orders:
            self._number += 1
            numbers.append(self._number)
            box.put([sign_order(order, STATION, self._number, self.clock.utc_now(), seal, server or self.server)])
        box.note_contact(self.clock.utc_now(), self.clock.utc_now())
        box.close()
        return numbers

    def apply(self, *orders: Order) -> list[Fact]:
        """Leaves orders and has them carried out; the facts that came of it."""
        before = self.station.journal.last_sequence
        self.put_orders(*orders)
        while self.station.applier.apply_next():
            pass
        return self.facts(before)

    def fill(self, *terminals: Terminal) -> None:
        """A roster of three pupils, a lease, and these terminals in the directory."""
        self.apply(roster(), LeaseOrder(self.clock.utc_now() + timedelta(days=7)), directory(*terminals))

    def facts(self, after: int = 0) -> list[Fact]:
        """What stands in the journal after that sequence."""
        return [read_fact(entry.kind, entry.body) for entry in self.station.journal.entries_after(after, 10_000)]

    # The operator's side

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body, headers=self.bearer)

    def consent(self, pupil: PupilId, state: str = "given", **more: str) -> httpx.Response:
        body = {"state": state, "notice_version": "2026-09", "given_by": "legal-representative", **more}
        return self.post(f"/api/eleves/{pupil}/consentement", body)

    def enroll(self, pupil: PupilId, images: Sequence[bytes]) -> httpx.Response:
        files = [("placement", (f"{n}.jpg", image, "image/jpeg")) for n, image in enumerate(images)]
        return self.client.post(f"/api/eleves/{pupil}/main", files=files, headers=self.bearer)

    def try_placement(self, pupil: PupilId, image: bytes) -> httpx.Response:
        files = [("placement", ("1.jpg", image, "image/jpeg"))]
        return self.client.post(f"/api/eleves/{pupil}/main/essai", files=files, headers=self.bearer)


def roster(*pupils: PupilId, whole: bool = True) -> Roster:
    return Roster(
        tuple(
            RosterPupil(pupil, *NAMES[pupil], class_name="6e Marronniers", code=CODES[pupil], entitlements=())
            for pupil in pupils or NAMES
        ),
        whole,
    )


def directory(*terminals: Terminal) -> DevicesOrder:
    return DevicesOrder(tuple(terminal.entry for terminal in terminals))


def toml(server: VerifyingKey, server_seal: SealingKey, port: int = 0) -> str:
    """A configuration whose files are beside it."""

    def text(octets: bytes) -> str:
        return base64.b64encode(octets).decode()

    return f"""\
device = "{STATION}"
language = "fr"
[storage]
journal = "journal.sqlite"
orders = "orders.sqlite"
store = "store.sqlite"
store_key = "store.key"
signing_key = "signing.key"
sealing_key = "sealing.key"
operators = "operators.json"
audit = "audit.sqlite"
[trust]
server_signing_key = "{text(server.octets)}"
server_sealing_key = "{text(server_seal.octets)}"
[web]
host = "127.0.0.1"
port = {port}
[hand]
platen = "dark"
"""
