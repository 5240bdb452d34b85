"""A new station's own configuration, as `canteen-station provision` writes it."""

from __future__ import annotations

from pathlib import Path

from enrollment_station.configuration import load_configuration
from sync.device_setup import DeviceKind
from sync.encoding import octets_text
from sync.provisioning import ProvisionAnswer
from sync.sealing import OpeningKey


def _configuration(answer: ProvisionAnswer, state: Path) -> str:
    own, exchange = state / "station", state / "exchange"
    return f"""\
device = "{answer.device}"
production = true
language = "fr"

[storage]
journal = "{exchange / "journal.sqlite"}"
orders = "{exchange / "orders.sqlite"}"
store = "{own / "store.sqlite"}"
store_key = "{own / "store.key"}"
signing_key = "{own / "signing.key"}"
sealing_key = "{own / "sealing.key"}"
operators = "{own / "operators.json"}"
audit = "{own / "audit.sqlite"}"

[trust]
server_signing_key = "{octets_text(answer.server_signing_key.octets)}"
server_sealing_key = "{octets_text(answer.server_sealing_key.octets)}"

[web]
host = "127.0.0.1"
port = 8002

[hand]
platen = "dark"
"""


def _opening_key(config: Path, path: Path) -> OpeningKey:
    return load_configuration(config).storage.opening_key() if config.exists() else OpeningKey.load_or_create(path)


STATION = DeviceKind("station", _configuration, _opening_key)
