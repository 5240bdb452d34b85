"""The whole program: a process, a libosdp peripheral on a pty, a camera on a socket, synthetic hands, the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import httpx
import pytest

from canteen.access_decision import MissingEntitlement, Reason
from canteen.meal_pass import PassCompleted, PassDenied, PassGranted, PassMethod
from hand_geometry.acquisition import FailureToAcquire, acquire
from hand_geometry.reference import Reference, make_reference
from hand_geometry.reference_codec import encode_reference
from hand_geometry.simulated_camera import FrameServer
from hand_geometry.synthetic_hand import synthetic_hand
from sync.facts import OrderApplied
from sync.orders import (
    CalendarOrder,
    CardAssigned,
    DeviceEntry,
    DeviceRole,
    DevicesOrder,
    LeaseOrder,
    ReferenceOrder,
    Roster,
    RosterPupil,
)
from sync.sealed_reference import ReferenceGrant, seal_reference
from sync.sealing import OpeningKey
from tests.conftest import wait_until
from tests.unit.terminal.lane import CONSENT, STATION, STATION_KEY, TERMINAL, card, code, pupil_id
from tests.unit.terminal.programs import ALWAYS_OPEN, THIS_YEAR, TerminalProgram, surrounded


def reference_bytes(identity: int) -> bytes:
    """A reference of a synthetic person, from three placements."""
    samples = []
    for sample in range(3):
        features = acquire(synthetic_hand(identity, sample))
        assert not isinstance(features, FailureToAcquire)
        samples.append(features)
    reference = make_reference(samples)
    assert isinstance(reference, Reference)
    return encode_reference(reference)


def picture(identity: int, sample: int) -> bytes:
    return bytes(cv2.imencode(".png", synthetic_hand(identity, sample))[1])


def fill(program: TerminalProgram) -> None:
    """Orders as the server sends them: two pupils, a card, a hand."""
    now = datetime.now(UTC)
    grant = ReferenceGrant(pupil_id(1), 1, now, CONSENT, reference_bytes(1))
    station = DeviceEntry(STATION, DeviceRole.STATION, STATION_KEY.verifying_key, OpeningKey(b"5" * 32).sealing_key)
    sealed = seal_reference(grant, STATION, TERMINAL, STATION_KEY, program.opening_key.sealing_key)
    program.order(
        CalendarOrder("Collège Test", ALWAYS_OPEN, MissingEntitlement.SERVE_AND_BILL),
        DevicesOrder((station,)),
        Roster(
            tuple(RosterPupil(pupil_id(n), f"Prénom{n}", "", "6A", code(n), (THIS_YEAR,)) for n in (1, 2)), whole=True
        ),
        CardAssigned(pupil_id(2), card(2)),
        ReferenceOrder(pupil_id(1), STATION, 1, sealed),
        LeaseOrder(now + timedelta(days=7)),
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TerminalProgram, FrameServer]]:
    """A terminal in service that has applied its first orders."""
    with surrounded(tmp_path_factory.mktemp("terminal")) as (program, camera):
        fill(program)
        program.start()
        wait_until(lambda: OrderApplied(6) in program.facts(), what="the orders")
        yield program, camera


def type_code(program: TerminalProgram, number: int) -> None:
    for digit in code(number).digits:
        assert program.world.press(digit)


def test_a_strangers_hand_then_the_right_one_then_a_card(running: tuple[TerminalProgram, FrameServer]) -> None:
    """Three placements of another's hand open nothing; the pupil's own does, once; a card does."""
    program, camera = running
    type_code(program, 1)
    for sample in (7, 8, 9):
        program.wait_for("awaiting-hand")
        camera.lay(picture(2, sample))
        program.wait_for("guiding", "showing-denial")
        camera.lift()
    assert Reason.HAND_NOT_MATCHED.value == program.wait_for("showing-denial", timeout_s=15)["reason"]
    assert "locked" == program.world.state().turnstile
    assert [] == [f for f in program.facts() if isinstance(f, PassGranted)]

    type_code(program, 1)
    program.wait_for("awaiting-hand")
    camera.lay(picture(1, 7))
    shown = program.wait_for("passage-open")
    assert "Prénom1" == shown["first_name"]
    assert program.world.push()
    camera.lift()
    assert 0 < program.wait_for("idle")["took_ms"] < 1000

    assert program.world.card(card(2).hexadecimal)
    program.wait_for("passage-open")
    program.world.push()
    program.wait_for("idle")

    type_code(program, 1)
    assert Reason.ALREADY_SERVED.value == program.wait_for("showing-denial")["reason"]
    passes = [f for f in program.facts() if isinstance(f, PassGranted | PassCompleted | PassDenied)]
    assert [PassDenied, PassGranted, PassCompleted, PassGranted, PassCompleted, PassDenied] == [type(f) for f in passes]
    assert [PassMethod.HAND, PassMethod.CARD] == [f.method for f in passes if isinstance(f, PassGranted)]
    assert code(1).digits not in program.log
    assert "Prénom" not in program.log


def test_page_is_served_with_its_own_rules(running: tuple[TerminalProgram, FrameServer]) -> None:
    """Own scripts and styles only, no foreign host name, and a stream that begins with the present view."""
    program, _ = running
    base = f"http://127.0.0.1:{program.port}"
    page = httpx.get(base, trust_env=False)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.split("<body")[1]
    for name in ("screen.css", "screen.js", "icon.svg"):
        assert 200 == httpx.get(f"{base}/static/{name}", trust_env=False).status_code
    assert 400 == httpx.get(f"{base}/state", headers={"Host": "evil.example"}, trust_env=False).status_code
    with httpx.stream("GET", f"{base}/events", trust_env=False, timeout=5) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                assert json.loads(line.removeprefix("data: "))["state"]
                break


def doctor(program: TerminalProgram, *more: str, language: str = "fr") -> subprocess.CompletedProcess[str]:
    """`canteen-terminal doctor`, as staff would call it."""
    return subprocess.run(
        [sys.executable, "-m", "terminal.main", "doctor", "--config", str(program.config), *more],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LANG": language},
    )


def test_doctor_beside_the_running_terminal(running: tuple[TerminalProgram, FrameServer]) -> None:
    """It asks, and takes neither line nor camera: in words, in English, as JSON; the lane stays open meanwhile."""
    program, _ = running
    seen = doctor(program)
    assert (0, "") == (seen.returncode, seen.stderr)
    assert "avec notre clé, micrologiciel 1.2.3" in seen.stdout
    assert seen.stdout.endswith("Le service peut avoir lieu.\n")
    report = json.loads(doctor(program, "--json").stdout)
    assert [] == report["at_risk"]
    measured = {check["name"]: check["measured"] for check in report["checks"]}
    assert ("ours", 0) == (measured["board"]["key"], measured["board"]["losses"])
    assert ("empty", "1600x1200") == (measured["camera"]["state"], measured["camera"]["size_px"])
    assert 2 == measured["store"]["pupils"]
    assert "Lunch can be served." in doctor(program, language="en_GB.UTF-8").stdout
    program.wait_for("idle")


def test_ends_cleanly_and_without_open_ports(running: tuple[TerminalProgram, FrameServer]) -> None:
    """While it runs it listens on the loopback alone; SIGTERM ends it with status 0 within seconds."""
    program, _ = running
    assert program.process is not None
    listening = listening_addresses(program.process.pid)
    assert {f"127.0.0.1:{program.port}"} == listening
    assert 0 == program.end()


def listening_addresses(pid: int) -> set[str]:
    """Where a process listens on TCP or holds a UDP socket, from /proc."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = descriptor.readlink().as_posix()
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (fields[3] == "0A" or table.startswith("udp")):
                address, port = fields[1].split(":")
                if len(address) == 8:
                    address = ".".join(str(octet) for octet in reversed(bytes.fromhex(address)))
                found.add(f"{address}:{int(port, 16)}")
    return found


