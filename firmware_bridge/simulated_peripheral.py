"""The board's twin: a true OSDP peripheral on a pseudo-terminal, with keypad, card reader, lamp, text and turnstile.

`python -m firmware_bridge.simulated_peripheral --serial PATH --control SOCKET --key-file FILE` runs it as a program of
its own. One thread: line, side door and turnstile share a selector.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import secrets
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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

from firmware_bridge.channel_key import check_channel_key, read_channel_key
from firmware_bridge.errors import FirmwareBridgeError, SimulatedDeviceInProduction
from firmware_bridge.osdp_frames import FrameAssembler
from firmware_bridge.osdp_messages import INPUTS, OUTPUT_OFF, OUTPUT_ON_FOR, OUTPUTS, PASSAGE_INPUT, TURNSTILE_OUTPUT
from firmware_bridge.phrases import translator
from firmware_bridge.pseudo_terminal import PseudoTerminalLine
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
from firmware_bridge.simulated_turnstile import Relocked, SimulatedTurnstile

ADDRESS = 101
PERIOD_S = 0.005
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


class _PeripheralChannel:
    """The line as libosdp wants it."""

    id = 2

    def __init__(self, line: PseudoTerminalLine) -> None:
        self._line = line
        self._frames = FrameAssembler(replies=False)
        self.heard_at_s = -1e9

    def pump(self) -> None:
        """Take in what has come."""
        while chunk := self._line.read():
            self.heard_at_s = time.monotonic()
            self._frames.feed(chunk)

    def read(self, max_bytes: int) -> bytes:
        """The next whole command that came in."""
        return self._frames.take(max_bytes)

    def write(self, buf: bytes) -> int:
        """Send; a reply that is lost is the panel's to notice."""
        self._line.write(buf)
        return len(buf)

    def flush(self) -> None:
        """Drop what came in."""
        self._frames.clear()


