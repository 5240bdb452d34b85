"""The configuration file (TOML) as frozen settings; every refusal is one sentence for the administrator."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from billing_server.errors import ConfigurationRefused
from canteen.access_decision import MissingEntitlement
from canteen.personal_code import CODE_DIGITS_MAX, CODE_DIGITS_MIN

LANGUAGES = ("fr", "en")
UAI = re.compile(r"[0-9]{7}[A-Z]")
"""Unité administrative immatriculée: the national number of an establishment."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where the secrets are, each in its own file of mode 0600."""

    signing_key: Path
    sealing_key: Path
    code_key: Path
    operators: Path
    clients: Path
    """Who may pull: names, token digests and schools."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The MQTT broker and this server's certificate for it.

    Attributes:
        workers: processes of `canteen-billing ingest` share what comes in with the server.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    workers: bool = False
    told: tuple[str, int] | None = None
    """Host and port as devices reach it, where they are others than ours."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the school chose.

    Attributes:
        purge_deadline: how long holders have to erase; a week by the old AU-009's retention rule, still the usage.
        lease: how long references may be compared without a word from us.
        erase_hands_on: month and day on which every hand is erased, each year; None keeps them over the summer.
        passes_kept: how long a pass leads to its pupil; three months by AU-008 and after.
        audit_kept: how long the audit is kept; six months to a year by the CNIL's deliberation 2021-122.
        no_meals_left: what happens at the line to an external whose prepaid meals are used up.
        code_length: digits of every personal code, chosen once: a terminal decides at the last one, so all have as
            many. 5 serve 1,000 pupils with ten valid codes for each one given.
    """

    purge_deadline: timedelta = timedelta(days=7)
    lease: timedelta = timedelta(days=7)
    missing_entitlement: MissingEntitlement = MissingEntitlement.DENY
    code_length: int = 5
    no_meals_left: MissingEntitlement = MissingEntitlement.SERVE_AND_BILL
    erase_hands_on: tuple[int, int] | None = None
    passes_kept: timedelta = timedelta(days=92)
    audit_kept: timedelta = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class SchoolSettings:
    """What a central server needs to know of us, and what a meal costs.

    Attributes:
        uai: the establishment's national number, for example "0751234X".
        meal_cents: the price of an external's prepaid meal.
    """

    uai: str = "0000000A"
    meal_cents: int = 0


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """The school's own certificate authority, with which devices are let in, and the list that keeps them out."""

    key: Path
    certificate: Path
    revoked: Path
    device_lasts: timedelta = timedelta(days=825)
    """How long a device's certificate stands; it renews itself in time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the process is told from outside."""

    school_name: str
    language: str
    database_url: str = field(repr=False)
    """May hold a password."""
    keys: KeyFiles
    broker: BrokerAddress | None
    web_host: str
    web_port: int
    policy: Policy
    school: SchoolSettings = SchoolSettings()
    authority: AuthoritySettings | None = None
    pulls_per_minute: int = 120


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path`; relative paths count from its folder.

    Raises:
        ConfigurationRefused: no such file, not TOML, or a value that cannot be.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationRefused(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationRefused(f"{path}: not TOML ({error})") from error
    return _Reader(path, content).settings()


class _Reader:
    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path, self._content = path, content

    def settings(self) -> Settings:
        language = self._text(self._content, "language", "fr")
        if language not in LANGUAGES:
            raise self._refused("language", "fr or en")
        policy = self._table("policy", required=False)
        web = self._table("web", required=False)
        return Settings(
            school_name=self._text(self._content, "school_name"),
            language=language,
            database_url=self._text(self._table("database"), "url"),
            keys=self._keys(self._table("keys")),
            broker=self._broker(),
            web_host=self._text(web, "host", "127.0.0.1"),
            web_port=self._whole(web, "port", 8001, 0, 65535),
            policy=Policy(
                purge_deadline=timedelta(days=self._whole(policy, "purge_deadline_days", 7, 1, 31)),
                lease=timedelta(days=self._whole(policy, "lease_days", 7, 1, 31)),
                missing_entitlement=self._choice(policy, "missing_entitlement", MissingEntitlement.DENY),
                erase_hands_on=self._day_of_year(policy, "erase_hands_on"),
                no_meals_left=self._choice(policy, "no_meals_left", MissingEntitlement.SERVE_AND_BILL),
                code_length=self._whole(policy, "code_length", 5, CODE_DIGITS_MIN, CODE_DIGITS_MAX),
                passes_kept=timedelta(days=self._whole(policy, "passes_kept_days", 92, 8, 400)),
                audit_kept=timedelta(days=self._whole(policy, "audit_kept_days", 365, 183, 1100)),
            ),
            school=self._school(self._table("school", required=False)),
            authority=self._authority(),
            pulls_per_minute=self._whole(self._table("pull", required=False), "requests_per_minute", 120, 1, 100_000),
        )

    def _school(self, table: dict[str, Any]) -> SchoolSettings:
        usual = SchoolSettings()
        uai = self._text(table, "uai", usual.uai)
        if not UAI.fullmatch(uai):
            raise self._refused("school.uai", 'seven digits and a capital letter, for example "0751234X"')
        return SchoolSettings(uai, self._whole(table, "meal_cents", usual.meal_cents, 0, 10_000))

    def _authority(self) -> AuthoritySettings | None:
        if "authority" not in self._content:
            return None
        table = self._table("authority")
        return AuthoritySettings(
            self._file(table, "key"),
            self._file(table, "certificate"),
            self._file(table, "revoked"),
            timedelta(days=self._whole(table, "device_days", 825, 1, 3650)),
        )

    def _keys(self, table: dict[str, Any]) -> KeyFiles:
        return KeyFiles(
            signing_key=self._file(table, "signing_key"),
            sealing_key=self._file(table, "sealing_key"),
            code_key=self._file(table, "code_key"),
            operators=self._file(table, "operators"),
            clients=self._path.parent / self._text(table, "clients", "clients.json"),
        )

    def _broker(self) -> BrokerAddress | None:
        if "broker" not in self._content:
            return None
        table = self._table("broker")
        host, port = self._text(table, "host"), self._whole(table, "port", 8883, 1, 65535)
        return BrokerAddress(
            host=host,
            port=port,
            ca=self._file(table, "ca"),
            certificate=self._file(table, "certificate"),
            key=self._file(table, "key"),
            workers=self._flag(table, "workers", False),
            told=(self._text(table, "told_host", host), self._whole(table, "told_port", port, 1, 65535)),
        )

    def _day_of_year(self, table: dict[str, Any], name: str) -> tuple[int, int] | None:
        if name not in table:
            return None
        month, separator, day = self._text(table, name).partition("-")
        try:
            date(2001, int(month), int(day))  # a year without 29 February: the day must be there every year
        except ValueError:
            separator = ""
        if not separator:
            raise self._refused(f"policy.{name}", 'a month and a day, for example "07-31"')
        return int(month), int(day)

    def _choice(self, table: dict[str, Any], name: str, usual: MissingEntitlement) -> MissingEntitlement:
        value = self._text(table, name, usual.value)
        try:
            return MissingEntitlement(value)
        except ValueError:
            allowed = " or ".join(choice.value for choice in MissingEntitlement)
            raise self._refused(f"policy.{name}", allowed) from None

    def _table(self, name: str, required: bool = True) -> dict[str, Any]:
        table = self._content.get(name, None if required else {})
        if not isinstance(table, dict):
            raise self._refused(f"[{name}]", "a table")
        return table

    def _text(self, table: dict[str, Any], name: str, default: str | None = None) -> str:
        value = table.get(name, default)
        if not isinstance(value, str) or not value.strip():
            raise self._refused(name, "text")
        return value

    def _file(self, table: dict[str, Any], name: str) -> Path:
        return self._path.parent / self._text(table, name)

    def _whole(self, table: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
        value = table.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._refused(name, f"a whole number from {least} to {most}")
        return value

    def _flag(self, table: dict[str, Any], name: str, default: bool) -> bool:
        value = table.get(name, default)
        if not isinstance(value, bool):
            raise self._refused(name, "true or false")
        return value

    def _refused(self, name: str, expected: str) -> ConfigurationRefused:
        return ConfigurationRefused(f"{self._path}: {name} should be {expected}")
