"""The twins' end of a serial line: a pseudo-terminal, the peripherals on it, and the one loop that serves them."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from firmware_bridge.osdp_frames import FRAME_BYTES_MAX, FrameAssembler
from firmware_bridge.pseudo_terminal import PseudoTerminalLine

PERIOD_S = 0.005
_ADDRESS = 0x7F


class OnTheLine(Protocol):
    """A peripheral, as its line sees it."""

    address: int

    def hear(self, frame: bytes) -> None:
        """A command for it has come in."""

    def line_unplugged(self) -> None:
        """The adapter was pulled."""

    def round(self, now_s: float) -> None:
        """One round of its clockwork."""

    def close(self) -> None:
        """The end."""


class SimulatedLine:
    """`run` serves everybody on the line until `stop`."""

    def __init__(self, path: Path) -> None:
        """Nothing appears at `path` before `run`."""
        self.selector = selectors.DefaultSelector()
        self._pty = PseudoTerminalLine(path)
        self._frames = FrameAssembler(replies=False)
        self._peripherals: dict[int, OnTheLine] = {}
        self._stopping = False

    def add(self, peripheral: OnTheLine) -> None:
        """One more on the line."""
        self._peripherals[peripheral.address] = peripheral

    def stop(self) -> None:
        """End `run` after its current round."""
        self._stopping = True

    def run(self) -> None:
        """Serve line, side doors and mechanics until `stop`."""
        self.plug()
        try:
            while not self._stopping:
                for key, _ in self.selector.select(PERIOD_S):
                    serve: Callable[[], None] = key.data
                    serve()
                self._pump()
                now_s = time.monotonic()
                for peripheral in self._peripherals.values():
                    peripheral.round(now_s)
        finally:
            self.unplug()
            for peripheral in self._peripherals.values():
                peripheral.close()
            self.selector.close()

    def write(self, chunk: bytes) -> int:
        """Put bytes on the line; what does not fit is lost."""
        return self._pty.write(chunk)

    def plug(self) -> None:
        """The adapter is there."""
        if not self._pty.plugged:
            self._pty.plug()
            self.selector.register(self._pty.fileno(), selectors.EVENT_READ, self._pump)

    def unplug(self) -> None:
        """The adapter is pulled."""
        if self._pty.plugged:
            self.selector.unregister(self._pty.fileno())
            self._pty.unplug()
            self._frames.clear()
            for peripheral in self._peripherals.values():
                peripheral.line_unplugged()

    def _pump(self) -> None:
        while chunk := self._pty.read():
            self._frames.feed(chunk)
        while frame := self._frames.take(FRAME_BYTES_MAX):
            peripheral = self._peripherals.get(frame[1] & _ADDRESS)
            if peripheral is not None:
                peripheral.hear(frame)
