"""From an empty folder to a meal: broker, server, terminal and station made by their own commands; then sent away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import httpx
import pytest

from demo.broker import find_mosquitto, start_broker
from demo.clients import ServerClient, StationClient
from demo.layout import PERIPHERAL_ADDRESS, Layout
from demo.people import Hand, Person, Way
from demo.processes import Program, module_command, script_command
from demo.world import World
from firmware_bridge.errors import FirmwareBridgeError
from sync.order_box import OrderBox
from tests.conftest import free_port, listening, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BROKER, BILLING, STATION, DISPLAY = (free_port() for _ in range(4))

LEA = Person("lea", "Léa", "Martin", "6e A", Way.CARD, tuple(Hand(str(n), synthetic=(1, n)) for n in range(4)))
TOM = Person("tom", "Tom", "Petit", "6e A", Way.CARD, tuple(Hand(str(n), synthetic=(2, n)) for n in range(4)))


@dataclass
class School:
    """The machines of a school, each in a folder of its own."""

    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)
    broker: subprocess.Popen[bytes] | None = None
    token: str = ""

    def run(self, *command: str, code: str = "") -> subprocess.CompletedProcess[str]:
        """A command, as a person types it."""
        return subprocess.run(
            script_command(*command),
            input=code,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, "LANG": "fr_FR.UTF-8"},
        )

    def start(self, name: str, command: list[str]) -> Program:
        program = Program(name, command, self.folder / "logs" / f"{name}.log")
        self.programs[name] = program
        program.start()
        return program

    def start_broker(self) -> None:
        self.broker = start_broker(self.folder / "broker" / "canteen.conf", self.folder / "broker.log")
        wait_until(lambda: listening(BROKER), what="the broker")

    def stop_broker(self) -> None:
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(10)

    @property
    def billing_config(self) -> str:
        return str(self.folder / "billing.toml")

    def device(self, name: str) -> tuple[Path, Path]:
        """Configuration folder and state folder of a machine."""
        return self.folder / name / "etc", self.folder / name / "var"

    def code_for(self, device: str, role: str) -> str:
        page = httpx.post(
            f"http://127.0.0.1:{BILLING}/appareils/code",
            data={"device": device, "role": role},
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
        )
        found = re.search(r"[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}", page.text)
        assert found is not None, page.text
        return found.group()

    def provision(self, name: str, role: str, code: str, *how: str) -> subprocess.CompletedProcess[str]:
        etc, var = self.device(name)
        how = how or ("--server", f"http://127.0.0.1:{BILLING}")
        files = ("--config", str(etc / f"{role}.toml"), "--state", str(var))
        while (
            "attendez une minute"
            in (done := self.run(f"canteen-{role}", "provision", *how, *files, code=code + "\n")).stderr
        ):
            time.sleep(3)
        return done


@pytest.fixture(scope="module")
def school() -> Iterator[School]:
    """Server and broker run; nobody knows any device yet."""
    find_mosquitto()
    folder = Path(tempfile.mkdtemp(prefix="canteen-"))
    school = School(folder)
    (folder / "billing.toml").write_text(
        f"""\
