"""Devices: let in by a one-time code, renewed by their own signature, sent away; a real broker refuses who was."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.errors import CannotServe
from billing_server.models import Audit, Device, Holding, OrderRow, Purge, PurgeHolder, Refusal
from billing_server.signed_statement import StatementPurpose, sign_statement
from canteen.clock import ManualClock, SystemClock
from canteen.identifiers import DeviceId
from demo.processes import leashed
from sync.encoding import canonical, octets_text
from sync.errors import BadSignature
from sync.orders import DeviceRole, DevicesOrder, PurgeCause, PurgeOrder, PurgeScope, ReferenceOrder
from sync.provisioning import ProvisionRequest, code_key, read_answer, renewal_statement
from tests.conftest import free_port, listening, wait_until
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, SqliteFiles, denied

pytest_plugins = ("tests.unit.billing_server.databases",)


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "whoever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


class NewDevice:
    """A device that has made its keys and knows nothing else."""

    def __init__(self, clock: ManualClock, name: str) -> None:
        self.signed = SignedDevice(DeviceId(name), DeviceRole.TERMINAL, clock)
        self.tls = ec.generate_private_key(ec.SECP256R1())

        self.request = request_of(self.tls)

    def asking(self, request: str | None = None) -> ProvisionRequest:
        signing, opening = self.signed.signing, self.signed.opening
        return ProvisionRequest(
            "terminal", signing.verifying_key, opening.sealing_key, self.request if request is None else request
        )

    def body(self, code: str, request: str | None = None) -> dict[str, Any]:
        return self.asking(request).write(code_key(code))


@pytest.fixture
def office(bench: LedgerBench) -> Iterator[TestClient]:
    token = bench.services.operators.add("Mme Roux")
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


@pytest.fixture
def anybody(bench: LedgerBench) -> Iterator[TestClient]:
    with TestClient(make_app(bench.services)) as client:
        yield client


def code_for(bench: LedgerBench, name: str) -> str:
    with bench.services.database.writing() as session:
        desk = bench.services.provisioning
        assert desk is not None
        return desk.make_code(session, DeviceId(name), DeviceRole.TERMINAL, "Mme Roux")


def revoke(bench: LedgerBench, name: str) -> None:
    with bench.services.database.writing() as session:
        assert bench.services.provisioning is not None
        bench.services.provisioning.revoke(session, name)


def provisioned(bench: LedgerBench, client: TestClient, name: str) -> tuple[NewDevice, Any]:
    new = NewDevice(bench.clock, name)
    answer = client.post("/api/provision", json=new.body(code_for(bench, name)))
    assert 200 == answer.status_code, answer.text
    return new, answer.json()


def test_a_code_lets_one_device_in_and_tells_it_everything(bench: LedgerBench, anybody: TestClient) -> None:
    """A certificate in the device's own name, whatever the request said; then orders, as any device."""
    new, told = provisioned(bench, anybody, "terminal-3")
    certificate = x509.load_pem_x509_certificate(told["certificate"].encode())
    authority = x509.load_pem_x509_certificate(told["authority"].encode())
    certificate.verify_directly_issued_by(authority)
    assert "CN=terminal-3" == certificate.subject.rfc4514_string()
    assert new.tls.public_key() == certificate.public_key()
    assert ("terminal-3", "terminal") == (told["device"], told["role"])
    bench.answer_all(new.signed)
    assert 4 == new.signed.orders_done
    assert (bench.folder / "authority.key").stat().st_mode & 0o777 == 0o600


def test_neither_end_believes_who_does_not_know_the_code(bench: LedgerBench, anybody: TestClient) -> None:
    """The code does not travel: a listener has nothing to ask with, and cannot answer in the server's place."""
    code = code_for(bench, "terminal-3")
    new, thief = NewDevice(bench.clock, "terminal-3"), NewDevice(bench.clock, "terminal-3")
    heard = new.body(code)
    assert code.replace("-", "") not in str(heard)
    assert (
        403
        == anybody.post("/api/provision", json={**thief.body("AAAA-BBBB-CCCC"), "proof": heard["proof"]}).status_code
    )
    told = anybody.post("/api/provision", json=heard).json()
    answer = read_answer(told, code_key(code), new.asking().digest)
    assert ("terminal-3", "terminal", bench.services.signing_key.verifying_key) == (
        answer.device,
        answer.role,
        answer.server_signing_key,
    )
    forged = {**told, "server_signing_key": octets_text(thief.signed.signing.verifying_key.octets)}
    for untrusted, key, digest in (
        (forged, code_key(code), new.asking().digest),
        (told, code_key("AAAA-BBBB-CCCC"), new.asking().digest),
        (told, code_key(code), thief.asking().digest),
    ):
        with pytest.raises(BadSignature):
            read_answer(untrusted, key, digest)


