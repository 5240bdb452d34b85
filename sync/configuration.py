"""The settings of `canteen-sync`, from a TOML file."""

from __future__ import annotations

import base64
import binascii
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from sync.errors import MalformedMessage, SyncError
from sync.mqtt_transport import BrokerSettings
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

STICKS = Path("/media/stick")
"""Where systemd/canteen-stick.rules mounts one."""


class ConfigurationRefused(SyncError):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class SyncConfiguration:
    """Where the two files are, whom to believe, and where the broker is."""

    device: DeviceId
    journal: Path
    orders: Path
    server: VerifyingKey
    server_seal: SealingKey | None
    """For files on a stick; without it only the network goes up."""
    broker: BrokerSettings
    lane_broker: BrokerSettings | None = None
    """The broker that a terminal runs, for what neighbours tell each other when the school's is gone."""
    sticks: Path = STICKS
    """Where the machine mounts a stick."""


def load_configuration(path: Path) -> SyncConfiguration:
    """The settings in `path`.

    Raises:
        ConfigurationRefused: the file cannot be read, or a setting is missing or wrong.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationRefused(f"{path}: {error}") from error
    try:
        return SyncConfiguration(
            device=parse_device_id(_setting(settings, "device", str)),
            journal=Path(_setting(settings, "storage.journal", str)),
            orders=Path(_setting(settings, "storage.orders", str)),
            server=VerifyingKey(base64.b64decode(_setting(settings, "trust.server_signing_key", str), validate=True)),
            server_seal=_server_seal(settings),
            broker=read_broker(settings),
            lane_broker=_lane_broker(settings),
            sticks=_sticks(settings),
        )
    except InvalidIdentifier as error:
        raise ConfigurationRefused(f"{path}: device: {error}") from error
    except (MalformedMessage, binascii.Error) as error:
        raise ConfigurationRefused(f"{path}: trust: keys are 32 bytes in base64") from error
    except ConfigurationRefused as error:
        raise ConfigurationRefused(f"{path}: {error}") from error


def _server_seal(settings: dict[str, Any]) -> SealingKey | None:
    if "server_sealing_key" not in settings.get("trust", {}):
        return None
    return SealingKey(base64.b64decode(_setting(settings, "trust.server_sealing_key", str), validate=True))


def _sticks(settings: dict[str, Any]) -> Path:
    if "stick" not in settings:
        return STICKS
    return Path(_setting(settings, "stick.folder", str))


def _lane_broker(settings: dict[str, Any]) -> BrokerSettings | None:
    """`[lane_broker]` names host and port; who we are and whom we believe is as in `[broker]`."""
    if "lane_broker" not in settings:
        return None
    return replace(
        read_broker(settings),
        host=_setting(settings, "lane_broker.host", str),
        port=_setting(settings, "lane_broker.port", int),
    )


def read_broker(settings: dict[str, Any]) -> BrokerSettings:
    """The `[broker]` table of any of our configuration files. Raises ConfigurationRefused."""
    return BrokerSettings(
        host=_setting(settings, "broker.host", str),
        port=_setting(settings, "broker.port", int),
        ca=Path(_setting(settings, "broker.ca", str)),
        certificate=Path(_setting(settings, "broker.certificate", str)),
        key=Path(_setting(settings, "broker.key", str)),
    )


def _setting(settings: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigurationRefused(f"{name}: {'text' if kind is str else 'a whole number'} is needed")
    return value
