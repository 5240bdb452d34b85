"""What the demonstration starts, in which order, and how it is filled the first time: by the doors that people use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from canteen.identifiers import DeviceId, PupilId
from canteen.operator_access import Operator, new_token, token_digest
from canteen.private_file import create_private_file, read_or_create_private_file
from demo.broker import SERVER_NAME, start_broker, write_broker_configuration
from demo.clients import ServerClient, StationClient
from demo.layout import (
    OPERATOR,
    PERIPHERAL_ADDRESS,
    SCHOOL_NAME,
    STATION,
    TERMINAL,
    Layout,
    Ports,
    ServerKeys,
    billing_configuration,
    station_configuration,
    sync_configuration,
    terminal_configuration,
)
from demo.network_switch import NetworkSwitch
from demo.people import Person, Way
from demo.pki import CertificateAuthority
from demo.processes import Program, module_command, script_command
from demo.world import World
from sync.encoding import octets_text
from sync.sealing import OpeningKey
from sync.signing import SigningKey, VerifyingKey

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

_CHANNEL_KEY_BYTES = 16
_TOKEN_LONGEST = 200


class Canteen:
    """A school's canteen on one machine. `start` leaves it ready for lunch; `stop` leaves nothing running."""

    def __init__(self, layout: Layout, ports: Ports, people: Sequence[Person], progress: Progress) -> None:
        self.layout, self.ports, self.people = layout, ports, list(people)
        self._progress = progress
        self.world = World(layout)
        self.switch = NetworkSwitch(ports.broker)
        self.programs: dict[str, Program] = {}
        self.pupils: dict[str, PupilId] = {}
        self.codes: dict[PupilId, str] = {}
        self._broker: subprocess.Popen[bytes] | None = None
        self._authority = CertificateAuthority(layout.pki)
        self.token = self._operator_token()
        self.billing = ServerClient(ports.billing, self.token)
        self.station = StationClient(ports.station, self.token)

    # Starting and stopping

    def start(self) -> None:
        """Start every process, wait until each is ready, and fill what is empty.

        Raises:
            DemoError: something is missing, taken or broken; the message says what to do.
        """
        self.ports.check_free()
        self._write_configurations()
        self.start_broker()
        self.switch.start()
        self.world.start()
        for program in self.programs.values():
            program.start()
        self._wait_ready()
        self._fill()

    def stop(self) -> None:
        """Stop what was started, devices first, the broker last."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(Program.stop, self.programs.values()))
        self.world.stop()
        self.switch.stop()
        if self._broker is not None:
            self._broker.terminate()
            self._broker.wait(timeout=5)
        self.billing.close()
        self.station.close()

    def start_broker(self) -> None:
        """Mosquitto, with the configuration of this demonstration."""
        configuration = write_broker_configuration(self.layout.broker, self.ports.broker, self._authority)
        self.layout.logs.mkdir(exist_ok=True, mode=0o700)
        self._broker = start_broker(configuration, self.layout.logs / "broker.log")

    def kill_broker(self) -> None:
        """As a power cut at the server."""
        if self._broker is not None:
            self._broker.kill()
            self._broker.wait()

    def display(self) -> dict[str, Any]:
        """What the pupil's screen shows now."""
        answer = httpx.get(f"http://127.0.0.1:{self.ports.display}/state", timeout=2, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())

    # What the pages link to

    def operator_link(self, port: int) -> str:
        """A link that opens a page as the demonstration's operator."""
        return f"http://127.0.0.1:{port}/entrer?jeton={self.token}"

    @property
    def staff_link(self) -> str:
        """A link to the page at the lane where somebody on duty lets a pupil through."""
        return f"http://127.0.0.1:{self.ports.display}/personnel/entrer?jeton={self.token}"

    def verifying_key_of(self, device: str) -> VerifyingKey:
        """A device's public key as the device itself has it."""
        home = {TERMINAL: "terminal", STATION: "station"}[DeviceId(device)]
        return SigningKey.load_or_create(self.layout.of(home) / "signing.key").verifying_key

    def code_of(self, person: Person) -> str:
        return self.codes[self.pupils[person.key]]

    # Configuration and keys

    def _operator_token(self) -> str:
        path = self.layout.operator_token
        if not path.exists():
            create_private_file(path, new_token().encode())
        return path.read_text(encoding="utf-8")[:_TOKEN_LONGEST]

    @property
    def _operator(self) -> Operator:
        return Operator(OPERATOR, token_digest(self.token))

    def _write_configurations(self) -> None:
        layout, ports = self.layout, self.ports
        billing = layout.of("billing")
        server = ServerKeys(
            SigningKey.load_or_create(billing / "signing.key").verifying_key,
            OpeningKey.load_or_create(billing / "sealing.key").sealing_key,
        )
        layout.of("terminal")
        read_or_create_private_file(layout.channel_key, _CHANNEL_KEY_BYTES)
        identity = self._authority.issue(SERVER_NAME)
        self._add(
            "canteen-billing",
            "canteen-billing",
            self._write("billing", "billing.toml", billing_configuration(layout, ports, identity, len(self.people))),
        )
        self._add(
            "canteen-station",
            "canteen-station",
            self._write("station", "station.toml", station_configuration(layout, ports, server)),
        )
        self._add(
            "canteen-terminal",
            "canteen-terminal",
            self._write("terminal", "terminal.toml", terminal_configuration(layout, ports, server, self._operator)),
        )
        for device, program in ((TERMINAL, "terminal"), (STATION, "station")):
            files = self._authority.issue(device)
            text = sync_configuration(layout, device, program, self.switch.port, files, server)
            self._add(f"canteen-sync-{program}", "canteen-sync", self._write(program, "sync.toml", text))
        self.programs["peripheral"] = Program(
            "peripheral",
            module_command(
                "firmware_bridge.simulated_peripheral",
                "--serial",
                str(layout.board_line),
                "--control",
                str(layout.board_socket),
                "--key-file",
                str(layout.channel_key),
                "--address",
                str(PERIPHERAL_ADDRESS),
            ),
            layout.logs / "peripheral.log",
        )
        for program in ("billing", "station"):
            self._write_operators(layout.of(program) / "operators.json")

    def _add(self, name: str, script: str, configuration: Path) -> None:
        command = script_command(script, "--config", str(configuration))
        self.programs[name] = Program(name, command, self.layout.logs / f"{name}.log")

    def _write(self, program: str, name: str, text: str) -> Path:
        path = self.layout.of(program) / name
        path.unlink(missing_ok=True)
        create_private_file(path, text.encode())
        return path

    def _write_operators(self, path: Path) -> None:
        operators = [{"name": self._operator.name, "token_digest": self._operator.token_digest}]
        path.unlink(missing_ok=True)
        create_private_file(path, json.dumps(operators).encode())

    # Readiness

    def _wait_ready(self) -> None:
        programs = self.programs
        programs["canteen-billing"].wait_ready(lambda: self.billing.answers("/api/health"))
        programs["canteen-station"].wait_ready(lambda: self.station.answers("/api/etat"))
        programs["canteen-terminal"].wait_ready(self._display_answers)
        programs["peripheral"].wait_ready(self._board_online)

    def _display_answers(self) -> bool:
        try:
            return "state" in self.display()  # nothing is shown before the self-test is over
        except httpx.HTTPError:
            return False

    def _board_online(self) -> bool:
        from firmware_bridge.errors import FirmwareBridgeError

        try:
            return self.world.board().online
        except (FirmwareBridgeError, OSError):
            return False

    # The first filling

    def _fill(self) -> None:
        self.pupils = self._known_pupils()
        if not self.pupils:
            self._register_devices()
            self._set_calendar()
        newcomers = [person for person in self.people if person.key not in self.pupils]
        if newcomers:
            self._add_to_roster(newcomers)
        self.codes = {PupilId(row["pupil"]): row["code"] or "" for row in self.billing.get("/api/pupils", codes=1)}
        if newcomers:
            self._enroll(newcomers)
        self.wait_settled()

    def _register_devices(self) -> None:
        for device, program, role in ((TERMINAL, "terminal", "terminal"), (STATION, "station", "station")):
            home = self.layout.of(program)
            self.billing.post(
                "/api/devices",
                {
                    "device": device,
                    "role": role,
                    "verifying_key": octets_text(self.verifying_key_of(device).octets),
                    "sealing_key": octets_text(OpeningKey.load_or_create(home / "sealing.key").sealing_key.octets),
                },
            )

    def _set_calendar(self) -> None:
        self.billing.put(
            "/api/calendar",
            {
                "school_name": SCHOOL_NAME,
                "timezone": "Europe/Paris",
                # All day, every day: the demonstration is looked at on Sundays and at night too.
                "periods": [{"name": "midi", "weekdays": list(range(7)), "starts_minute": 0, "ends_minute": 24 * 60}],
                "closed_days": [],
                "missing_entitlement": "deny",
            },
        )

    def _known_pupils(self) -> dict[str, PupilId]:
        """Who of the demonstration is which pseudonym; no name and no code is in this file."""
        if not self.layout.people.exists():
            return {}
        return dict(json.loads(self.layout.people.read_text(encoding="utf-8")))

    def _add_to_roster(self, newcomers: list[Person]) -> None:
        self._progress("Liste des élèves", 0, 1)
        today = date.today()  # noqa: DTZ011 - the school's own day, on this one machine
        created = self.billing.post("/api/pupils", [person.roster_row(today) for person in newcomers])
        for person, row in zip(newcomers, created, strict=True):
            self.pupils[person.key] = PupilId(row["pupil"])
        draft = self.layout.people.with_suffix(".new")
        draft.write_text(json.dumps(self.pupils), encoding="utf-8")
        draft.replace(self.layout.people)
        self._progress("Liste des élèves", 1, 1)
        wanted = {self.pupils[person.key] for person in newcomers}
        self.programs["canteen-station"].wait_ready(lambda: wanted <= {row["pupil"] for row in self.station.pupils()})

    def _enroll(self, newcomers: list[Person]) -> None:
        deciding = [person for person in newcomers if person.way is not Way.UNDECIDED]
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done, _ in enumerate(pool.map(self._decide, deciding), start=1):
                self._progress("Consentements, mains et cartes", done, len(deciding))

    def _decide(self, person: Person) -> None:
        pupil = self.pupils[person.key]
        if person.way is Way.CARD:
            self.station.consent(pupil, "opposed")
            self.station.give_card(pupil, person.card.hexadecimal)
        else:
            self.station.consent(pupil, "given")
            self.station.enroll(pupil, [hand.encoded() for hand in person.enrolment])

    def wait_settled(self, within_s: float = 60.0) -> None:
        """Wait until every order has been carried out and every fact is in the ledger."""
        self.programs["canteen-sync-terminal"].wait_ready(self.settled, within_s)

    def settled(self) -> bool:
        """Whether nothing is on its way between devices and server."""
        station = self.station.get("/api/etat")
        if station["backlog"] != 0:
            return False
        state = self.billing.get("/api/state")
        return all(device["orders_pending"] == 0 for device in state["devices"])