def test_a_request_on_a_stick_is_answered_as_on_the_network(bench: LedgerBench, office: TestClient) -> None:
    """The page says how, and takes the file."""
    shown = office.post("/appareils/code", data={"device": "terminal-3", "role": "terminal"}).text
    code = re.search(r"[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}", shown)
    assert code is not None
    assert "canteen-terminal provision --server" in shown
    new = NewDevice(bench.clock, "terminal-3")
    file = canonical(new.body(code.group()))
    answered = office.post("/appareils/demande", files={"fichier": ("demande.json", file)})
    answer = read_answer(answered.json(), code_key(code.group()), new.asking().digest)
    assert "terminal-3" == answer.device
    assert 422 == office.post("/appareils/demande", files={"fichier": ("x", b"garbage")}).status_code


def test_a_code_works_once(bench: LedgerBench, anybody: TestClient) -> None:
    """For another: never again. For the same device, whose answer was lost: again."""
    code = code_for(bench, "terminal-3")
    new, other = NewDevice(bench.clock, "terminal-3"), NewDevice(bench.clock, "terminal-3")
    assert 200 == anybody.post("/api/provision", json=new.body(code.lower().replace("-", " "))).status_code
    assert 403 == anybody.post("/api/provision", json=other.body(code)).status_code
    bench.clock.advance(60)
    assert 200 == anybody.post("/api/provision", json=new.body(code)).status_code
    revoke(bench, "terminal-3")
    bench.clock.advance(60)
    assert 403 == anybody.post("/api/provision", json=new.body(code)).status_code


def test_a_code_for_the_other_role_lets_nobody_in(bench: LedgerBench, anybody: TestClient) -> None:
    """And stays good for the device it was made for: no name is given away to a device that would refuse it."""
    code = code_for(bench, "terminal-3")
    new = NewDevice(bench.clock, "terminal-3")
    station = replace(new.asking(), role="station").write(code_key(code))
    refused = anybody.post("/api/provision", json=station)
    assert (403, "code-other-role") == (refused.status_code, refused.json()["error"])
    assert 200 == anybody.post("/api/provision", json=new.body(code)).status_code


def test_codes_grow_old_and_cannot_be_tried_by_the_thousand(bench: LedgerBench, anybody: TestClient) -> None:
    new, code = NewDevice(bench.clock, "terminal-3"), code_for(bench, "terminal-3")
    answers = [anybody.post("/api/provision", json=new.body("AAAA-BBBB-CCCC")).status_code for _ in range(6)]
    assert [403, 403, 429, 429, 429, 429] == answers
    bench.clock.advance(86_400)
    assert 403 == anybody.post("/api/provision", json=new.body(code)).status_code


def test_a_name_never_gets_other_keys(bench: LedgerBench, office: TestClient, anybody: TestClient) -> None:
    """What its first keys have signed must stay checkable; the same keys may come back after a revocation."""
    new, _ = provisioned(bench, anybody, "terminal-3")
    form = {"device": "terminal-3", "role": "terminal"}
    assert 409 == office.post("/appareils/code", data=form).status_code
    revoke(bench, "terminal-3")
    code = code_for(bench, "terminal-3")
    bench.clock.advance(60)
    other = NewDevice(bench.clock, "terminal-3")
    assert 409 == anybody.post("/api/provision", json=other.body(code)).status_code
    assert 200 == anybody.post("/api/provision", json=new.body(code)).status_code
    with bench.services.database.reading() as session:
        assert session.get_one(Device, "terminal-3").revoked_at is None


@pytest.mark.parametrize("request_text", ["", "noise", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "rsa"])
def test_a_request_that_is_none_lets_nobody_in(bench: LedgerBench, anybody: TestClient, request_text: str) -> None:
    """And leaves the code good."""
    code, new = code_for(bench, "terminal-3"), NewDevice(bench.clock, "terminal-3")
    if request_text == "rsa":
        request_text = request_of(rsa.generate_private_key(65537, 2048))
    assert 422 == anybody.post("/api/provision", json=new.body(code, request_text)).status_code
    with bench.services.database.reading() as session:
        assert session.get(Device, "terminal-3") is None
    assert 200 == anybody.post("/api/provision", json=new.body(code)).status_code


