"""The process itself: its commands, a port in use, a clean stop, a second start that finds its data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from billing_server.main import main
from demo.processes import leashed
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "import sys; from billing_server.main import main; sys.exit(main(sys.argv[1:]))"]


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "billing.toml"
    path.write_text(
        f"""
school_name = "Collège des Tilleuls"
[database]
url = "sqlite+pysqlite:///{tmp_path}/ledger.sqlite"
[keys]
signing_key = "signing"
sealing_key = "sealing"
code_key = "code"
operators = "operators.json"
[web]
port = {free_port()}
""",
        encoding="utf-8",
    )
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def running(configuration: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        leashed([*PROGRAM, "--config", str(configuration)]), cwd=ROOT, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: _ready(address), 20, "the server")
            yield process
        finally:
            process.kill()


def _ready(address: str) -> bool:
    try:
        return bool(httpx.get(f"{address}/api/health").json()["ready"])
    except httpx.TransportError:
        return False


def test_started_used_stopped_and_started_again(configuration: Path) -> None:
    """The link lets in; SIGTERM ends with 0; the second start knows the pupil; no token is in the log."""
    link = run("operator", "Mme Roux", "--config", str(configuration)).stdout.strip()
    address, _, token = link.partition("/entrer?jeton=")
    headers = {"Authorization": f"Bearer {token}"}
    with running(configuration, address) as process:
        body = [{"first_name": "Léa", "last_name": "Martin", "class_name": "5eB"}]
        assert 201 == httpx.post(f"{address}/api/pupils", json=body, headers=headers).status_code
        assert 200 == httpx.get(link, follow_redirects=True).status_code
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=15)
        assert 0 == process.returncode
        assert b"stopped" in log
        assert token.encode() not in log
        assert "Léa".encode() not in log
    assert 0o600 == (configuration.parent / "ledger.sqlite").stat().st_mode & 0o777
    with running(configuration, address):
        (pupil,) = httpx.get(f"{address}/api/pupils", headers=headers).json()
        assert "Léa" == pupil["first_name"]


def test_a_port_in_use_is_a_clear_sentence(configuration: Path) -> None:
    port = int(configuration.read_text().rpartition("port = ")[2])
    with socket.create_server(("127.0.0.1", port)):
        done = run("--config", str(configuration))
    assert 2 == done.returncode
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_are_made_once_and_printed(configuration: Path) -> None:
    first, again = (run("keys", "--config", str(configuration)).stdout for _ in range(2))
    assert first == again
    assert {"signing", "sealing"} == set(json.loads(first))


def test_what_is_wrong_is_said_in_one_line(configuration: Path) -> None:
    """A missing file, an open key, a database of another kind."""
    done = run("--config", str(configuration.with_name("none.toml")))
    assert (2, 1) == (done.returncode, done.stderr.count("\n"))
    run("keys", "--config", str(configuration))
    os.chmod(configuration.with_name("signing"), 0o644)  # noqa: PTH101 - the path is made here
    done = run("keys", "--config", str(configuration))
    assert 2 == done.returncode
    assert "open to others" in done.stderr


def test_the_commands_beside_a_server(configuration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys for clients, codes for devices, files on sticks: each with its exit code and one line on what is wrong."""

    def called(*arguments: str) -> tuple[int, str]:
        mask = os.umask(0o077)
        try:
            code = main([*arguments, "--config", str(configuration)])
        finally:
            os.umask(mask)
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = called("client", "département", "--uai", "0751234X")
    assert (0, 1) == (code, said.count("\n"))
    assert 2 == called("client", "département", "--uai", "Paris")[0]
    code, said = called("device-code", "terminal-3", "terminal")
    assert (2, True) == (code, "[authority]" in said)
    with configuration.open("a", encoding="utf-8") as file:
        file.write('[authority]\nkey = "ca.key"\ncertificate = "ca.pem"\nrevoked = "revoked.pem"\n')
    code, said = called("device-code", "terminal-3", "terminal")
    assert (0, 15) == (code, len(said))
    assert 2 == called("device-code", "Terminal 3", "terminal")[0]
    assert 2 == called("revoke", "terminal-3")[0]
    (tmp_path / "request").write_bytes(_broker_request())
    code, said = called("broker-certificate", "lane-broker", str(tmp_path / "request"), "terminal-1.lan", "10.0.0.3")
    certificate = x509.load_pem_x509_certificate(said.encode())
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} == set(usages)
    assert 2 == called("broker-certificate", "lane-broker", str(tmp_path / "none"), "terminal-1.lan")[0]
    (tmp_path / "up").write_bytes(b"noise\n")
    code, said = called("carry", "import", str(tmp_path / "up"))
    assert (1, True) == (code, "0 lines taken, 1 refused" in said)
    assert 0 == called("carry", "export", "all", str(tmp_path / "down"))[0]
    assert b"" == (tmp_path / "down").read_bytes()
    assert 2 == called("carry", "export", "terminal-9", str(tmp_path / "down"))[0]
    assert 2 == called("carry", "import", str(tmp_path / "none"))[0]


def _broker_request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)
