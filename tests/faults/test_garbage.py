"""Garbage on every line into the canteen: a refusal on record, and the next pupil passes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import httpx
import pytest

from demo.broker import SERVER_NAME
from demo.canteen import Canteen
from demo.layout import STATION, TERMINAL
from demo.people import Person, Way, synthetic_people
from demo.pki import CertificateAuthority
from firmware_bridge.peripheral_client import PeripheralClient
from sync.messages import topic_down, topic_up
from sync.mqtt_transport import BrokerSettings, MqttTransport
from tests.conftest import wait_until
from tests.running_canteen import running_canteen

GARBAGE = [
    b"",
    b"\x00" * 100,
    b"{",
    b'{"v":1}',
    b'{"v":99,"entries":[]}',
    b'{"v":1,"entries":[{}]}',
    b'{"v":1,"entries":[{"header":{},"body":[],"signature":"x"}]}',
    b'{"v":1,"orders":[{"device":"terminal-1","number":1,"issued_at":"now","sealed":"","signature":""}]}',
    b"[" * 5000,
    "élève".encode("utf-16"),
    os.urandom(3000),
]


@pytest.fixture(scope="module")
def canteen() -> Iterator[Canteen]:
    people = [person for person in synthetic_people() if person.way is Way.CARD or person.key == "synthetic-1"]
    with running_canteen(people) as canteen:
        yield canteen


def passes_by_card(canteen: Canteen, person: Person) -> None:
    """The next pupil: card, green, through."""
    wait_until(lambda: canteen.display()["state"] == "idle", what="rest")
    canteen.world.present_card(person.card)
    wait_until(canteen.world.push, what=f"{person.key} to pass")
    wait_until(lambda: canteen.display()["backlog"] == 0, what="the pass in the ledger")


def transport_as(canteen: Canteen, name: str) -> MqttTransport:
    authority = CertificateAuthority(canteen.layout.pki)
    files = authority.issue(name)
    settings = BrokerSettings("127.0.0.1", canteen.ports.broker, authority.certificate, files.certificate, files.key)
    return MqttTransport(settings, f"{name}-again", lambda *_: None, lambda: None, lambda: None)


def test_garbage_in_messages_to_the_server_and_to_the_devices(canteen: Canteen) -> None:
    """With stolen certificates of a device and of the server: refused, and the next pass is recorded."""
    sender = transport_as(canteen, TERMINAL)
    server = transport_as(canteen, SERVER_NAME)
    sender.start()
    server.start()
    wait_until(lambda: sender.connected and server.connected, what="the connections")
    for payload in GARBAGE:
        for what in ("journal", "hello", "other"):
            sender.publish(topic_up(TERMINAL, what), payload)
        for device in (TERMINAL, STATION):
            for what in ("orders", "ack", "other"):
                server.publish(topic_down(device, what), payload)
    passes_by_card(canteen, canteen.people[1])

    def refused() -> int:
        return sum(row["times"] for row in canteen.billing.get("/api/state")["refused"])

    wait_until(lambda: refused() >= len(GARBAGE), what="the refusals to be counted")
    sender.stop()
    server.stop()


def test_garbage_on_the_serial_line(canteen: Canteen) -> None:
    """Noise of a motor on the RS-485 pair; then a card."""
    for count in (1, 50, 700):
        canteen.programs["peripheral"].wait_ready(lambda: canteen.world.board().online)
        PeripheralClient(canteen.layout.board_socket).garbage(count)
    passes_by_card(canteen, canteen.people[2])


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_forms_and_uploads(canteen: Canteen, body: bytes) -> None:
    """Every route that takes a body answers 4xx, and goes on answering."""
    pupil = canteen.pupils[canteen.people[0].key]
    paths = [
        (canteen.billing.base, "/api/devices"),
        (canteen.billing.base, "/api/pupils"),
        (canteen.station.base, f"/api/eleves/{pupil}/consentement"),
        (canteen.station.base, f"/api/eleves/{pupil}/carte"),
        (canteen.station.base, f"/api/eleves/{pupil}/main"),
        (canteen.station.base, f"/api/eleves/{pupil}/main/essai"),
    ]
    for base, path in paths:
        for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""):
            answer = httpx.post(
                base + path,
                content=body,
                headers={"Authorization": f"Bearer {canteen.token}", "Content-Type": kind},
                trust_env=False,
            )
            assert 400 <= answer.status_code < 500, (path, kind, answer.status_code)
            json.loads(answer.content)


@pytest.mark.parametrize(
    "image", [b"", b"\xff\xd8\xff\xe0 no image", b"\x89PNG\r\n\x1a\n" + bytes(50), os.urandom(20_000)], ids=range(4)
)
def test_an_upload_that_is_no_hand_is_a_reason_not_a_crash(canteen: Canteen, image: bytes) -> None:
    """Three of them: not enrolled, with a sentence for the person at the station."""
    pupil = canteen.pupils[canteen.people[0].key]
    answer = canteen.station.enroll(pupil, [image] * 3)
    assert not answer["enrolled"]
    assert answer["message"]


def test_an_image_that_is_no_hand_on_the_platen(canteen: Canteen) -> None:
    """A pupil lays nonsense; the lane answers, and the same pupil passes with a hand."""
    person = canteen.people[0]
    for image in (b"no image at all", os.urandom(5000)):
        wait_until(lambda: canteen.display()["state"] == "idle", what="rest")
        canteen.world.lay_image(image, "nonsense")
        canteen.world.type_code(canteen.code_of(person))
        wait_until(lambda: canteen.display()["state"] == "showing-denial", 15, "a denial")
        canteen.world.lift()
    wait_until(lambda: canteen.display()["state"] == "idle", what="rest")
    canteen.world.lay(person.probes[0], person.first_name)
    canteen.world.type_code(canteen.code_of(person))
    wait_until(canteen.world.push, 15, "the pupil to pass")