class SimulatedPeripheral:
    """One board; `run` serves it until `stop`."""

    def __init__(self, serial_path: Path, control_socket: Path, key: bytes, *, production: bool, address: int) -> None:
        """Create line and side door.

        Raises:
            SimulatedDeviceInProduction: asked to serve in production.
            ChannelKeyRefused: no usable key.
            ControlRefused: another peripheral answers at `control_socket`.
        """
        if production:
            raise SimulatedDeviceInProduction("simulated_peripheral")
        check_channel_key(key)
        osdp_sys.set_loglevel(LogLevel.Emergency)
        self._selector = selectors.DefaultSelector()
        self._door = SideDoor(control_socket, self._selector, self.answer)
        self._line = PseudoTerminalLine(serial_path)
        self._channel = _PeripheralChannel(self._line)
        information = PDInfo(address, self._channel, scbk=key, flags=[LibFlag.EnforceSecure])
        self._device = osdp_sys.PeripheralDevice(information.get(), capabilities=PDCapabilities(_CAPABILITIES).get())
        self._device.set_command_callback(self._obey)
        self._turnstile = SimulatedTurnstile()
        self._lamp, self._text, self._beeps = "off", "", 0
        self._secure = False
        self._stopping = False
        self._plug()

    def stop(self) -> None:
        """End `run` after its current round."""
        self._stopping = True

    def run(self) -> None:
        """Serve line, side door and turnstile until `stop`."""
        try:
            while not self._stopping:
                for key, _ in self._selector.select(PERIOD_S):
                    serve: Callable[[], None] = key.data
                    serve()
                self._round(time.monotonic())
        finally:
            self._unplug()
            self._door.close()
            self._selector.close()

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
                turned = self._turnstile.push()
                if turned:
                    self._report_contacts()
                return {"turned": turned}
            case "unplug":
                self._unplug()
            case "plug":
                self._plug()
            case "tamper":
                self._submit(event=Event.Status, type=StatusReportType.Local, report=bytes([1, 0]))
            case _:
                return {
                    "lamp": self._lamp,
                    "text": self._text,
                    "buzzer": self._beeps,
                    "turnstile": "unlocked" if self._turnstile.unlocked else "locked",
                    "passages": self._turnstile.passages,
                    "secure": self._secure,
                    "online": self._answering(),
                }
        return {"done": what}

    def _round(self, now_s: float) -> None:
        """One round of libosdp and of the turnstile's clock."""
        self._channel.pump()
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

    def _answering(self) -> bool:
        """Whether a panel talks to us under the secure channel."""
        return self._secure and time.monotonic() - self._channel.heard_at_s < _SILENT_AFTER_S

    def _plug(self) -> None:
        if not self._line.plugged:
            self._line.plug()
            self._selector.register(self._line.fileno(), selectors.EVENT_READ, self._channel.pump)

    def _unplug(self) -> None:
        if self._line.plugged:
            self._selector.unregister(self._line.fileno())
            self._line.unplug()
            self._channel.flush()

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
        """Say where passage latch and lock stand: on every change and at every new secure channel."""
        inputs = bytearray(INPUTS)
        inputs[PASSAGE_INPUT] = self._turnstile.passage_latched
        self._submit(event=Event.Status, type=StatusReportType.Input, report=bytes(inputs))
        outputs = bytearray(OUTPUTS)
        outputs[TURNSTILE_OUTPUT] = self._turnstile.unlocked
        self._submit(event=Event.Status, type=StatusReportType.Output, report=bytes(outputs))

    def _submit(self, **event: int | bytes) -> bool:
        """Queue an event for the next poll; dead without a panel, as keypads are."""
        return self._answering() and bool(self._device.submit_event(event))

    def _obey(self, untrusted_command: dict[str, int | str | bool]) -> tuple[int, None]:
        """Libosdp's callback: an exception here would surface in unrelated code."""
        # The binding (3.2.9) takes a reference to None that is not its own at every command; None must not run out.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
        match untrusted_command.get("command"):
            case Command.Output:
                return self._obey_output(untrusted_command)
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

    def _obey_output(self, untrusted_command: dict[str, int | str | bool]) -> tuple[int, None]:
        if untrusted_command.get("output_no") != TURNSTILE_OUTPUT:
            return _REFUSED
        match untrusted_command.get("control_code"):
            case x if x == OUTPUT_OFF:
                self._turnstile.lock()
            case x if x == OUTPUT_ON_FOR:
                self._turnstile.unlock(time.monotonic(), int(untrusted_command.get("timer_count", 0)) / 10)
            case _:
                return _REFUSED
        return _ACCEPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; ends at SIGTERM or SIGINT."""
    tr = translator(os.environ.get("LANG", "fr"))
    parser = argparse.ArgumentParser(description=tr("Carte simulée : clavier, lecteur, voyant et tourniquet sur OSDP."))
    parser.add_argument("--serial", type=Path, required=True, help=tr("nom à donner à la ligne série"))
    parser.add_argument("--control", type=Path, required=True, help=tr("socket Unix de commande"))
    parser.add_argument("--key-file", type=Path, required=True, help=tr("clé du canal, 16 octets, fichier en 0600"))
    parser.add_argument("--address", type=int, default=ADDRESS, help=tr("adresse OSDP, 0 à 126"))
    parser.add_argument("--production", action="store_true", help=tr("toujours refusé : ceci est une simulation"))
    options = parser.parse_args(arguments)
    try:
        peripheral = SimulatedPeripheral(
            options.serial,
            options.control,
            read_channel_key(options.key_file),
            production=options.production,
            address=options.address,
        )
    except SimulatedDeviceInProduction:
        sys.stderr.write(tr("Une carte simulée ne sert jamais en production.") + "\n")
        return 2
    except FirmwareBridgeError as error:
        sys.stderr.write(tr("La carte simulée ne peut pas démarrer : {why}").format(why=error) + "\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: peripheral.stop())
    peripheral.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
