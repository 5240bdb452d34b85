"""Where the demonstration keeps its files, on which ports it listens, and the configuration it gives each program."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from canteen.identifiers import DeviceId
from canteen.operator_access import Operator
from demo.errors import PortInUse
from demo.pki import CertificateFiles
from sync.encoding import octets_text
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

TERMINAL = DeviceId("terminal-1")
STATION = DeviceId("station-1")
SCHOOL_NAME = "Collège des Tilleuls"
OPERATOR = "intendance"
PERIPHERAL_ADDRESS = 101


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports: the four pages a person opens, and the broker behind them."""

    lane: int
    billing: int
    station: int
    display: int
    broker: int

    @classmethod
    def following(cls, first: int) -> Ports:
        """Five ports from `first` on."""
        return cls(first, first + 1, first + 2, first + 3, first + 4)

    @classmethod
    def any_free(cls) -> Ports:
        """Five ports nobody uses just now (for the tests and `--once`)."""
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
        numbers = [int(probe.getsockname()[1]) for probe in probes]
        for probe in probes:
            probe.close()
        return cls(*numbers)

    def check_free(self) -> None:
        """Raises PortInUse, naming the port and the way out."""
        for number in (self.lane, self.billing, self.station, self.display, self.broker):
            try:
                socket.create_server(("127.0.0.1", number)).close()
            except OSError as error:
                raise PortInUse(
                    f"Le port {number} est déjà pris (une autre démonstration tourne-t-elle ?). "
                    f"Arrêtez ce programme, ou choisissez d'autres ports : `make demo PORT=18000`."
                ) from error


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one demonstration. Everything in it is made again from nothing after `make demo-clean`."""

    folder: Path

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def broker(self) -> Path:
        return self.folder / "broker"

    @property
    def operator_token(self) -> Path:
        return self.folder / "operator.token"

    @property
    def people(self) -> Path:
        return self.folder / "people.json"

    @property
    def camera_socket(self) -> Path:
        return self.folder / "camera.sock"

    @property
    def board_socket(self) -> Path:
        return self.folder / "board.sock"

    @property
    def board_line(self) -> Path:
        return self.folder / "board.tty"

    @property
    def channel_key(self) -> Path:
        return self.folder / "terminal" / "channel.key"

    def of(self, program: str) -> Path:
        """The private folder of one program."""
        path = self.folder / program
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The billing server's public halves, as every device is given them."""

    verifying: VerifyingKey
    sealing: SealingKey


def terminal_configuration(layout: Layout, ports: Ports, server: ServerKeys, staff: Operator) -> str:
    """`canteen-terminal`'s TOML; `staff` may let a pupil through at the lane."""
    home = layout.of("terminal")
    return f"""\
device = "{TERMINAL}"
production = false
language = "fr"

{_storage(home, store=True)}
[trust]
server_signing_key = "{octets_text(server.verifying.octets)}"

[board]
serial = "{layout.board_line}"
address = {PERIPHERAL_ADDRESS}
channel_key = "{layout.channel_key}"

[camera]
kind = "simulated"
path = "{layout.camera_socket}"

[display]
host = "127.0.0.1"
port = {ports.display}

[passage]
timeout_s = 6

[[staff.person]]
name = "{staff.name}"
token_digest = "{staff.token_digest}"
"""


def station_configuration(layout: Layout, ports: Ports, server: ServerKeys) -> str:
    """`canteen-station`'s TOML."""
    home = layout.of("station")
    return f"""\
device = "{STATION}"
language = "fr"

{_storage(home, store=True)}operators = "{home / "operators.json"}"
audit = "{home / "audit.sqlite"}"

[trust]
server_signing_key = "{octets_text(server.verifying.octets)}"
server_sealing_key = "{octets_text(server.sealing.octets)}"

[web]
host = "127.0.0.1"
port = {ports.station}

[hand]
platen = "dark"
"""


def billing_configuration(layout: Layout, ports: Ports, files: CertificateFiles, pupils: int) -> str:
    """`canteen-billing`'s TOML; codes of four digits are soon typed, and are enough for 500."""
    home = layout.of("billing")
    return f"""\
school_name = "{SCHOOL_NAME}"
language = "fr"

[database]
url = "sqlite+pysqlite:///{home / "ledger.sqlite"}"

[keys]
signing_key = "{home / "signing.key"}"
sealing_key = "{home / "sealing.key"}"
code_key = "{home / "code.key"}"
operators = "{home / "operators.json"}"

{_broker(layout, ports.broker, files)}
[web]
host = "127.0.0.1"
port = {ports.billing}

[policy]
purge_deadline_days = 7
lease_days = 7
missing_entitlement = "deny"
code_length = {4 if pupils <= 500 else 5}
"""


def sync_configuration(
    layout: Layout, device: DeviceId, program: str, broker_port: int, files: CertificateFiles, server: ServerKeys
) -> str:
    """`canteen-sync`'s TOML for the terminal or the station."""
    home = layout.of(program)
    return f"""\
device = "{device}"

{_storage(home, store=False)}
[trust]
server_signing_key = "{octets_text(server.verifying.octets)}"
server_sealing_key = "{octets_text(server.sealing.octets)}"

{_broker(layout, broker_port, files)}"""


def _storage(home: Path, *, store: bool) -> str:
    lines = ["[storage]", f'journal = "{home / "journal.sqlite"}"', f'orders = "{home / "orders.sqlite"}"']
    if store:
        lines += [
            f'store = "{home / "store.sqlite"}"',
            f'store_key = "{home / "store.key"}"',
            f'signing_key = "{home / "signing.key"}"',
            f'sealing_key = "{home / "sealing.key"}"',
        ]
    return "\n".join(lines) + "\n"


def _broker(layout: Layout, port: int, files: CertificateFiles) -> str:
    return f"""\
[broker]
host = "127.0.0.1"
port = {port}
ca = "{layout.pki / "ca.pem"}"
certificate = "{files.certificate}"
key = "{files.key}"
"""
