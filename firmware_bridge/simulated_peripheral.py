"""The board's twin: a true OSDP peripheral on a pseudo-terminal, with keypad, card reader, lamp, text, turnstile and
tray dispenser.

`python -m firmware_bridge.simulated_peripheral --serial PATH --control SOCKET --key-file FILE` runs it as a program of
its own, with `--also` several on one line. One thread: line, side doors and mechanics share a selector.
"""

from __future__ import annotations

import argparse
import ctypes
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import osdp_sys
from osdp import (
    Capability,
    CardFormat,
    Command,
    CommandLEDColor,
    Event,
    LibFlag,
    LogLevel,
    PDCapabilities,
    PDInfo,
    StatusReportType,
)
from osdp.helpers import PdId

from canteen.command_line import session_language
from firmware_bridge.channel_key import read_channel_key, replace_channel_key
from firmware_bridge.devices import Role
from firmware_bridge.errors import ChannelKeyRefused, FirmwareBridgeError, SimulatedDeviceInProduction
from firmware_bridge.osdp_messages import (
    EMERGENCY_INPUT,
    INPUTS,
    OUTPUT_OFF,
    OUTPUT_ON_FOR,
    OUTPUTS,
    PASSAGE_INPUT,
    REFUSED_ROTATION_INPUT,
    TRAY_EMPTY_INPUT,
    TRAY_JAM_INPUT,
    TRAY_OUTPUT,
    TURNSTILE_OUTPUT,
)
from firmware_bridge.phrases import translator
from firmware_bridge.side_door import Reply, SideDoor
from firmware_bridge.side_door_requests import (
    Act,
    BadRequest,
    PresentCard,
    PresentRawCard,
    PressKey,
    Request,
    WriteGarbage,
)
from firmware_bridge.simulated_line import SimulatedLine
from firmware_bridge.simulated_trays import STACK, SimulatedTrayDispenser
from firmware_bridge.simulated_turnstile import Relocked, SimulatedTurnstile

ADDRESS = 101
_SILENT_AFTER_S = 0.4
"""A panel polls every 50 ms: longer without a byte means there is none, and keypad and reader are dead."""
_KEY_CODES = {"*": 0x7F, "#": 0x0D, "C": 0x1B}
_COLOURS = {
    CommandLEDColor.Black: "off",
    CommandLEDColor.Red: "red",
    CommandLEDColor.Green: "green",
    CommandLEDColor.Amber: "amber",
    CommandLEDColor.Blue: "blue",
    CommandLEDColor.Magenta: "magenta",
    CommandLEDColor.Cyan: "cyan",
    CommandLEDColor.White: "white",
}
_CAPABILITIES = [
    (Capability.ContactStatusMonitoring, 1, INPUTS),
    (Capability.OutputControl, 4, OUTPUTS),
    (Capability.CardDataFormat, 1, 1),
    (Capability.LEDControl, 4, 1),
    (Capability.AudibleControl, 2, 1),
    (Capability.TextOutput, 1, 1),
    (Capability.CheckCharacter, 1, 0),
    (Capability.CommunicationSecurity, 1, 0),
    (Capability.Readers, 0, 1),
]
_ACCEPTED: tuple[int, None] = (0, None)
_REFUSED: tuple[int, None] = (-1, None)


_SECURITY_BLOCK_PRESENT = 0x08
_HANDSHAKES = {0x11: b"\x76", 0x13: b"\x77"}
"""The security blocks of a handshake (SCS_11, SCS_13), and the one command that each is for (CHLNG, SCRYPT)."""


