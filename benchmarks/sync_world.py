"""What the sync benchmark stands on: a PostgreSQL and a Mosquitto of its own, durable as delivered, on this machine.

Both are private: Unix socket or loopback, in a temporary folder, gone afterwards. PostgreSQL keeps its `fsync`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.child import LEASH
from benchmarks.errors import BenchmarkFailed
from benchmarks.language import _
from billing_server.authority import Authority
from billing_server.configuration import AuthoritySettings
from canteen.clock import SystemClock
from sync.mqtt_transport import BrokerSettings

_PROGRAMS = Path("/usr/lib/postgresql")
_READY_WITHIN_S = 15.0
_ACL = """\
pattern write canteen/%u/up/#
pattern read canteen/%u/down/#
pattern write canteen/%u/lane/#
pattern read canteen/+/lane/#
user billing
topic read canteen/+/up/#
topic write canteen/+/down/#
"""


@contextmanager
def private_postgres() -> Iterator[str]:
    """The address of a fresh cluster. Raises BenchmarkFailed if there is no PostgreSQL."""
    found = sorted(_PROGRAMS.glob("*/bin/initdb"))
    if not found:
        raise BenchmarkFailed(_("PostgreSQL n'est pas installé"))
    programs = found[-1].parent
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pgb-", dir="/tmp"))  # a socket's path must be short
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        _done([*as_user, str(programs / "initdb"), "-D", str(data), "-U", "canteen", "--auth=trust", "-E", "UTF8"])
        options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
        control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        _done([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://canteen@/postgres?host={folder}"
        finally:
            _done([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class World:
    """A broker with mutual TLS, and certificates for whoever is to talk to it."""

    folder: Path
    port: int
    authority: Authority

    def settings(self, name: str) -> BrokerSettings:
        """How `name` connects; its key and certificate are made on first use."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not certificate.exists():
            _issue(self.authority, self.folder, name)
        return BrokerSettings("127.0.0.1", self.port, self.folder / "ca.pem", certificate, key)


@contextmanager
def private_broker(folder: Path) -> Iterator[World]:
    """A Mosquitto as the school's: persistent, by certificates alone. Raises BenchmarkFailed."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        raise BenchmarkFailed(_("Mosquitto n'est pas installé"))
    folder.mkdir(mode=0o700)
    authority = Authority(
        AuthoritySettings(folder / "ca.key", folder / "ca.pem", folder / "revoked.pem"), SystemClock()
    )
    authority.certificate_pem()
    _issue(authority, folder, "broker", ("localhost", "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    (folder / "state").mkdir()
    (folder / "acl").write_text(_ACL, encoding="ascii")
    (folder / "acl").chmod(0o600)
    (folder / "mosquitto.conf").write_text(
        f"allow_anonymous false\npersistence true\npersistence_location {folder}/state/\n"
        "autosave_interval 1\nautosave_on_changes true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        f"set_tcp_nodelay true\nlog_type error\nlog_dest stderr\nlistener {port} 127.0.0.1\n"
        f"cafile {folder}/ca.pem\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n"
        f"require_certificate true\nuse_identity_as_username true\nacl_file {folder}/acl\n"
        + ("user root\n" if os.geteuid() == 0 else ""),
        encoding="ascii",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*LEASH, program, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield World(folder, port, authority)
    finally:
        process.terminate()
        process.wait(5)


def _issue(authority: Authority, folder: Path, name: str, hosts: tuple[str, ...] = ()) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    path = folder / f"{name}.key"
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pem = request.public_bytes(serialization.Encoding.PEM).decode("ascii")
    (folder / f"{name}.pem").write_text(authority.issue(name, pem, hosts).pem, encoding="ascii")


def _wait_for(port: int) -> None:
    end_s = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < end_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise BenchmarkFailed(_("un programme n'est pas prêt à temps"))


def _done(command: list[str]) -> None:
    # pg_ctl's server keeps an inherited pipe open for ever: nothing is captured.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise BenchmarkFailed(_("PostgreSQL n'a pas démarré"))