def test_a_device_renews_its_certificate_by_itself(bench: LedgerBench, anybody: TestClient) -> None:
    """By its journal key; with another's, or once revoked: no."""
    new, _ = provisioned(bench, anybody, "terminal-3")
    request = request_of(ec.generate_private_key(ec.SECP256R1()))
    signature = sign_statement(new.signed.signing, StatementPurpose.RENEWAL, renewal_statement("terminal-3", request))
    body = {"device": "terminal-3", "certificate_request": request, "signature": octets_text(signature)}
    assert "BEGIN CERTIFICATE" in anybody.post("/api/renew", json=body).json()["certificate"]
    bench.clock.advance(60)
    assert 403 == anybody.post("/api/renew", json={**body, "signature": octets_text(bytes(64))}).status_code
    revoke(bench, "terminal-3")
    assert 403 == anybody.post("/api/renew", json=body).status_code


def test_one_click_sends_a_device_away(bench: LedgerBench, office: TestClient) -> None:
    """No more orders, nothing of it accepted, others no longer believe it; what it had sent stays."""
    thief, other = bench.device("terminal-1"), bench.device("terminal-2")
    bench.send(thief, thief.note(denied()))
    bench.answer_all(other)
    assert "terminal-1" in office.get("/appareils/terminal-1/revoquer").text
    assert "Révoqué le" in office.post("/appareils/terminal-1/revoquer").text
    with bench.services.database.reading() as session:
        before = session.get_one(Device, "terminal-1").last_order
    bench.pupil()
    assert [] == bench.send(thief, thief.note(denied()))
    assert [] == bench.hello(thief, 0)
    bench.services.housekeeping.round()
    directories = [order for _, order in bench.orders(other) if isinstance(order, DevicesOrder)]
    assert [["terminal-2"]] == [[entry.device for entry in order.devices] for order in directories]
    with bench.services.database.reading() as session:
        assert before == session.get_one(Device, "terminal-1").last_order
        assert ["revoked"] == list(session.scalars(select(Refusal.why)))
        assert "revoked-device" in set(session.scalars(select(Audit.action)))
    assert 404 == office.post("/appareils/none/revoquer").status_code


def test_what_a_revoked_device_holds_is_on_the_record_of_a_purge(bench: LedgerBench) -> None:
    """It gets no order; its lease ends it, and the purge does not count as complete before."""
    terminal, pupil = bench.device("terminal-1"), bench.pupil()
    with bench.services.database.writing() as session:
        session.add(Holding(device="terminal-1", pupil=pupil, revision=1, since=bench.clock.utc_now()))
    revoke(bench, terminal.name)
    with bench.services.database.writing() as session:
        purge = bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    with bench.services.database.reading() as session:
        holder = session.scalars(select(PurgeHolder).where(PurgeHolder.purge == purge)).one()
        assert ("terminal-1", 0, True) == (holder.device, holder.order_number, holder.held_reference)


def test_a_device_that_is_let_in_again_hears_of_purges_meanwhile(bench: LedgerBench, anybody: TestClient) -> None:
    """Its lease begins anew, so that nothing else would end what it holds of them."""
    new, _ = provisioned(bench, anybody, "terminal-3")
    device, pupil = new.signed, bench.pupil()
    bench.answer_all(device)
    with bench.services.database.writing() as session:
        session.add(Holding(device=device.name, pupil=pupil, revision=1, since=bench.clock.utc_now()))
    revoke(bench, device.name)
    with bench.services.database.writing() as session:
        bench.services.purges.start(session, pupil, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, "Mme Roux")
    bench.clock.advance(60)
    assert 200 == anybody.post("/api/provision", json=new.body(code_for(bench, device.name))).status_code
    asked = [order.pupil for order in bench.answer_all(device) if isinstance(order, PurgeOrder)]
    assert [pupil] == asked
    with bench.services.database.reading() as session:
        assert session.scalars(select(Purge)).one().completed_at is not None
        assert session.get(Holding, (device.name, pupil)) is None


def test_a_reference_applied_without_a_word_before_revocation_is_asked_back(
    bench: LedgerBench, anybody: TestClient
) -> None:
    """The answer never came; the lease would have ended it, had the device not been let in again."""
    new, _ = provisioned(bench, anybody, "terminal-3")
    device, pupil = new.signed, bench.pupil()
    bench.answer_all(device)
    with bench.services.database.writing() as session:
        row = session.get_one(Device, device.name)
        order = ReferenceOrder(pupil, DeviceId("station-1"), 1, b"sealed")
        bench.services.purges.orders.issue(session, row, order)
    revoke(bench, device.name)
    with bench.services.database.writing() as session:
        bench.services.purges.start(session, pupil, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, "Mme Roux")
    bench.clock.advance(60)
    assert 200 == anybody.post("/api/provision", json=new.body(code_for(bench, device.name))).status_code
    assert [pupil] == [order.pupil for order in bench.answer_all(device) if isinstance(order, PurgeOrder)]
    with bench.services.database.reading() as session:
        assert session.scalars(select(Purge)).one().completed_at is not None