def test_keys(tmp_path: Path) -> None:
    """The public keys, the same every time; private ones in files of mode 0600."""
    program = TerminalProgram(tmp_path)
    command = [sys.executable, "-m", "terminal.main", "keys", "--config", str(program.config)]
    first, second = (json.loads(subprocess.check_output(command)) for _ in range(2))
    assert first == second
    assert {"device", "verifying_key", "sealing_key"} == set(first)
    assert 0o600 == (tmp_path / "signing.key").stat().st_mode & 0o777


@pytest.mark.parametrize("what", ["production", "port", "key"])
def test_refuses_to_start(tmp_path: Path, what: str) -> None:
    """Twins in production, a port in use, a key others can read: one sentence and status 1, no traceback."""
    program = TerminalProgram(tmp_path, production=what == "production")
    if what == "key":
        (tmp_path / "sealing.key").chmod(0o644)
    if what == "port":
        import socket

        with socket.create_server(("127.0.0.1", program.port)):
            program.start(until_ready=False)
            assert program.process is not None
            assert 1 == program.process.wait(timeout=15)
    else:
        program.start(until_ready=False)
        assert program.process is not None
        assert 1 == program.process.wait(timeout=15)
    assert "La borne ne démarre pas" in program.log
    assert "Traceback" not in program.log


@pytest.mark.slow
def test_doctor_without_a_running_terminal(tmp_path: Path) -> None:
    """It looks for itself and writes no fact; a terminal that never served is said to be so; status 2 where at risk."""
    with surrounded(tmp_path) as (program, _):
        never = doctor(program)
        assert (2, True) == (never.returncode, "encore jamais servi" in never.stdout)
        assert not (tmp_path / "store.sqlite").exists()
        fill(program)
        program.start()
        wait_until(lambda: OrderApplied(6) in program.facts(), what="the orders")
        assert 0 == program.end()
        before = program.facts()
        report = json.loads(doctor(program, "--json").stdout)
        verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
        assert ["program"] == report["at_risk"]
        assert ("well", "well") == (verdicts["board"], verdicts["camera"])
        assert before == program.facts()


@pytest.mark.slow
def test_doctor_and_a_port_that_is_not_the_terminals(tmp_path: Path) -> None:
    """A program that accepts and says nothing is not taken for a healthy terminal, nor waited for long."""
    import socket
    import time

    program = TerminalProgram(tmp_path)
    with socket.create_server(("127.0.0.1", program.port)):
        began_s = time.monotonic()
        seen = doctor(program)
        assert time.monotonic() - began_s < 10
    assert (2, True) == (seen.returncode, "ne répond pas" in seen.stdout)


def test_systemd_hears_of_it(tmp_path: Path) -> None:
    """Ready once the loop turns (without a board it serves too: it says so), alive then, and ended on purpose."""
    import socket

    program = TerminalProgram(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        program.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        program.start(until_ready=False)
        assert [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"] == [manager.recv(100) for _ in range(3)]
        assert 0 == program.end()
        said = manager.recv(100)
        while said == b"WATCHDOG=1":
            said = manager.recv(100)
        assert b"STOPPING=1" == said
