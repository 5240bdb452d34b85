"""The settings of `canteen-station`, from a TOML file."""

from __future__ import annotations

import base64
import binascii
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from enrollment_station.card_settings import CardSettings, read_card_settings
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.language import LANGUAGES
from hand_geometry.acquisition import Platen
from sync.errors import MalformedMessage
from sync.sealing import KEY_BYTES, OpeningKey, SealingKey
from sync.signing import VerifyingKey
from templates_store.errors import KeyUnavailable
from templates_store.kept_secret import KeptSecrets, SecretKind
from templates_store.key_choice import chosen_key_source
from templates_store.key_source import KeySource

_PORT_MOST = 65_535


@dataclass(frozen=True, slots=True)
class Storage:
    """The station's files. The keys and the operators' file have mode 0600."""

    journal: Path
    orders: Path
    store: Path
    store_key: KeySource
    signing_key: Path
    sealing_key: Path
    operators: Path
    audit: Path

    @property
    def kept_secrets(self) -> KeptSecrets:
        """What keeps the device's other secrets, as the store's key is kept."""
        return KeptSecrets(self.store_key, may_create=not self.store.exists())

    def opening_key(self) -> OpeningKey:
        """What opens what is sealed for us; made on first use. Raises CanteenError, OSError."""
        return OpeningKey(self.kept_secrets.read_or_make(self.sealing_key, KEY_BYTES, SecretKind.OPENING_KEY))


@dataclass(frozen=True, slots=True)
class StationConfiguration:
    """All that the process is told from outside."""

    device: DeviceId
    language: str
    storage: Storage
    server: VerifyingKey
    server_seal: SealingKey
    host: str
    port: int
    platen: Platen
    calibration: Path
    """What the hand reader learnt from the printed sheet; absent: not calibrated."""
    cards: CardSettings
    production: bool
    """Refuse simulated devices; on unless a configuration says otherwise."""


def load_configuration(path: Path) -> StationConfiguration:
    """The settings in `path`; relative file names count from its folder.

    Raises:
        ConfigurationRefused: the file cannot be read, or a setting is missing or wrong.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationRefused(f"{path}: {error}") from error
    try:
        return _read(settings, path.parent)
    except ConfigurationRefused as error:
        raise ConfigurationRefused(f"{path}: {error}") from error


def _read(settings: dict[str, Any], folder: Path) -> StationConfiguration:
    try:
        device = parse_device_id(_text(settings, "device"))
    except InvalidIdentifier as error:
        raise ConfigurationRefused("device: a name such as station-1 is needed") from error
    try:
        server = VerifyingKey(_octets(settings, "trust.server_signing_key"))
        server_seal = SealingKey(_octets(settings, "trust.server_sealing_key"))
    except MalformedMessage as error:
        raise ConfigurationRefused(f"trust: {error}") from error
    return StationConfiguration(
        device=device,
        language=_one_of(_text(settings, "language", "fr"), LANGUAGES, "language"),
        storage=_storage(settings, folder),
        server=server,
        server_seal=server_seal,
        host=_text(settings, "web.host", "127.0.0.1"),
        port=_port(settings),
        platen=Platen(_one_of(_text(settings, "hand.platen", "dark"), tuple(Platen), "hand.platen")),
        calibration=folder / _text(settings, "hand.calibration", "platen.npz"),
        cards=read_card_settings(settings.get("cards"), folder),
        production=_flag(settings, "production"),
    )


def _storage(settings: dict[str, Any], folder: Path) -> Storage:
    def file(name: str) -> Path:
        return folder / _text(settings, f"storage.{name}")

    return Storage(
        journal=file("journal"),
        orders=file("orders"),
        store=file("store"),
        store_key=_key_source(settings, folder),
        signing_key=file("signing_key"),
        sealing_key=file("sealing_key"),
        operators=file("operators"),
        audit=file("audit"),
    )


def _key_source(settings: dict[str, Any], folder: Path) -> KeySource:
    try:
        return chosen_key_source(_text(settings, "storage.store_key"), folder)
    except KeyUnavailable as error:
        raise ConfigurationRefused(f"storage.store_key: {error}") from error


def _setting(settings: dict[str, Any], name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(settings: dict[str, Any], name: str, default: str | None = None) -> str:
    value = _setting(settings, name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value:
        raise ConfigurationRefused(f"{name}: text is needed")
    return value


def _flag(settings: dict[str, Any], name: str) -> bool:
    value = _setting(settings, name)
    if value is not None and not isinstance(value, bool):
        raise ConfigurationRefused(f"{name}: true or false is needed")
    return value is not False


def _port(settings: dict[str, Any]) -> int:
    value = _setting(settings, "web.port")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _PORT_MOST:
        raise ConfigurationRefused("web.port: a port number is needed")
    return value


def _octets(settings: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(settings, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationRefused(f"{name}: 32 bytes in base64 are needed") from error


def _one_of(value: str, allowed: tuple[str, ...], name: str) -> str:
    if value not in allowed:
        raise ConfigurationRefused(f"{name}: one of {', '.join(allowed)} is needed")
    return value