def test_a_device_gone_for_longer_than_a_lease_is_not_waited_for(bench: LedgerBench) -> None:
    """What it was on the way to have got has ended with its lease: no purge stays open for a broken terminal's sake."""
    bench.device("terminal-1")
    pupil = bench.pupil()
    with bench.services.database.writing() as session:
        order = ReferenceOrder(pupil, DeviceId("station-1"), 1, b"sealed")
        bench.services.purges.orders.issue(session, session.get_one(Device, "terminal-1"), order)
    revoke(bench, "terminal-1")
    bench.clock.advance(7 * 86_400)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    with bench.services.database.reading() as session:
        assert session.scalars(select(Purge)).one().completed_at is not None


def test_the_page_says_who_does_not_know_of_a_blocked_card(bench: LedgerBench, office: TestClient) -> None:
    """Until the terminal has answered the order."""
    terminal, station = bench.device("terminal-1"), bench.device("station-1", DeviceRole.STATION)
    card_pupil = bench.pupil()
    bench.card_issued(station, card_pupil)
    bench.send(station)
    bench.answer_all(terminal)
    bench.answer_all(station)
    with bench.services.database.writing() as session:
        bench.services.cards.block(session, 1)
    shown = office.get("/appareils").text
    assert "n’est pas encore connue de : terminal-1, station-1" in shown
    assert "1 × carte bloquée" in shown
    bench.answer_all(terminal)
    assert "n’est pas encore connue de : station-1<" in office.get("/appareils").text
    bench.answer_all(station)
    assert "pas encore connue" not in office.get("/appareils").text
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(OrderRow.number).where(OrderRow.answered_at.is_(None))))


def test_an_authority_whose_files_do_not_match_is_refused(small_bench: LedgerBench) -> None:
    desk = small_bench.services.provisioning
    assert desk is not None
    desk.authority.certificate_pem()
    (small_bench.folder / "authority.key").chmod(0o644)
    small_bench.restart()
    desk = small_bench.services.provisioning
    assert desk is not None
    with pytest.raises(CannotServe, match="600"):
        desk.authority.certificate_pem()


def test_a_real_broker_lets_in_who_was_let_in_and_refuses_who_was_sent_away(tmp_path: Path) -> None:
    """Mosquitto with our authority and our list: TLS itself refuses the revoked one after a reload."""
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if mosquitto is None:
        pytest.skip("Mosquitto is not installed")
    folder = tmp_path / "server"
    folder.mkdir()
    bench = LedgerBench(folder, SqliteFiles(folder).fresh(), ManualClock(SystemClock().utc_now()))
    assert bench.services.provisioning is not None
    authority = bench.services.provisioning.authority
    broker_key = ec.generate_private_key(ec.SECP256R1())
    port = free_port()
    with TestClient(make_app(bench.services)) as client:
        told = {name: provisioned(bench, client, name) for name in ("terminal-1", "terminal-2")}
    (tmp_path / "ca.pem").write_text(authority.certificate_pem())
    (tmp_path / "broker.pem").write_text(authority.issue("broker", request_of(broker_key)).pem)
    _write_key(tmp_path / "broker.key", broker_key)
    for name, (new, answer) in told.items():
        (tmp_path / f"{name}.pem").write_text(answer["certificate"])
        _write_key(tmp_path / f"{name}.key", new.tls)
    with bench.services.database.reading() as session:
        bench.services.provisioning.write_revoked(session)
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\ncafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\n"
        f"keyfile {tmp_path}/broker.key\ncrlfile {folder}/revoked.pem\nrequire_certificate true\n"
        "use_identity_as_username true\nallow_anonymous false\nuser root\n"
    )

    def allowed(name: str) -> bool:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our authority signs for clients
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        import socket

        try:
            with socket.create_connection(("127.0.0.1", port), 3) as plain, context.wrap_socket(plain) as wrapped:
                wrapped.settimeout(3)
                wrapped.sendall(bytes.fromhex("100d00044d5154540402003c000178"))  # CONNECT, MQTT 3.1.1, client id "x"
                return wrapped.recv(4) == bytes.fromhex("20020000")
        except (ssl.SSLError, ConnectionError):
            return False

    def with_broker() -> dict[str, bool]:
        with subprocess.Popen(
            leashed([mosquitto or "", "-c", str(tmp_path / "mosquitto.conf")]), stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until(lambda: listening(port), what="the broker")
                return {name: allowed(name) for name in told}
            finally:
                process.terminate()

    assert {"terminal-1": True, "terminal-2": True} == with_broker()
    revoke(bench, "terminal-1")
    assert {"terminal-1": False, "terminal-2": True} == with_broker()
    bench.close()


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