school_name = "Collège des Tilleuls"
[database]
url = "sqlite+pysqlite:///{folder / "ledger.sqlite"}"
[keys]
signing_key = "signing.key"
sealing_key = "sealing.key"
code_key = "code.key"
operators = "operators.json"
[authority]
key = "authority.key"
certificate = "authority.pem"
revoked = "revoked.pem"
[broker]
host = "localhost"
port = {BROKER}
ca = "broker/ca.pem"
certificate = "broker/billing.pem"
key = "broker/billing.key"
[web]
port = {BILLING}
""",
        encoding="utf-8",
    )
    try:
        made = school.run(
            "canteen-billing", "broker", str(folder / "broker"), "localhost", "--bind", "127.0.0.1",
            "--config", school.billing_config,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        configuration = folder / "broker" / "canteen.conf"
        state = folder / "broker" / "state"
        state.mkdir()
        with configuration.open("a") as file:
            file.write(f"persistence_location {state}/\nuser root\n")
        school.start_broker()
        link = school.run("canteen-billing", "operator", "Mme Roux", "--config", school.billing_config).stdout
        school.token = link.strip().split("jeton=")[1]
        server = ServerClient(BILLING, school.token)
        school.start("billing", script_command("canteen-billing", "--config", school.billing_config))
        school.programs["billing"].wait_ready(lambda: server.answers("/api/health"), 120)
        server.put(
            "/api/calendar",
            {
                "school_name": "Collège des Tilleuls",
                "timezone": "Europe/Paris",
                "periods": [{"name": "midi", "weekdays": list(range(7)), "starts_minute": 0, "ends_minute": 1440}],
                "closed_days": [],
                "missing_entitlement": "deny",
            },
        )
        yield school
    finally:
        for program in school.programs.values():
            program.stop()
        school.stop_broker()
        shutil.rmtree(folder, ignore_errors=True)


def test_what_can_go_wrong_is_said_and_leaves_nothing(school: School) -> None:
    """In French, with what to do; keys that were made stay for the next try."""
    wrong = school.provision("lane", "terminal", "AAAA-BBBB-CCCC")
    assert (1, True) == (wrong.returncode, "Le code n’est pas le bon" in wrong.stderr), wrong.stderr
    short = school.provision("lane", "terminal", "AAAA")
    assert (1, True) == (short.returncode, "12 signes" in short.stderr)
    nobody = school.provision("lane", "terminal", "AAAA-BBBB-CCCC", "--server", f"http://127.0.0.1:{free_port()}")
    assert (1, True) == (nobody.returncode, "ne répond pas" in nobody.stderr)
    other_role = school.provision("lane", "terminal", school.code_for("station-9", "station"))
    assert (1, True) == (other_role.returncode, "autre rôle" in other_role.stderr)
    etc, var = school.device("lane")
    assert not etc.exists()
    assert 0o600 == (var / "terminal" / "signing.key").stat().st_mode & 0o777


def test_a_terminal_and_a_station_are_provisioned_and_a_pupil_eats(school: School) -> None:
    """By the commands alone, over the network and by a stick; twice is as good as once."""
    server = ServerClient(BILLING, school.token)
    code = school.code_for("terminal-1", "terminal")
    for _ in range(2):
        done = school.provision("lane-1", "terminal", code)
        assert done.returncode == 0, done.stderr
        assert "terminal-1 est installé" in done.stdout
        assert "systemctl enable --now canteen-terminal canteen-sync" in done.stdout
    certificate = school.device("lane-1")[1] / "sync" / "tls.pem"
    before = certificate.read_bytes()
    renewed = school.provision("lane-1", "terminal", "", "--renew", "--server", f"http://127.0.0.1:{BILLING}")
    assert (0, True) == (renewed.returncode, "Nouveau certificat installé" in renewed.stdout), renewed.stderr
    assert before != certificate.read_bytes()
    used = school.provision("thief", "terminal", code)
    assert (1, True) == (used.returncode, "déjà servi" in used.stderr)

    code = school.code_for("station-1", "station")
    request, answer = school.folder / "demande.json", school.folder / "reponse.json"
    assert 0 == school.provision("desk", "station", code, "--request", str(request)).returncode
    page = httpx.post(
        f"http://127.0.0.1:{BILLING}/appareils/demande",
        files={"fichier": request.read_bytes()},
        headers={"Authorization": f"Bearer {school.token}"},
        trust_env=False,
    )
    answer.write_bytes(page.content)
    taken = school.provision("desk", "station", code, "--answer", str(answer))
    assert taken.returncode == 0, taken.stderr

    station = start_station(school)
    start_terminal(school)
    world = World(Layout(school.folder))
    world.start()
    try:
        created = server.post("/api/pupils", [person.roster_row(date.today()) for person in (LEA, TOM)])
        for person, row in zip((LEA, TOM), created, strict=True):
            wait_until(lambda row=row: row["pupil"] in {p["pupil"] for p in station.pupils()}, 90, "the roster")  # type: ignore[misc]
            station.consent(row["pupil"], "opposed")
            station.give_card(row["pupil"], person.card.hexadecimal)
        wait_until(
            lambda: all(
                d["orders_pending"] == 0 for d in server.get("/api/state")["devices"] if d["device"] != "station-9"
            ),
            90,
            "the orders",
        )
        wait_until(lambda: at_rest(world), 90, "the lane")
        world.present_card(LEA.card)
        wait_until(world.push, 40, "the turnstile")
        wait_until(lambda: passes(server) == [(created[0]["pupil"], "completed")], 60, "the pass in the ledger")
    finally:
        world.stop()


def test_one_click_ends_a_live_session_and_nobody_lets_it_in_again(school: School) -> None:
    """The list is written by the click, the broker restarted as `canteen-broker.path` does. Others come back by
    themselves; what the revoked one still serves stays out of the ledger.
    """
    server = ServerClient(BILLING, school.token)
    link = {name: OrderBox(school.device(name)[1] / "exchange" / "orders.sqlite") for name in ("lane-1", "desk")}
    wait_until(lambda: link["lane-1"].link.connected, what="the line")
    before = (school.folder / "revoked.pem").read_bytes()
    revoked = httpx.post(
        f"http://127.0.0.1:{BILLING}/appareils/terminal-1/revoquer",
        headers={"Authorization": f"Bearer {school.token}"},
        trust_env=False,
    )
    assert revoked.status_code == 303
    assert before != (school.folder / "revoked.pem").read_bytes()
    school.stop_broker()
    school.start_broker()
    wait_until(lambda: not link["lane-1"].link.connected and link["desk"].link.connected, 90, "the two")
    world = World(Layout(school.folder))
    world.start()
    try:
        wait_until(lambda: at_rest(world), 90, "the lane")
        world.present_card(TOM.card)
        wait_until(world.push, 40, "the turnstile")
    finally:
        world.stop()
    wait_until(lambda: server.get("/api/health") is not None, what="the server")
    assert 1 == len(passes(server))
    assert link["lane-1"].link.connected is False
    stick = school.folder / "stick.jsonl"
    assert (
        0
        == school.run(
            "canteen-sync", "export", str(stick), "--config", str(school.device("lane-1")[0] / "sync.toml")
        ).returncode
    )
    carried = school.run("canteen-billing", "carry", "import", str(stick), "--config", school.billing_config)
    assert (1, 1) == (carried.returncode, len(passes(server))), "nor by a stick"
    for box in link.values():
        box.close()


def start_station(school: School) -> StationClient:
    etc, _ = school.device("desk")
    text = (etc / "station.toml").read_text(encoding="utf-8").replace("port = 8002", f"port = {STATION}")
    assert "production = true" in text
    (etc / "station.toml").write_text(text.replace("production = true", "production = false"), encoding="utf-8")
    link = school.run("canteen-station", "operator", "Mme Roux", "--config", str(etc / "station.toml")).stdout
    client = StationClient(STATION, link.strip().split("jeton=")[1])
    school.start("station", script_command("canteen-station", "--config", str(etc / "station.toml")))
    school.start("station-sync", script_command("canteen-sync", "--config", str(etc / "sync.toml")))
    school.programs["station"].wait_ready(lambda: client.answers("/api/etat"), 120)
    return client


def start_terminal(school: School) -> None:
    """As whoever mounts it: the board's line, its key, the camera; here their twins."""
    etc, var = school.device("lane-1")
    layout = Layout(school.folder)
    text = (etc / "terminal.toml").read_text(encoding="utf-8")
    for usual, ours in (
        ("production = true", "production = false"),
        ("/dev/ttyUSB0", str(layout.board_line)),
        ('kind = "video"\ndevice = 0', f'kind = "simulated"\npath = "{layout.camera_socket}"'),
        ("port = 8003", f"port = {DISPLAY}"),
    ):
        assert usual in text
        text = text.replace(usual, ours)
    (etc / "terminal.toml").write_text(text, encoding="utf-8")
    key = var / "terminal" / "channel.key"
    key.touch(0o600)
    key.write_bytes(b"0123456789abcdef")
    arguments = {
        "--serial": layout.board_line,
        "--control": layout.board_socket,
        "--key-file": key,
        "--address": PERIPHERAL_ADDRESS,
    }
    flat = [str(part) for pair in arguments.items() for part in pair]
    school.start("peripheral", module_command("firmware_bridge.simulated_peripheral", *flat))
    school.start("terminal", script_command("canteen-terminal", "--config", str(etc / "terminal.toml")))
    school.start("terminal-sync", script_command("canteen-sync", "--config", str(etc / "sync.toml")))


def at_rest(world: World) -> bool:
    try:
        state = httpx.get(f"http://127.0.0.1:{DISPLAY}/state", timeout=2, trust_env=False).json()
        return bool(state.get("state") == "idle" and world.board().online)
    except (httpx.HTTPError, FirmwareBridgeError, OSError):
        return False


def passes(server: ServerClient) -> list[tuple[str, str]]:
    return [(row["pupil"], row["outcome"]) for row in server.get("/api/passes", limit=50)["passes"]]
