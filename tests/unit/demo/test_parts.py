"""The demonstration's own parts: certificates, the cable with its switch, ports, and people of a folder."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from demo.errors import HandsFolderRefused, PortInUse
from demo.layout import Ports
from demo.main import main
from demo.network_switch import NetworkSwitch
from demo.people import Way, people_of_folder, synthetic_people
from demo.pki import CertificateAuthority
from sync.errors import TransportLost
from sync.mqtt_transport import BrokerSettings, MqttTransport
from tests.conftest import RunningBroker, free_port, wait_until


def test_certificates_are_made_once_and_kept(tmp_path: Path) -> None:
    """A second start uses the same ones; keys are 0600."""
    first = CertificateAuthority(tmp_path / "pki").issue("terminal-1")
    before = first.certificate.read_bytes()
    again = CertificateAuthority(tmp_path / "pki").issue("terminal-1")
    assert before == again.certificate.read_bytes()
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (tmp_path / "pki").glob("*.key")}


def test_the_broker_wants_a_certificate_of_this_school(broker: RunningBroker, tmp_path: Path) -> None:
    """A certificate of another authority does not get in; ours does."""
    foreign = CertificateAuthority(tmp_path / "foreign").issue("terminal-1")
    strange = BrokerSettings("127.0.0.1", broker.port, broker.authority.certificate, foreign.certificate, foreign.key)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        _handshake(strange)
    ours = broker.settings("terminal-1")
    transport = MqttTransport(ours, "terminal-1", lambda *_: None, lambda: None, lambda: None)
    transport.start()
    wait_until(lambda: transport.connected, what="our own certificate to be let in")
    transport.stop()


def _handshake(settings: BrokerSettings) -> None:
    context = ssl.create_default_context(cafile=str(settings.ca))
    context.load_cert_chain(str(settings.certificate), str(settings.key))
    with (
        socket.create_connection((settings.host, settings.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        wrapped.sendall(b"\x10\x00")
        while wrapped.recv(1):
            pass  # with TLS 1.3 the refusal of our certificate comes with the first bytes read


def test_a_device_cannot_write_below_another_ones_name(broker: RunningBroker) -> None:
    """The broker's list: terminal-2 may speak, but not as terminal-1."""
    heard: list[str] = []
    server = MqttTransport(
        broker.server_settings, "billing", lambda topic, _: heard.append(topic), lambda: None, lambda: None
    )
    server.subscribe("canteen/+/up/#")
    device = MqttTransport(broker.settings("terminal-2"), "terminal-2", lambda *_: None, lambda: None, lambda: None)
    server.start()
    device.start()
    wait_until(lambda: server.connected and device.connected, what="both")

    def said() -> bool:
        # The broker may drop a device that oversteps, at any moment; it comes back and says it again.
        with suppress(TransportLost):
            device.publish("canteen/terminal-1/up/journal", b"{}")
            device.publish("canteen/terminal-2/up/journal", b"{}")
        return bool(heard)

    wait_until(said, what="the message")
    assert {"canteen/terminal-2/up/journal"} == set(heard)
    device.stop()
    server.stop()


def test_the_switch_cuts_and_restores() -> None:
    """Connected ones are dropped, new ones refused, and later ones let through."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        switch = NetworkSwitch(target.getsockname()[1])
        switch.start()
        near = socket.create_connection(("127.0.0.1", switch.port))
        far, _ = target.accept()
        near.sendall(b"hello")
        assert far.recv(5) == b"hello"
        switch.cut()
        assert near.recv(1) == b""
        assert far.recv(1) == b""
        with socket.create_connection(("127.0.0.1", switch.port)) as refused:
            refused.settimeout(2)
            assert _ended(refused)
        switch.restore()
        with socket.create_connection(("127.0.0.1", switch.port)) as again:
            other, _ = target.accept()
            other.sendall(b"back")
            assert again.recv(4) == b"back"
            other.close()
        near.close()
        far.close()
        switch.stop()


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_port_in_use_is_said_with_a_way_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The sentence names the port and what to type; the exit code is 2; nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse):
            Ports(port, free_port(), free_port(), free_port(), free_port()).check_free()
        assert main(["--port", str(port), "--folder", str(tmp_path / "demo")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert str(port) in said
    assert "make demo PORT=" in said


def test_cleaning_touches_only_a_demonstration(tmp_path: Path) -> None:
    """A folder that is none stays as it is."""
    other = tmp_path / "photos"
    other.mkdir()
    assert main(["--clean", "--folder", str(other)]) == 0
    assert other.exists()
    CertificateAuthority(tmp_path / "demo" / "pki")
    assert main(["--clean", "--folder", str(tmp_path / "demo")]) == 0
    assert not (tmp_path / "demo").exists()


def test_the_invented_pupils_show_every_way() -> None:
    """Hand, card and undecided, each with images that were not used to enrol, and cards of their own."""
    people = synthetic_people()
    assert {Way.HAND, Way.CARD, Way.UNDECIDED} == {person.way for person in people}
    assert all(person.probes for person in people)
    assert len(people) == len({person.card for person in people})


@pytest.mark.parametrize(
    "index", [None, "", "name\nx\n", "file,subject\na.png,1\nb.png,1\n", "file,subject\na.png,1\na.png,1\na.png,1\n"]
)
def test_a_folder_without_people_is_a_clear_error(tmp_path: Path, index: str | None) -> None:
    """No index, wrong columns, too few images, files that are not there."""
    if index is not None:
        (tmp_path / "index.csv").write_text(index)
    with pytest.raises(HandsFolderRefused):
        people_of_folder(tmp_path)


def test_people_of_a_folder(tmp_path: Path) -> None:
    """Those with three images are enrolled; what is more can be laid."""
    rows = ["file,subject,sample"]
    for subject, count in (("001", 4), ("002", 2), ("003", 3)):
        for sample in range(count):
            name = f"{subject}_{sample}.png"
            (tmp_path / name).write_bytes(b"image")
            rows.append(f"{name},{subject},{sample}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    people = people_of_folder(tmp_path)
    assert [("001", 1), ("003", 0)] == [(person.last_name, len(person.probes)) for person in people]
    assert people[0].hands[0].encoded() == b"image"
