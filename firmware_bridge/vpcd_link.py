"""The card's end of the virtual reader's line: vsmartcard's vpcd protocol over TCP on the loopback.

A frame is two bytes of length, high byte first, and that many bytes. One byte alone is the reader's own: power off,
power on, reset, or the wish for the answer to reset; everything else is a command for the card.

vpcd listens on every address of the machine. It is therefore started in a network namespace of its own, where nobody
else can reach it, and the card has to be started there too.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

from firmware_bridge.devices import ReaderLossReason
from firmware_bridge.errors import ReaderUnavailable

VPCD_PORT = 35963
ANSWER_TO_RESET = bytes.fromhex("3B8180018080")
"""What PC/SC readers make of a DESFire card (PC/SC part 3, historical byte 0x80)."""
_POWER_OFF, _POWER_ON, _RESET, _GET_ATR = 0, 1, 2, 4
_CONNECT_S = 2.0


class Chip(Protocol):
    """What lies on the reader."""

    def power_up(self) -> None: ...

    def apdu(self, command: bytes) -> bytes | None:
        """The answer; None when the card left the field instead."""
        ...


class VpcdLink:
    """A card in the virtual reader's field for as long as the connection lasts."""

    def __init__(self, chip: Chip, host: str = "127.0.0.1", port: int = VPCD_PORT) -> None:
        self._chip = chip
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._untrusted = bytearray()
        self.commands = 0
        """How many commands reached the card since it was made."""

    @property
    def in_field(self) -> bool:
        """Whether the card lies on the reader."""
        return self._socket is not None

    def fileno(self) -> int:
        """The descriptor to wait on; -1 outside the field."""
        return -1 if self._socket is None else self._socket.fileno()

    def insert(self) -> None:
        """Put the card on the reader.

        Raises:
            ReaderUnavailable: no virtual reader listens there.
        """
        if self._socket is not None:
            return
        self._untrusted.clear()
        try:
            self._socket = socket.create_connection(self._address, timeout=_CONNECT_S)
        except OSError as error:
            raise ReaderUnavailable(ReaderLossReason.NO_READER) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._chip.power_up()

    def remove(self) -> None:
        """Take the card away."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def serve(self) -> None:
        """Take in what came and answer every complete frame; the reader's going takes the card out of the field."""
        if self._socket is None:
            return
        try:
            chunk = self._socket.recv(4096)
            # vpcd sends length and body apart: with delayed acknowledgements each command would take 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            chunk = b""
        if not chunk:
            self.remove()
            return
        self._untrusted += chunk
        while self._socket is not None and len(self._untrusted) >= 2:
            end = 2 + int.from_bytes(self._untrusted[:2], "big")
            if len(self._untrusted) < end:
                return
            frame = bytes(self._untrusted[2:end])
            del self._untrusted[:end]
            self._answer(frame)

    def _answer(self, frame: bytes) -> None:
        if len(frame) == 1 and frame[0] in {_POWER_OFF, _POWER_ON, _RESET}:
            self._chip.power_up()
            return
        if frame == bytes([_GET_ATR]):
            self._send(ANSWER_TO_RESET)
            return
        self.commands += 1
        answer = self._chip.apdu(frame)
        if answer is None:
            self.remove()
        else:
            self._send(answer)

    def _send(self, payload: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.sendall(len(payload).to_bytes(2, "big") + payload)
            except OSError:
                self.remove()