class _PeripheralChannel:
    """The line as libosdp wants it."""

    id = 2

    def __init__(self, line: SimulatedLine) -> None:
        self._line = line
        self._commands: deque[bytes] = deque(maxlen=8)
        self._rest = b""
        self.heard_at_s = -1e9

    def deliver(self, frame: bytes) -> None:
        """A command for us; libosdp would carry out any that says it belongs to a handshake, without a key."""
        if frame[4] & _SECURITY_BLOCK_PRESENT and frame[6] in _HANDSHAKES:
            code_at = 5 + frame[5]
            if frame[code_at : code_at + 1] != _HANDSHAKES[frame[6]]:
                return
        self.heard_at_s = time.monotonic()
        self._commands.append(frame)

    def read(self, max_bytes: int) -> bytes:
        """The next whole command that came in, in parts where it is longer."""
        if not self._rest and self._commands:
            self._rest = self._commands.popleft()
        part, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return part

    def write(self, buf: bytes) -> int:
        """Send; a reply that is lost is the panel's to notice."""
        self._line.write(buf)
        return len(buf)

    def flush(self) -> None:
        """Drop what came in."""
        self._commands.clear()
        self._rest = b""


@dataclass(frozen=True, slots=True)
class PeripheralSetting:
    """One peripheral: its address, its side door, its key's file and what it has.

    Attributes:
        install_mode: whether it takes a first key over the public installation key, as a new board does.
    """

    address: int
    control: Path
    key_file: Path
    roles: frozenset[Role] = frozenset(Role)
    install_mode: bool = False


