"""Gives a peripheral its secure channel key, over the line: the first one, or another in the place of the one it has.

A new board knows only the standard's public installation key, so whoever listens while the first key is set can read
it: this happens once, in a window that somebody opens on purpose with nobody else on the cable, and never by itself.
The terminal's own panel refuses such a board. The key is kept beside the old one before it is sent, so that a power
cut at any point leaves it known: asking again finds out which of the two the board holds.
"""

from __future__ import annotations

import enum
import logging
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import osdp_sys
from osdp import Command, CompletionStatus, LibFlag, LogLevel, PDInfo

from canteen.private_file import sync_folder
from firmware_bridge.channel_key import ChannelKeys, check_channel_key, new_channel_key
from firmware_bridge.control_panel import refuse_pseudo_terminal
from firmware_bridge.errors import LineUnavailable
from firmware_bridge.peripheral_session import new_panel
from firmware_bridge.serial_channel import SerialLine

_log = logging.getLogger("canteen.firmware_bridge.key_installation")

_HANDSHAKE_S = 1.5
"""A handshake takes 25 ms, at 9600 baud 200 ms; with a lost frame libosdp tries again after a second."""
_PERIOD_S = 0.005
_SCBK = 1
"""The key type of OSDP's KEYSET: there is no other."""


class KeyOutcome(enum.StrEnum):
    """What became of it."""

    INSTALLED = "installed"
    """Its first key, sent under the public installation key."""
    REPLACED = "replaced"
    """Sent under the key it had."""
    ALREADY = "already"
    """It holds that key: an earlier attempt had got through."""
    NO_DEVICE = "no_device"
    """The line is absent, or a terminal runs on it."""
    SILENT = "silent"
    REFUSED = "refused"
    """It answers, but holds neither our key nor is it open to a first one."""

    @property
    def done(self) -> bool:
        """Whether the board and we now hold the same key."""
        return self in (KeyOutcome.INSTALLED, KeyOutcome.REPLACED, KeyOutcome.ALREADY)


def install_channel_key(
    serial_path: Path, baud: int, address: int, key_file: Path, keys: ChannelKeys, *, production: bool
) -> KeyOutcome:
    """Make a key, give it to the peripheral, prove that it holds it, and keep it in `key_file`, as `keys` keeps them.

    Raises:
        CanteenError: the key file, or the one beside it, is not ours alone, or does not open.
        SimulatedDeviceInProduction: a pseudo-terminal in production.
        OSError: the key could not be kept; nothing was sent.
    """
    refuse_pseudo_terminal(serial_path, production=production)
    osdp_sys.set_loglevel(LogLevel.Emergency)
    present = keys.read(key_file) if key_file.exists() else None
    pending = pending_beside(key_file)
    if not pending.exists():
        keys.keep(pending, new_channel_key())
    wanted = keys.read(pending)
    line = SerialLine(serial_path, baud)
    try:
        line.open()
    except LineUnavailable:
        return KeyOutcome.NO_DEVICE
    try:
        outcome = _Installer(line, address).install(wanted, present)
    finally:
        line.close()
    _log.warning("maintenance: channel key of address %d: %s", address, outcome.value)
    if outcome.done:
        pending.replace(key_file)
        sync_folder(key_file.parent)  # a power cut now would leave the old key in use, which the board has forgotten
    return outcome


class _Installer:
    """One attempt over an open line; nothing else may be on it."""

    def __init__(self, line: SerialLine, address: int) -> None:
        self._line, self._address = line, address
        self._channel = line.channel(address)
        self._answered = False
        self._statuses: list[int] = []

    def install(self, wanted: bytes, present: bytes | None) -> KeyOutcome:
        check_channel_key(wanted)
        if self._holds(wanted):
            return KeyOutcome.ALREADY
        if present is not None and self._replace(present, wanted):
            return KeyOutcome.REPLACED if self._holds(wanted) else KeyOutcome.REFUSED
        # Not enforced: libosdp tries the wanted key, then the installation key, and under that one sets the wanted one.
        panel = self._panel(wanted, [])
        if self._until(panel, lambda: bool(panel.sc_status() & 1)) and self._holds(wanted):
            return KeyOutcome.INSTALLED
        return KeyOutcome.REFUSED if self._answered else KeyOutcome.SILENT

    def _holds(self, key: bytes) -> bool:
        """Whether the secure channel can be built with `key` and no other."""
        panel = self._panel(key, [LibFlag.EnforceSecure])
        return self._until(panel, lambda: bool(panel.sc_status() & 1))

    def _replace(self, present: bytes, wanted: bytes) -> bool:
        panel = self._panel(present, [LibFlag.EnforceSecure])
        if not self._until(panel, lambda: bool(panel.sc_status() & 1 and panel.status() & 1)):
            return False
        self._statuses.clear()
        panel.submit_command(0, {"command": Command.Keyset, "type": _SCBK, "data": wanted})
        return self._until(panel, lambda: bool(self._statuses)) and self._statuses == [CompletionStatus.Ok]

    def _panel(self, key: bytes, flags: list[int]) -> Any:
        self._channel.restart_bookkeeping()
        panel = new_panel(PDInfo(self._address, self._channel, scbk=key, flags=flags))
        panel.set_command_completion_callback(lambda _index, _command, status: self._statuses.append(status))
        return panel

    def _until(self, panel: Any, true: Callable[[], bool]) -> bool:
        """Run the line until `true`, or for as long as a handshake may take."""
        until_s = time.monotonic() + _HANDSHAKE_S
        while not true():
            if time.monotonic() > until_s or not self._line.is_open:
                return False
            select.select([self._line.fileno()], [], [], _PERIOD_S)
            self._line.pump()
            panel.refresh()
            self._answered = self._answered or self._channel.frames_since_command > 0
        return True


def pending_beside(key_file: Path) -> Path:
    """Where the next key waits while it is given to the board; there: an installation was begun and not finished."""
    return key_file.with_name(key_file.name + ".pending")
