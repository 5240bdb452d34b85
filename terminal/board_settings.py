"""`[board]` of the configuration: the serial line, and who is at which address on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.devices import Role
from terminal.errors import ConfigurationRefused
from terminal.toml_table import TomlTable

_BAUDS = (9_600, 19_200, 38_400, 57_600, 115_200, 230_400)
"""Those of the standard."""


@dataclass(frozen=True, slots=True)
class PeripheralSource:
    """One peripheral: where it is, what it is for, and the file of its key."""

    address: int
    channel_key: Path
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class BoardSource:
    """The line and everybody on it."""

    serial: Path
    baud: int
    peripherals: tuple[PeripheralSource, ...]

    @property
    def has_trays(self) -> bool:
        """Whether there is a tray dispenser."""
        return any(Role.TRAYS in peripheral.roles for peripheral in self.peripherals)


def read_board(table: TomlTable, folder: Path) -> BoardSource:
    """The board as configured: `[board.gate]` and `[board.trays]` where these have addresses of their own.

    Raises:
        ConfigurationRefused: a value is missing, unknown or wrong.
    """
    serial = table.path("serial", folder)
    baud = table.integer("baud", _BAUDS[0], _BAUDS[-1], 115_200)
    if baud not in _BAUDS:
        raise ConfigurationRefused(f"[board] baud is one of {', '.join(map(str, _BAUDS))}")
    first = [Role.READER]
    others = []
    if table.has("gate"):
        gate = table.table("gate")
        with_trays = gate.flag("tray_dispenser", default=False)
        others.append(_peripheral(gate, folder, [Role.GATE, *[Role.TRAYS] * with_trays]))
    else:
        first.append(Role.GATE)
    if table.flag("tray_dispenser", default=False):
        first.append(Role.TRAYS)
    if table.has("trays"):
        others.append(_peripheral(table.table("trays"), folder, [Role.TRAYS]))
    address = table.integer("address", 0, 126, 101)
    peripherals = (PeripheralSource(address, table.path("channel_key", folder), tuple(first)), *others)
    table.refuse_unknown()
    if len({peripheral.address for peripheral in peripherals}) != len(peripherals):
        raise ConfigurationRefused("[board] each peripheral has an address of its own")
    if sum(Role.TRAYS in peripheral.roles for peripheral in peripherals) > 1:
        raise ConfigurationRefused("[board] there is one tray dispenser: tray_dispenser in one table, or [board.trays]")
    return BoardSource(serial, baud, peripherals)


def _peripheral(table: TomlTable, folder: Path, roles: list[Role]) -> PeripheralSource:
    address = table.integer("address", 0, 126, -1)
    source = PeripheralSource(address, table.path("channel_key", folder), tuple(roles))
    table.refuse_unknown()
    return source
