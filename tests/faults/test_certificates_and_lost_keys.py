"""Certificates that run out, an authority that is lost, a server that burns: each way back, with a real broker."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from billing_server.assembly import Services, assemble
from billing_server.authority import Authority
from billing_server.backup import restore_backup, write_backup
from billing_server.broker_files import write_broker_files
from billing_server.configuration import AuthoritySettings, BrokerAddress, KeyFiles, Policy, Settings
from billing_server.errors import CannotServe
from billing_server.models import EnrollmentCode
from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId
from demo.broker import find_mosquitto, start_broker
from sync.agent import SyncAgent
from sync.mqtt_transport import BrokerSettings, MqttTransport
from sync.order_box import OrderBox
from sync.orders import DeviceRole
from sync.pass_journal import PassJournal
from sync.provisioning import ProvisionRequest, read_request
from sync.renewal import Renewal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from sync.tls_files import TlsFiles
from tests.conftest import free_port, listening, wait_until
from tests.unit.billing_server.ledger_bench import SqliteFiles, denied

pytest_plugins = ("tests.unit.billing_server.databases",)

SHORT = timedelta(seconds=9)


class Device:
    """A device let in by a code, with its own sync."""

    def __init__(self, folder: Path, name: str, server: Services, port: int) -> None:
        self.name, self.folder = DeviceId(name), folder / name
        self.folder.mkdir(exist_ok=True)
        self.files = TlsFiles(self.folder / "ca.pem", self.folder / "tls.pem", self.folder / "tls.key")
        self.signing = SigningKey.load_or_create(self.folder / "signing")
        opening = OpeningKey.load_or_create(self.folder / "opening")
        desk = server.provisioning
        assert desk is not None
        with server.database.writing() as session:
            desk.make_code(session, self.name, DeviceRole.TERMINAL, "Mme Roux")
            request = ProvisionRequest(
                "terminal", self.signing.verifying_key, opening.sealing_key, self.files.request()
            )
            key = bytes.fromhex(session.query(EnrollmentCode).filter_by(device=name).one().code_digest)
            statement = request.write(key)
            _, _, issued, _ = desk.let_in(session, *read_request(statement))
        assert self.files.install(issued.pem, desk.authority.certificate_pem())
        self.journal = PassJournal(self.folder / "journal", self.name, self.signing)
        self.box = OrderBox(self.folder / "box")
        self._port, self._server_key = port, server.signing_key.verifying_key
        self._stop = threading.Event()

    def run(self) -> None:
        settings = BrokerSettings(
            "localhost", self._port, self.files.ca, self.files.certificate, self.files.key, keepalive_s=5
        )
        made: list[MqttTransport] = []

        def make(*handlers: object) -> MqttTransport:
            made.append(MqttTransport(settings, self.name, *handlers))  # type: ignore[arg-type]
            return made[-1]

        def reload() -> None:
            for transport in made:
                transport.reload()

        renewal = Renewal(self.files, self.name, self._server_key, SystemClock(), reload, 0.3)
        agent = SyncAgent(self.journal, self.box, self.name, self._server_key, make, SystemClock(), renewal=renewal)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=agent.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def note(self) -> None:
        self.journal.append(denied(), SystemClock().utc_now(), ClockTrust.TRUSTED)


@dataclasses.dataclass
class Site:
    """A server with an authority, and a broker that believes it."""

    folder: Path
    settings: Settings
    port: int
    server: Services
    broker: subprocess.Popen[bytes] | None = None

    def start_broker(self) -> None:
        self.broker = start_broker(self.folder / "broker" / "canteen.conf", self.folder / "broker.log")
        wait_until(lambda: listening(self.port), what="the broker")

    def stop_broker(self) -> None:
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(10)

    def restart_server(self) -> None:
        self.server.stop()
        self.server = assemble(self.settings)
        self.server.start()

    def make_broker_files(self) -> None:
        """As `canteen-billing broker` does."""
        authority = self.settings.authority
        assert authority is not None
        assert self.server.provisioning is not None
        with self.server.database.reading() as session:
            self.server.provisioning.write_revoked(session)
        lasting = dataclasses.replace(authority, device_lasts=timedelta(days=30))
        configuration = write_broker_files(
            self.folder / "broker",
            Authority(lasting, SystemClock()),
            authority.revoked,
            ["localhost"],
            self.port,
            "127.0.0.1",
        )
        (self.folder / "broker" / "state").mkdir(exist_ok=True)
        with configuration.open("a", encoding="utf-8") as file:
            file.write(f"persistence_location {self.folder}/broker/state/\nuser root\n")


@pytest.fixture
def site(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[Site]:
    find_mosquitto()
    port, broker = free_port(), tmp_path / "broker"
    settings = Settings(
        school_name="Collège des Tilleuls",
        language="fr",
        database_url=sqlite_files.fresh(),
        keys=KeyFiles(*(tmp_path / name for name in ("signing", "sealing", "code", "operators.json", "clients.json"))),
        broker=BrokerAddress("localhost", port, broker / "ca.pem", broker / "billing.pem", broker / "billing.key"),
        web_host="127.0.0.1",
        web_port=0,
        policy=Policy(),
        authority=AuthoritySettings(
            tmp_path / "authority.key", tmp_path / "authority.pem", tmp_path / "revoked.pem", SHORT
        ),
    )
    site = Site(tmp_path, settings, port, assemble(settings))
    site.make_broker_files()
    site.start_broker()
    site.server.start()
    yield site
    site.server.stop()
    site.stop_broker()


def authority_of(site: Site) -> AuthoritySettings:
    assert site.settings.authority is not None
    return site.settings.authority


def serial(device: Device) -> int:
    return device.files.present().serial_number


@pytest.mark.slow
def test_a_certificate_renews_itself_before_it_ends(site: Site) -> None:
    """Three lives of nine seconds, and the line opens again after a broken connection in the third."""
    device = Device(site.folder, "terminal-1", site.server, site.port)
    first = device.files.present()
    device.run()
    try:
        wait_until(lambda: serial(device) != first.serial_number, 20, "the second certificate")
        second = serial(device)
        wait_until(lambda: serial(device) != second, 20, "the third certificate")
        assert SystemClock().utc_now() > first.not_valid_after_utc - timedelta(seconds=3)
        wait_until(lambda: SystemClock().utc_now() > first.not_valid_after_utc, 20, "the first one's end")
        site.stop_broker()
        wait_until(lambda: not device.box.link.connected, what="the cut")
        site.start_broker()
        device.note()
        wait_until(lambda: device.journal.backlog == 0, 30, "the entry in the ledger")
    finally:
        device.stop()
    assert {0o600} == {path.stat().st_mode & 0o777 for path in device.folder.glob("tls.key*")}


@pytest.mark.slow
def test_the_authority_is_lost_and_nobody_has_to_go_there(site: Site) -> None:
    """Its files are deleted, a new one is made; over the line that still stands each device gets a certificate from it,
    by its old key. Then the broker changes over, and everybody is in.
    """
    lasting = dataclasses.replace(authority_of(site), device_lasts=timedelta(days=300))
    site.settings = dataclasses.replace(site.settings, authority=lasting)
    site.restart_server()
    device = Device(site.folder, "terminal-1", site.server, site.port)
    device.run()
    try:
        wait_until(lambda: device.box.link.connected, what="the line")
        before = serial(device)
        time.sleep(0.5)
        assert before == serial(device)
        lasting.key.unlink()
        lasting.certificate.unlink()
        site.restart_server()
        wait_until(lambda: serial(device) != before, 20, "a certificate from the new authority")
        authority = x509.load_pem_x509_certificate(lasting.certificate.read_bytes())
        device.files.present().verify_directly_issued_by(authority)
        site.make_broker_files()
        site.stop_broker()
        site.start_broker()
        site.restart_server()
        device.note()
        wait_until(lambda: device.journal.backlog == 0, 30, "the entry in the ledger")
    finally:
        device.stop()


@pytest.mark.slow
def test_a_server_that_burned_comes_back_from_one_file(site: Site, tmp_path: Path) -> None:
    """Backup, more meals, fire; the backup on a new machine: the devices need no visit, and what came after comes."""
    lasting = dataclasses.replace(authority_of(site), device_lasts=timedelta(days=300))
    site.settings = dataclasses.replace(site.settings, authority=lasting)
    site.restart_server()
    device = Device(site.folder, "terminal-1", site.server, site.port)
    device.run()
    file, config = tmp_path / "backup.age", tmp_path / "billing.toml"
    config.write_text("school_name = 'x'\n", encoding="utf-8")
    try:
        device.note()
        wait_until(lambda: device.journal.backlog == 0, 20, "the first entry")
        with pytest.raises(CannotServe, match="passphrase"):
            write_backup(site.settings, config, file, "short", SystemClock().utc_now())
        write_backup(site.settings, config, file, "un mot de passe long", SystemClock().utc_now())
        assert 0o600 == file.stat().st_mode & 0o777
        for secret in (site.settings.keys.signing_key, lasting.key):
            assert secret.read_bytes() not in file.read_bytes()
        device.note()
        wait_until(lambda: device.journal.backlog == 0, 20, "the second entry")
        site.server.stop()
        ledger = Path(site.settings.database_url.removeprefix("sqlite+pysqlite:///"))
        for lost in (
            ledger,
            *ledger.parent.glob(ledger.name + "-*"),
            lasting.key,
            lasting.certificate,
            lasting.revoked,
        ):
            lost.unlink(missing_ok=True)
        for lost in dataclasses.astuple(site.settings.keys):
            Path(lost).unlink(missing_ok=True)
        for name in ("ca.pem", "billing.pem", "billing.key"):
            (site.folder / "broker" / name).unlink()
        with pytest.raises(CannotServe, match="passphrase"):
            restore_backup(site.settings, config, file, "un autre mot de passe")
        damaged = tmp_path / "damaged.age"
        damaged.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(CannotServe, match="passphrase"):
            restore_backup(site.settings, config, damaged, "un mot de passe long")
        restore_backup(site.settings, config, file, "un mot de passe long")
        with pytest.raises(CannotServe, match="already there"):
            restore_backup(site.settings, config, file, "un mot de passe long")
        site.server = assemble(site.settings)
        site.server.start()
        wait_until(lambda: entries(ledger) == 2, 30, "the entry that was lost")
        assert device.box.link.connected
    finally:
        device.stop()


def entries(ledger: Path) -> int:
    with closing(sqlite3.connect(ledger)) as read:
        return int(read.execute("SELECT count(*) FROM entries").fetchone()[0])
