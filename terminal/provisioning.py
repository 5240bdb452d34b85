"""A new terminal's own configuration, as `canteen-terminal provision` writes it: the usual reader, gate and camera."""

from __future__ import annotations

from pathlib import Path

from sync.device_setup import DeviceKind
from sync.encoding import octets_text
from sync.provisioning import ProvisionAnswer
from sync.sealing import OpeningKey
from terminal.configuration import read_configuration


def _configuration(answer: ProvisionAnswer, state: Path) -> str:
    own, exchange = state / "terminal", state / "exchange"
    return f"""\
device = "{answer.device}"
production = true
language = "fr"

[storage]
journal = "{exchange / "journal.sqlite"}"
orders = "{exchange / "orders.sqlite"}"
store = "{own / "store.sqlite"}"
# A plain key file: whoever takes the flash card reads it. With a TPM or a systemd credential: see SECURITY.md.
store_key = "{own / "store.key"}"
signing_key = "{own / "signing.key"}"
sealing_key = "{own / "sealing.key"}"

[trust]
server_signing_key = "{octets_text(answer.server_signing_key.octets)}"

[board]
serial = "/dev/ttyUSB0"
address = 101
channel_key = "{own / "channel.key"}"

[camera]
kind = "video"
device = 0

[display]
host = "127.0.0.1"
port = 8003
"""


def _opening_key(config: Path, path: Path) -> OpeningKey:
    return read_configuration(config).opening_key() if config.exists() else OpeningKey.load_or_create(path)


TERMINAL = DeviceKind("terminal", _configuration, _opening_key)
