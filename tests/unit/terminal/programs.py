"""`canteen-terminal` as a process of its own, with the true twins of its devices around it."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from canteen.entitlements import forfait_5_days
from canteen.private_file import create_private_file
from canteen.serving_periods import EVERY_DAY, ServingCalendar, ServingPeriod
from demo.processes import leashed
from firmware_bridge.peripheral_client import PeripheralClient
from hand_geometry.simulated_camera import FrameServer
from sync.fact_bodies import read_fact
from sync.facts import Fact
from sync.messages import sign_order
from sync.order_box import OrderBox
from sync.orders import Order
from sync.pass_journal import JournalReader
from sync.sealing import OpeningKey
from tests.conftest import free_port, wait_until
from tests.unit.terminal.lane import SERVER_KEY, TERMINAL

ALWAYS_OPEN = ServingCalendar("Europe/Paris", (ServingPeriod("toujours", EVERY_DAY, 0, 24 * 60),))
THIS_YEAR = forfait_5_days(
    datetime.now(UTC).date() - timedelta(days=300), datetime.now(UTC).date() + timedelta(days=300)
)


@dataclass
class TerminalProgram:
    """One terminal's folder, its twins, and the process when it runs."""

    folder: Path
    port: int = field(default_factory=free_port)
    production: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        create_private_file(self.folder / "channel.key", secrets.token_bytes(16))
        self.config.write_text(
            f"""
device = "{TERMINAL}"
production = {str(self.production).lower()}
[storage]
journal = "journal.sqlite"
orders = "orders.sqlite"
store = "store.sqlite"
store_key = "store.key"
signing_key = "signing.key"
sealing_key = "sealing.key"
[trust]
server_signing_key = "{base64.b64encode(SERVER_KEY.verifying_key.octets).decode()}"
[board]
serial = "board.tty"
address = 101
channel_key = "channel.key"
[camera]
kind = "simulated"
path = "camera.sock"
[display]
port = {self.port}
""",
            encoding="utf-8",
        )
        self.opening_key = OpeningKey.load_or_create(self.folder / "sealing.key")
        self.world = PeripheralClient(self.folder / "world.sock")

    @property
    def config(self) -> Path:
        return self.folder / "terminal.toml"

    @property
    def log(self) -> str:
        return (self.folder / "terminal.log").read_text(encoding="utf-8")

    def start(self, *, until_ready: bool = True) -> None:
        with (self.folder / "terminal.log").open("ab") as log:
            self.process = subprocess.Popen(
                leashed([sys.executable, "-m", "terminal.main", "--config", str(self.config)]),
                stderr=log,
                env={**os.environ, "LANG": "fr_FR.UTF-8", **self.environment},
            )
        if until_ready:
            self.wait_for("idle", timeout_s=45)  # a bound: it takes three seconds where nothing else runs

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=10)

    def shown(self) -> dict[str, Any]:
        """The screen's snapshot; empty while there is no screen."""
        try:
            return dict(httpx.get(f"http://127.0.0.1:{self.port}/state", timeout=2, trust_env=False).json())
        except httpx.TransportError:
            return {}

    def wait_for(self, *states: str, timeout_s: float = 30) -> dict[str, Any]:
        """The snapshot, once the screen is in one of `states`."""
        wait_until(lambda: self.shown().get("state") in states, timeout_s, f"{states}: {self.shown()}")
        return self.shown()

    def order(self, *orders: Order) -> None:
        """What sync leaves in the order box."""
        box = OrderBox(self.folder / "orders.sqlite")
        number = box.received_up_to
        now = datetime.now(UTC)
        signed = [
            sign_order(order, TERMINAL, number + at, now, self.opening_key.sealing_key, SERVER_KEY)
            for at, order in enumerate(orders, start=1)
        ]
        box.put(signed)
        box.close()

    def facts(self) -> list[Fact]:
        journal = JournalReader(self.folder / "journal.sqlite")
        try:
            return [read_fact(entry.kind, entry.body) for entry in journal.entries_after(0, 100_000)]
        finally:
            journal.close()


@contextmanager
def surrounded(folder: Path) -> Iterator[tuple[TerminalProgram, FrameServer]]:
    """A terminal not yet started, its peripheral on a pty and its camera's frame server."""
    program = TerminalProgram(folder)
    camera = FrameServer(folder / "camera.sock")
    camera.start()
    peripheral = subprocess.Popen(
        leashed(
            [
                *(sys.executable, "-m", "firmware_bridge.simulated_peripheral"),
                *("--serial", str(folder / "board.tty"), "--control", str(folder / "world.sock")),
                *("--key-file", str(folder / "channel.key"), "--address", "101"),
            ]
        )
    )
    try:
        wait_until((folder / "world.sock").exists, what="the peripheral")
        yield program, camera
    finally:
        for process in (program.process, peripheral):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        camera.stop()
