"""One table of the configuration, asked for value by value; whatever is wrong is said with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from terminal.errors import ConfigurationRefused


class TomlTable:
    """Remembers what was asked for, so that a misspelt name is found."""

    def __init__(self, untrusted: dict[str, Any], name: str) -> None:
        self._untrusted, self._name = untrusted, name
        self._asked: set[str] = set()

    def table(self, name: str, default: dict[str, Any] | None = None) -> TomlTable:
        self._asked.add(name)
        value = self._untrusted.get(name, default)
        if not isinstance(value, dict):
            raise ConfigurationRefused(f"the table [{name}] is missing")
        return TomlTable(value, f"{self._name}.{name}" if self._name else name)

    def has(self, name: str) -> bool:
        return name in self._untrusted

    def tables(self, name: str) -> list[TomlTable]:
        rows = self._value(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigurationRefused(f"[[{self._name}.{name}]] is a list of tables")
        return [TomlTable(row, f"{self._name}.{name}") for row in rows]

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
