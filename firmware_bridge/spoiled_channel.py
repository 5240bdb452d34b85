"""A bad serial line between panel and peripheral: loses, delays, doubles, crumbles and invents bytes, from a seed.

`python -m firmware_bridge.spoiled_channel --from LINE --to SPOILED_LINE --loss 0.02` for trials by hand; the tests run
it in a thread.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import random
import select
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import serial

from canteen.command_line import session_language
from firmware_bridge.phrases import translator
from firmware_bridge.pseudo_terminal import PseudoTerminalLine

_PERIOD_S = 0.01
_BYTE_GAP_S = 0.0005
_REOPEN_S = 0.1


@dataclass(frozen=True, slots=True)
class Spoils:
    """What happens to each piece of traffic, which is mostly one frame; probabilities are per piece, both ways."""

    loss: float = 0.0
    duplication: float = 0.0
    garbage: float = 0.0
    """Probability that random bytes come before a piece."""
    delay_s: float = 0.0
    one_byte_at_a_time: bool = False
    wrong_speed: bool = False
    """Whether the two ends are set to different speeds: all that is sent arrives as other bytes, and more of them."""


class SpoiledChannel:
    """Carries bytes between the device at `good` and a device it creates at `spoiled`."""

    def __init__(self, good: Path, spoiled: Path, spoils: Spoils, seed: int) -> None:
        self._good = good
        self._line = PseudoTerminalLine(spoiled)
        self.spoils = spoils
        self._random = random.Random(seed)  # noqa: S311 -- faults to repeat, not secrets
        self._port: serial.Serial | None = None
        self._open_after_s = 0.0
        self._due: list[tuple[float, int, bool, bytes]] = []
        self._order = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="spoiled-channel", daemon=True)

    def start(self) -> None:
        """Carry in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop carrying; the spoiled device disappears."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def run(self) -> None:
        """Carry until `stop`; the spoiled device is there exactly while the good one is."""
        try:
            while not self._stopping.is_set():
                self._follow_device()
                descriptors = [] if self._port is None else [self._port.fileno(), self._line.fileno()]
                select.select(descriptors, [], [], self._pause_s())
                self._take_in()
                self._send_due()
        finally:
            self._close()

    def _follow_device(self) -> None:
        now_s = time.monotonic()
        if self._port is None and now_s >= self._open_after_s:
            try:
                self._port = serial.Serial(str(self._good), 115_200, timeout=0, write_timeout=0, exclusive=True)
            except (OSError, ValueError):
                self._open_after_s = now_s + _REOPEN_S
            else:
                self._line.plug()

    def _pause_s(self) -> float:
        if not self._due:
            return _PERIOD_S
        return min(_PERIOD_S, max(0.0, self._due[0][0] - time.monotonic()))

    def _take_in(self) -> None:
        if self._port is None:
            return
        try:
            from_good = self._port.read(4096)
        except OSError:
            self._close()
            return
        self._spoil(from_good, towards_good=False)
        self._spoil(self._line.read(), towards_good=True)

    def _spoil(self, piece: bytes, *, towards_good: bool) -> None:
        """Queue what becomes of one piece."""
        if not piece or self._random.random() < self.spoils.loss:
            return
        if self.spoils.wrong_speed:
            piece = self._random.randbytes(2 * len(piece))
        if self._random.random() < self.spoils.garbage:
            piece = self._random.randbytes(self._random.randint(1, 40)) + piece
        at_s = time.monotonic() + self.spoils.delay_s
        for _ in range(2 if self._random.random() < self.spoils.duplication else 1):
            for crumb in [piece[i : i + 1] for i in range(len(piece))] if self.spoils.one_byte_at_a_time else [piece]:
                self._order += 1
                heapq.heappush(self._due, (at_s, self._order, towards_good, crumb))
                at_s += _BYTE_GAP_S if self.spoils.one_byte_at_a_time else 0.0

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, towards_good, crumb = heapq.heappop(self._due)
            if not towards_good:
                self._line.write(crumb)
            elif self._port is not None:
                try:
                    self._port.write(crumb)
                except OSError:
                    self._close()

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError):
                port.close()
        self._line.unplug()
        self._due.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; ends at SIGINT."""
    tr = translator(session_language())
    parser = argparse.ArgumentParser(description=tr("Une mauvaise ligne série, pour essayer à la main."))
    parser.add_argument("--from", dest="good", type=Path, required=True, help=tr("la ligne de la carte"))
    parser.add_argument("--to", dest="spoiled", type=Path, required=True, help=tr("nom à donner à la mauvaise ligne"))
    parser.add_argument("--loss", type=float, default=0.0, help=tr("part des trames perdues, 0 à 1"))
    parser.add_argument("--duplication", type=float, default=0.0, help=tr("part des trames doublées, 0 à 1"))
    parser.add_argument("--garbage", type=float, default=0.0, help=tr("part des trames précédées de bruit, 0 à 1"))
    parser.add_argument("--delay", type=float, default=0.0, help=tr("retard en secondes"))
    parser.add_argument("--one-byte-at-a-time", action="store_true", help=tr("un octet à la fois"))
    parser.add_argument("--wrong-speed", action="store_true", help=tr("deux vitesses différentes"))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000, help=tr("graine du hasard"))
    options = parser.parse_args(arguments)
    spoils = Spoils(
        options.loss,
        options.duplication,
        options.garbage,
        options.delay,
        options.one_byte_at_a_time,
        options.wrong_speed,
    )
    sys.stderr.write(f"seed {options.seed}\n")
    with contextlib.suppress(KeyboardInterrupt):
        SpoiledChannel(options.good, options.spoiled, spoils, options.seed).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
