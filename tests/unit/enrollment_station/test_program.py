"""The process: starts, says clearly why it cannot, stops cleanly, and is found again after kill -9."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from demo.processes import leashed
from enrollment_station.configuration import load_configuration
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.main import main
from hand_geometry.acquisition import Platen
from tests.unit.enrollment_station.bench import ADA, STATION, Bench, placements, roster


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _start(configuration: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        leashed([sys.executable, "-m", "enrollment_station.main", "--config", str(configuration)]),
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait(port: int, token: str, timeout_s: float = 20) -> httpx.Client:
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30
    )
    end = time.monotonic() + timeout_s
    while True:
        try:
            client.get("/api/etat").raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return client


def test_the_whole_way_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Orders from the box, a consent, a hand; kill -9; all is there again; SIGTERM ends it with 0."""
    port = _free_port()
    bench = Bench(tmp_path, port)
    bench.close()
    bench.put_orders(roster())
    process = _start(bench.configuration)
    client = _wait(port, bench.token)
    end = time.monotonic() + 10
    while not client.get("/api/eleves").json()["pupils"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    form = {"state": "given", "notice_version": "2026-09", "given_by": "adult-pupil"}
    client.post(f"/api/eleves/{ADA}/consentement", json=form).raise_for_status()
    files = [("placement", (f"{n}.jpg", image, "image/jpeg")) for n, image in enumerate(placements(1))]
    revision = client.post(f"/api/eleves/{ADA}/main", files=files).raise_for_status().json()["revision"]
    process.kill()
    process.communicate()
    process = _start(bench.configuration)
    client = _wait(port, bench.token)
    (row,) = [row for row in client.get("/api/eleves").json()["pupils"] if row["pupil"] == ADA]
    assert ("main", revision) == (row["state"], row["revision"])
    assert {"device": STATION, "orders_done": 1, "backlog": 3, "unfinished": 0}.items() <= (
        client.get("/api/etat").json().items()
    )
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=10)
    assert 0 == process.returncode
    assert "Traceback" not in log
    assert "Desrosiers" not in log
    assert ADA not in log


def test_a_taken_port_is_a_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, the port, and a way out; nothing was opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Bench(tmp_path, port).close()
        assert 2 == main(["--config", str(tmp_path / "station.toml")])
    said = capsys.readouterr().err
    assert f"Le port {port} de 127.0.0.1 est déjà pris" in said
    assert "Traceback" not in said


def test_an_operators_link_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The link opens the door; a name that is none is refused."""
    bench = Bench(tmp_path, 8002)
    capsys.readouterr()
    assert 0 == main(["operator", "M. Faure", "--config", str(bench.configuration)])
    link = capsys.readouterr().out.splitlines()[-1]
    assert link.startswith("http://127.0.0.1:8002/entrer?jeton=")
    assert 303 == bench.client.get(link.removeprefix("http://127.0.0.1:8002")).status_code
    assert {"Mme Delmas", "M. Faure"} == {operator.name for operator in bench.station.operators.operators()}
    assert 2 == main(["operator", "--config", str(bench.configuration)])
    bench.close()


def _good(tmp_path: Path) -> str:
    """A configuration without a fault, and nothing else in the folder."""
    (tmp_path / "elsewhere").mkdir()
    bench = Bench(tmp_path / "elsewhere", 8002)
    bench.close()
    return bench.configuration.read_text()


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ('device = "station-1"', 'device = "Station 1"', "device"),
        ('language = "fr"', 'language = "oc"', "language"),
        ('journal = "journal.sqlite"', "journal = 3", "storage.journal"),
        ("server_signing_key", "other_key", "trust.server_signing_key"),
        ("server_sealing_key = ", 'server_sealing_key = "AAAA"\nx = ', "trust"),
        ("port = 8002", "port = 70000", "web.port"),
        ("port = 8002", 'port = "8002"', "web.port"),
        ('platen = "dark"', 'platen = "glass"', "hand.platen"),
        ("[web]", "[web", "station.toml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, good: str, bad: str, named: str) -> None:
    """The message names the setting, so that it can be put right."""
    text = _good(tmp_path)
    assert good in text
    file = tmp_path / "station.toml"
    file.write_text(text.replace(good, bad))
    with pytest.raises(ConfigurationRefused, match=named):
        load_configuration(file)


def test_settings_are_read(tmp_path: Path) -> None:
    """Relative files count from the configuration's folder; language and platen have a default."""
    file = tmp_path / "station.toml"
    file.write_text(_good(tmp_path).replace('language = "fr"\n', ""))
    settings = load_configuration(file)
    assert (STATION, "fr", Platen.DARK, 8002) == (settings.device, settings.language, settings.platen, settings.port)
    assert tmp_path / "journal.sqlite" == settings.storage.journal


def test_a_missing_file_is_a_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No configuration, a store that does not open: exit 2 and no trace."""
    assert 2 == main(["--config", str(tmp_path / "nothing.toml")])
    bench = Bench(tmp_path)
    bench.close()
    (tmp_path / "store.key").write_bytes(bytes(32))
    assert 2 == main(["--config", str(bench.configuration)])
    assert "Traceback" not in capsys.readouterr().err
