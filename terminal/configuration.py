"""The terminal's configuration: one TOML file, read once, refused with a sentence that says what to write instead."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from canteen.operator_access import Operator
from canteen.personal_code import CODE_DIGITS_MAX, CODE_DIGITS_MIN
from sync.errors import MalformedMessage
from sync.signing import VerifyingKey
from terminal.display.staff import StaffSettings
from terminal.errors import ConfigurationRefused

STAFF_NAME_LONGEST = 60
"""A name stands in the journal as part of the reason, which has 200 characters."""


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
    code_length: int
    journal: Path
    orders: Path
    store: Path
    store_key: Path
    signing_key: Path
    sealing_key: Path
    server_signing_key: VerifyingKey
    board_serial: Path
    board_address: int
    board_channel_key: Path
    camera: CameraSource
    display_host: str
    display_port: int
    passage_timeout_s: float
    staff: StaffSettings


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
        configuration = _read(_Table(untrusted, ""), path.parent)
    except ConfigurationRefused as error:
        raise ConfigurationRefused(f"{path}: {error}") from error
    if configuration.staff.people and path.stat().st_mode & 0o077:
        # Who can write here can open the gate under somebody's name.
        raise ConfigurationRefused(f"{path}: names staff and is open to others: chmod 600 it and renew their links")
    return configuration


def _read(top: _Table, folder: Path) -> Configuration:
    storage, board = top.table("storage"), top.table("board")
    display, passage = top.table("display", {}), top.table("passage", {})
    configuration = Configuration(
        device=_device(top),
        production=top.flag("production", default=True),
        language=top.one_of("language", ("fr", "en"), "fr"),
        code_length=top.integer("code_length", CODE_DIGITS_MIN, CODE_DIGITS_MAX, 4),
        journal=storage.path("journal", folder),
        orders=storage.path("orders", folder),
        store=storage.path("store", folder),
        store_key=storage.path("store_key", folder),
        signing_key=storage.path("signing_key", folder),
        sealing_key=storage.path("sealing_key", folder),
        server_signing_key=_server_key(top.table("trust")),
        board_serial=board.path("serial", folder),
        board_address=board.integer("address", 0, 126, 101),
        board_channel_key=board.path("channel_key", folder),
        camera=_camera(top.table("camera"), folder),
        display_host=_loopback(display),
        display_port=display.integer("port", 0, 65535, 8003),
        passage_timeout_s=float(passage.integer("timeout_s", 1, 20, 6)),
        staff=_staff(top.table("staff", {})),
    )
    for table in (top, storage, board, display, passage):
        table.refuse_unknown()
    return configuration


class _Table:
    """One table of the file; remembers what was asked for, so that a misspelt name is found."""

    def __init__(self, untrusted: dict[str, Any], name: str) -> None:
        self._untrusted, self._name = untrusted, name
        self._asked: set[str] = set()

    def table(self, name: str, default: dict[str, Any] | None = None) -> _Table:
        self._asked.add(name)
        value = self._untrusted.get(name, default)
        if not isinstance(value, dict):
            raise ConfigurationRefused(f"the table [{name}] is missing")
        return _Table(value, name)

    def tables(self, name: str) -> list[_Table]:
        rows = self._value(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigurationRefused(f"[[{self._name}.{name}]] is a list of tables")
        return [_Table(row, f"{self._name}.{name}") for row in rows]

    def text(self, name: str, default: str | None = None) -> str:
        value = self._value(name, default)
        if not isinstance(value, str) or not value:
            raise ConfigurationRefused(f"{self._where(name)} is text in quotes")
        return value

    def path(self, name: str, folder: Path) -> Path:
        return folder / self.text(name)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise ConfigurationRefused(f"{self._where(name)} is true or false")
        return value

    def integer(self, name: str, least: int, most: int, default: int) -> int:
        value = self._value(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigurationRefused(f"{self._where(name)} is a whole number from {least} to {most}")
        return value

    def one_of(self, name: str, values: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in values:
            raise ConfigurationRefused(f"{self._where(name)} is one of {', '.join(values)}")
        return value

    def raw(self, name: str) -> Any:
        return self._value(name, None)

    def refuse_unknown(self) -> None:
        unknown = sorted(set(self._untrusted) - self._asked)
        if unknown:
            raise ConfigurationRefused(f"{self._where(unknown[0])} is no setting of a terminal")

    def _value(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._untrusted.get(name, default)
        if value is None:
            raise ConfigurationRefused(f"{self._where(name)} is missing")
        return value

    def _where(self, name: str) -> str:
        return f"[{self._name}] {name}" if self._name else name


def _device(top: _Table) -> DeviceId:
    try:
        return parse_device_id(top.text("device"))
    except InvalidIdentifier as error:
        raise ConfigurationRefused("device is a lower-case name such as terminal-1") from error


def _server_key(trust: _Table) -> VerifyingKey:
    try:
        key = VerifyingKey(base64.b64decode(trust.text("server_signing_key"), validate=True))
    except (binascii.Error, ValueError, MalformedMessage) as error:
        raise ConfigurationRefused("[trust] server_signing_key is 32 bytes in base64") from error
    trust.refuse_unknown()
    return key


def _camera(table: _Table, folder: Path) -> CameraSource:
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


def _staff(table: _Table) -> StaffSettings:
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


def _loopback(display: _Table) -> str:
    """The screen is for the kiosk on this machine: the process with the secrets answers to no network."""
    host = display.text("host", "127.0.0.1")
    try:
        is_loopback = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationRefused("[display] host is a loopback address, such as 127.0.0.1")
    return host