class SimulatedPeripheral:
    """One board on a line; the line's loop drives it."""

    def __init__(self, line: SimulatedLine, setting: PeripheralSetting, *, production: bool) -> None:
        """Create its side door, and appear on the line.

        Raises:
            SimulatedDeviceInProduction: asked to serve in production.
            ChannelKeyRefused: no usable key.
            ControlRefused: another peripheral answers at its side door.
        """
        if production:
            raise SimulatedDeviceInProduction("simulated_peripheral")
        self._setting = setting
        self.address = setting.address
        self._key = self._read_key()
        osdp_sys.set_loglevel(LogLevel.Emergency)
        self._line = line
        self._door = SideDoor(setting.control, line.selector, self.answer)
        self._channel = _PeripheralChannel(line)
        self._turnstile, self._trays = SimulatedTurnstile(), SimulatedTrayDispenser()
        self._emergency = False
        self._lamp, self._text, self._beeps = "off", "", 0
        self._secure = False
        self._device: Any = None
        self._power_on()
        line.add(self)

    def _read_key(self) -> bytes | None:
        if self._setting.install_mode and not self._setting.key_file.exists():
            return None
        return read_channel_key(self._setting.key_file)

    def _power_on(self) -> None:
        """As after a reboot: nothing typed or presented before is held."""
        flag = LibFlag.InstallMode if self._setting.install_mode else LibFlag.EnforceSecure
        identity = PdId(version=1, model=7, vendor_code=0xCA57EE, serial_number=self.address, firmware_version=0x010203)
        information = PDInfo(self.address, self._channel, scbk=self._key, flags=[flag], id=identity)
        ctypes.CDLL(None).srand(secrets.randbits(32))  # libosdp draws its challenges from an unseeded rand()
        self._device = osdp_sys.PeripheralDevice(information.get(), capabilities=PDCapabilities(_CAPABILITIES).get())
        self._device.set_command_callback(self._obey)

    # The line's side

    def hear(self, frame: bytes) -> None:
        """A command for us has come in."""
        if self._device is not None:
            self._channel.deliver(frame)

    def line_unplugged(self) -> None:
        """The adapter was pulled."""
        self._channel.flush()

    def close(self) -> None:
        """The end."""
        self._door.close()

    def round(self, now_s: float) -> None:
        """One round of libosdp and of the mechanics' clock."""
        if self._device is not None:
            self._device.refresh()
            secure = bool(self._device.is_sc_active())
            if not secure:
                # Nothing typed or presented while nobody listened may arrive later.
                self._device.flush_events()
            elif not self._secure:
                self._secure = True
                self._report_contacts()
            self._secure = secure
        if self._turnstile.pass_time(now_s) is Relocked.BY_TIMEOUT:
            self._report_contacts()

    # The side door

    def answer(self, request: Request) -> Reply:
        """Carry out one request of the side door."""
        match request:
            case PressKey(key):
                code = _KEY_CODES.get(key, ord(key))
                return {"accepted": self._submit(event=Event.KeyPress, reader_no=0, data=bytes([code]))}
            case PresentCard(card):
                return {"accepted": self._submit_card(bytes.fromhex(card.hexadecimal))}
            case PresentRawCard(number):
                return {"accepted": self._submit_card(number)}
            case WriteGarbage(count):
                return {"written": self._line.write(secrets.token_bytes(count))}
            case Act(what):
                return self._act(what)
            case BadRequest(why):
                return {"error": why}

    def _act(self, what: str) -> Reply:
        match what:
            case "push":
                return {"turned": self._push()}
            case "unplug":
                self._line.unplug()
            case "plug":
                self._line.plug()
            case "cut":
                self._device, self._secure = None, False
                self._channel.flush()
            case "restore":
                self._power_on()
            case "tamper":
                self._submit(event=Event.Status, type=StatusReportType.Local, report=bytes([1, 0]))
            case "jam" | "clear":
                self._trays.jammed = what == "jam"
                self._report_contacts()
            case "empty" | "refill":
                self._trays.left = 0 if what == "empty" else STACK
                self._report_contacts()
            case "alarm" | "calm":
                self._emergency = what == "alarm"
                self._report_contacts()
            case _:
                return self._state()
        return {"done": what}

    def _state(self) -> Reply:
        return {
            "lamp": self._lamp,
            "text": self._text,
            "buzzer": self._beeps,
            "turnstile": "unlocked" if self._turnstile.unlocked else "locked",
            "passages": self._turnstile.passages,
            "trays": self._trays.given,
            "secure": self._secure,
            "online": self._answering(),
        }

    def _push(self) -> bool:
        """Somebody pushes: whether it turned. During an alarm it always does, and counts nobody."""
        if self._emergency:
            return True
        turned = self._turnstile.push()
        if not turned:
            self._report_inputs(refused=True)
        self._report_contacts()
        return turned

    def _answering(self) -> bool:
        """Whether a panel talks to us under the secure channel."""
        return self._secure and time.monotonic() - self._channel.heard_at_s < _SILENT_AFTER_S

    def _submit_card(self, number: bytes) -> bool:
        return self._submit(
            event=Event.CardRead,
            reader_no=0,
            direction=0,
            format=CardFormat.Unspecified,
            data=number,
            length=8 * len(number),
        )

    def _report_contacts(self) -> None:
        """Say where every contact stands: on every change and at every new secure channel."""
        self._report_inputs(refused=False)
        if Role.GATE in self._setting.roles:
            outputs = bytearray(OUTPUTS)
            outputs[TURNSTILE_OUTPUT] = self._turnstile.unlocked
            self._submit(event=Event.Status, type=StatusReportType.Output, report=bytes(outputs))

    def _report_inputs(self, *, refused: bool) -> None:
        inputs = bytearray(INPUTS)
        inputs[PASSAGE_INPUT] = self._turnstile.passage_latched
        inputs[REFUSED_ROTATION_INPUT] = refused
        inputs[EMERGENCY_INPUT] = self._emergency
        inputs[TRAY_JAM_INPUT], inputs[TRAY_EMPTY_INPUT] = self._trays.jammed, self._trays.empty
        self._submit(event=Event.Status, type=StatusReportType.Input, report=bytes(inputs))

    def _submit(self, **event: int | bytes) -> bool:
        """Queue an event for the next poll; dead without a panel, as keypads are."""
        return self._device is not None and self._answering() and bool(self._device.submit_event(event))

    def _obey(self, untrusted_command: dict[str, int | str | bool]) -> tuple[int, None]:
        """Libosdp's callback: an exception here would surface in unrelated code."""
        # The binding (3.2.9) takes a reference to None that is not its own at every command; None must not run out.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
        match untrusted_command.get("command"):
            case Command.Output:
                return self._obey_output(untrusted_command)
            case Command.Keyset:
                return self._take_key(untrusted_command.get("data"))
            case Command.LED:
                colour = _COLOURS.get(untrusted_command.get("on_color"), "unknown")
                self._lamp = f"{colour} blinking" if untrusted_command.get("off_count") else colour
            case Command.Text:
                self._text = str(untrusted_command.get("data", "")).strip()
            case Command.Buzzer:
                self._beeps = int(untrusted_command.get("rep_count", 0))
            case _:
                return _REFUSED
        return _ACCEPTED

    def _take_key(self, untrusted_key: object) -> tuple[int, None]:
        """A new secure channel key, kept before it is acknowledged: a board that forgets it would be lost."""
        if not isinstance(untrusted_key, bytes):
            return _REFUSED
        try:
            replace_channel_key(self._setting.key_file, untrusted_key)
        except (ChannelKeyRefused, OSError):
            return _REFUSED
        self._key = untrusted_key
        self._setting = replace(self._setting, install_mode=False)
        return _ACCEPTED

    def _obey_output(self, untrusted_command: dict[str, int | str | bool]) -> tuple[int, None]:
        timed = untrusted_command.get("control_code") == OUTPUT_ON_FOR
        match untrusted_command.get("output_no"):
            case x if x == TRAY_OUTPUT and timed and Role.TRAYS in self._setting.roles:
                self._trays.pulse()
                self._report_contacts()
            case x if x == TURNSTILE_OUTPUT and timed and Role.GATE in self._setting.roles:
                self._turnstile.unlock(time.monotonic(), int(untrusted_command.get("timer_count", 0)) / 10)
                self._report_contacts()
            case x if x == TURNSTILE_OUTPUT and untrusted_command.get("control_code") == OUTPUT_OFF:
                self._turnstile.lock()
            case _:
                return _REFUSED
        return _ACCEPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; ends at SIGTERM or SIGINT."""
    tr = translator(session_language())
    parser = argparse.ArgumentParser(description=tr("Carte simulée : clavier, lecteur, voyant et tourniquet sur OSDP."))
    parser.add_argument("--serial", type=Path, required=True, help=tr("nom à donner à la ligne série"))
    parser.add_argument("--control", type=Path, required=True, help=tr("socket Unix de commande"))
    parser.add_argument("--key-file", type=Path, required=True, help=tr("clé du canal, 16 octets, fichier en 0600"))
    parser.add_argument("--address", type=int, default=ADDRESS, help=tr("adresse OSDP, 0 à 126"))
    parser.add_argument(
        "--roles",
        type=_roles,
        default=frozenset(Role),
        help=tr("ce qu'elle porte : reader,gate,trays ; tout par défaut"),
    )
    parser.add_argument(
        "--install-mode", action="store_true", help=tr("accepte une première clé, comme une carte neuve")
    )
    parser.add_argument(
        "--also",
        nargs=4,
        action="append",
        default=[],
        metavar=("ADDRESS", "ROLES", "SOCKET", "KEY"),
        help=tr("une carte de plus sur la même ligne"),
    )
    parser.add_argument("--production", action="store_true", help=tr("toujours refusé : ceci est une simulation"))
    options = parser.parse_args(arguments)
    settings = [
        PeripheralSetting(options.address, options.control, options.key_file, options.roles, options.install_mode),
        *(PeripheralSetting(int(at), Path(door), Path(key), _roles(roles)) for at, roles, door, key in options.also),
    ]
    line = SimulatedLine(options.serial)
    try:
        for setting in settings:
            SimulatedPeripheral(line, setting, production=options.production)
    except SimulatedDeviceInProduction:
        sys.stderr.write(tr("Une carte simulée ne sert jamais en production.") + "\n")
        return 2
    except FirmwareBridgeError as error:
        sys.stderr.write(tr("La carte simulée ne peut pas démarrer : {why}").format(why=error) + "\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: line.stop())
    line.run()
    return 0


def _roles(text: str) -> frozenset[Role]:
    return frozenset(Role(name) for name in text.split(","))


if __name__ == "__main__":
    raise SystemExit(main())
