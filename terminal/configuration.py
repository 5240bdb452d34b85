"""The terminal's configuration: one TOML file, read once, refused with a sentence that says what to write instead."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from canteen.operator_access import Operator
from sync.errors import MalformedMessage
from sync.retention import PASSES_KEPT, SHORTEST
from sync.sealing import KEY_BYTES, OpeningKey
from sync.signing import VerifyingKey
from templates_store.errors import KeyUnavailable
from templates_store.kept_secret import KeptSecrets, SecretKind
from templates_store.key_choice import chosen_key_source
from templates_store.key_source import KeySource
from terminal.board_settings import BoardSource, read_board
from terminal.card_settings import PcscReaderSource, read_card_reader
from terminal.display.staff import StaffSettings
from terminal.errors import ConfigurationRefused
from terminal.toml_table import TomlTable

STAFF_NAME_LONGEST = 60
"""A name stands in the journal as part of the reason, which has 200 characters."""


CALIBRATION_NAME = "platen.npz"


@dataclass(frozen=True, slots=True)
class SimulatedCameraSource:
    """A frame server's socket; never in production."""

    path: Path


@dataclass(frozen=True, slots=True)
class RecordedCameraSource:
    """A folder of pictures or a video file; never in production."""

    path: Path


@dataclass(frozen=True, slots=True)
class VideoCameraSource:
    """A Video4Linux device by number or path."""

    device: int | str


CameraSource = SimulatedCameraSource | RecordedCameraSource | VideoCameraSource


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a terminal is told from outside."""

    device: DeviceId
    production: bool
    language: str
    journal: Path
    orders: Path
    store: Path
    store_key: KeySource
    signing_key: Path
    sealing_key: Path
    server_signing_key: VerifyingKey
    board: BoardSource
    camera: CameraSource
    calibration: Path
    """Where `canteen-terminal calibrate` leaves what the camera learnt from the sheet; absent: not calibrated."""
    display_host: str
    display_port: int
    passage_timeout_s: float
    staff: StaffSettings
    card_reader: PcscReaderSource | None
    """None where cards are read by the board alone."""
    passes_kept: timedelta
    """How long the journal keeps what the ledger has acknowledged."""

    @property
    def kept_secrets(self) -> KeptSecrets:
        """What keeps the device's other secrets, as the store's key is kept."""
        # Whoever installs a board's key before the first start makes what everything rests on.
        return KeptSecrets(self.store_key, may_create=not self.store.exists())

    def opening_key(self) -> OpeningKey:
        """What opens what is sealed for us; made on first use. Raises CanteenError, OSError."""
        return OpeningKey(self.kept_secrets.read_or_make(self.sealing_key, KEY_BYTES, SecretKind.OPENING_KEY))


def read_configuration(path: Path) -> Configuration:
    """The configuration in `path`; relative paths in it are relative to its folder.

    Raises:
        ConfigurationRefused: no such file, not TOML, or a value is missing, unknown or out of its range.
    """
    try:
        untrusted = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationRefused(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationRefused(f"{path}: not TOML ({error})") from error
    try:
        configuration = _read(TomlTable(untrusted, ""), path.parent)
    except ConfigurationRefused as error:
        raise ConfigurationRefused(f"{path}: {error}") from error
    if configuration.staff.people and path.stat().st_mode & 0o077:
        # Who can write here can open the gate under somebody's name.
        raise ConfigurationRefused(f"{path}: names staff and is open to others: chmod 600 it and renew their links")
    return configuration


def _read(top: TomlTable, folder: Path) -> Configuration:
    storage = top.table("storage")
    display, passage = top.table("display", {}), top.table("passage", {})
    camera = top.table("camera")
    calibration = camera.path("calibration", folder) if camera.has("calibration") else folder / CALIBRATION_NAME
    configuration = Configuration(
        device=_device(top),
        production=top.flag("production", default=True),
        language=top.one_of("language", ("fr", "en"), "fr"),
        journal=storage.path("journal", folder),
        orders=storage.path("orders", folder),
        store=storage.path("store", folder),
        store_key=_key_source(storage, folder),
        signing_key=storage.path("signing_key", folder),
        sealing_key=storage.path("sealing_key", folder),
        server_signing_key=_server_key(top.table("trust")),
        board=read_board(top.table("board"), folder),
        camera=_camera(camera, folder),
        calibration=calibration,
        display_host=_loopback(display),
        display_port=display.integer("port", 0, 65535, 8003),
        passage_timeout_s=float(passage.integer("timeout_s", 1, 20, 6)),
        staff=_staff(top.table("staff", {})),
        card_reader=read_card_reader(top.table("card_reader", {}), folder),
        passes_kept=timedelta(days=storage.integer("passes_kept_days", SHORTEST.days, 366, PASSES_KEPT.days)),
    )
    for table in (top, storage, display, passage):
        table.refuse_unknown()
    return configuration


def _device(top: TomlTable) -> DeviceId:
    try:
        return parse_device_id(top.text("device"))
    except InvalidIdentifier as error:
        raise ConfigurationRefused("device is a lower-case name such as terminal-1") from error


def _key_source(storage: TomlTable, folder: Path) -> KeySource:
    try:
        return chosen_key_source(storage.text("store_key"), folder)
    except KeyUnavailable as error:
        raise ConfigurationRefused(f"[storage] store_key: {error}") from error


def _server_key(trust: TomlTable) -> VerifyingKey:
    try:
        key = VerifyingKey(base64.b64decode(trust.text("server_signing_key"), validate=True))
    except (binascii.Error, ValueError, MalformedMessage) as error:
        raise ConfigurationRefused("[trust] server_signing_key is 32 bytes in base64") from error
    trust.refuse_unknown()
    return key


def _camera(table: TomlTable, folder: Path) -> CameraSource:
    kind = table.one_of("kind", ("video", "simulated", "recorded"))
    source: CameraSource
    if kind == "video":
        device = table.raw("device")
        if not isinstance(device, int | str) or isinstance(device, bool):
            raise ConfigurationRefused("[camera] device is a number, or a path in quotes")
        source = VideoCameraSource(device)
    else:
        path = table.path("path", folder)
        source = SimulatedCameraSource(path) if kind == "simulated" else RecordedCameraSource(path)
    table.refuse_unknown()
    return source


def _staff(table: TomlTable) -> StaffSettings:
    """Who may vouch for a pupil: each `[[staff.person]]` is written by `canteen-terminal staff`."""
    quota = table.integer("daily_quota", 0, 10_000, 20)
    people = []
    for person in table.tables("person"):
        name, digest = person.text("name"), person.text("token_digest")
        person.refuse_unknown()
        if len(name) > STAFF_NAME_LONGEST or not name.isprintable():
            raise ConfigurationRefused(f"[[staff.person]] name has 1 to {STAFF_NAME_LONGEST} printable characters")
        if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
            raise ConfigurationRefused("[[staff.person]] token_digest is what `canteen-terminal staff NAME` wrote")
        people.append(Operator(name, digest))
    table.refuse_unknown()
    return StaffSettings(tuple(people), quota)


def _loopback(display: TomlTable) -> str:
    """The screen is for the kiosk on this machine: the process with the secrets answers to no network."""
    host = display.text("host", "127.0.0.1")
    try:
        is_loopback = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationRefused("[display] host is a loopback address, such as 127.0.0.1")
    return host
