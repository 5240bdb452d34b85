"""Plays the pupil at a simulated peripheral: presses keys, presents cards, pushes the turnstile, looks at the lamp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.side_door import ask


@dataclass(frozen=True, slots=True)
class PeripheralState:
    """What one sees standing before the access point."""

    lamp: str
    text: str
    buzzer: int
    """Beeps of the last signal that had any."""
    turnstile: str
    passages: int
    secure: bool
    online: bool
    trays: int = 0
    """Trays given since power-on."""


class PeripheralClient:
    """Synchronous client of the side door; every call is one short connection, so it survives the peripheral's restart.

    Every method raises `ControlRefused` when nobody answers or the request is not understood.
    """

    def __init__(self, control_socket: Path, timeout_s: float = 2.0) -> None:
        self._control_socket = control_socket
        self._timeout_s = timeout_s

    def press(self, key: str) -> bool:
        """Press a key of '0'-'9', '*', '#', 'C' (cancel): False if the keypad was dead (no panel on the line)."""
        return self._ask(do="press", key=key)["accepted"] is True

    def card(self, number: str) -> bool:
        """Present the card `number` (upper-case hexadecimal): False if the reader was dead."""
        return self._ask(do="card", number=number)["accepted"] is True

    def raw_card(self, number: bytes) -> bool:
        """Present something that need not be a card number."""
        return self._ask(do="card", number=number.hex(), raw=True)["accepted"] is True

    def push(self) -> bool:
        """Push the turnstile: True if it turned."""
        return self._ask(do="push")["turned"] is True

    def unplug(self) -> None:
        """Pull the serial adapter."""
        self._ask(do="unplug")

    def plug(self) -> None:
        """Put it back."""
        self._ask(do="plug")

    def garbage(self, count: int) -> None:
        """Put `count` random bytes on the line."""
        self._ask(do="garbage", bytes=count)

    def tamper(self) -> None:
        """Open the cover."""
        self._ask(do="tamper")

    def act(self, what: str) -> None:
        """Anything else that needs no argument: cut, restore, jam, clear, empty, refill, alarm, calm."""
        self._ask(do=what)

    def state(self) -> PeripheralState:
        """What lamp, text, buzzer, turnstile and line show now."""
        untrusted = self._ask(do="state")
        return PeripheralState(
            lamp=str(untrusted["lamp"]),
            text=str(untrusted["text"]),
            buzzer=int(str(untrusted["buzzer"])),
            turnstile=str(untrusted["turnstile"]),
            passages=int(str(untrusted["passages"])),
            secure=untrusted["secure"] is True,
            online=untrusted["online"] is True,
            trays=int(str(untrusted["trays"])),
        )

    def _ask(self, **request: Any) -> dict[str, object]:
        return ask(self._control_socket, request, self._timeout_s)
