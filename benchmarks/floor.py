"""What cannot be done without, timed by itself: a durable commit, a word to the board and back, a look at a hand."""

from __future__ import annotations

import random
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import median
from benchmarks.hands import BenchHand
from benchmarks.language import _
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.devices import BoardEvent, BoardRecovered, CommandOutcome
from firmware_bridge.peripheral_session import PeripheralPlace
from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare

_SCHEMA = "CREATE TABLE IF NOT EXISTS entry (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL, signature BLOB NOT NULL)"
_BODY_CHARACTERS = 600
"""A grant with its header, digests and nonce."""
_SIGNATURE_BYTES = 64
_ONLINE_WITHIN_S = 5.0
_POLL_S = 0.05
"""libosdp's pause between two polls: commands are given at a random point of it, as pupils come."""


@dataclass
class Floor:
    """Samples of the three parts, in seconds."""

    commit_s: list[float] = field(default_factory=list)
    round_trip_s: list[float] = field(default_factory=list)
    comparison_s: list[float] = field(default_factory=list)

    @property
    def by_hand_s(self) -> float:
        """The sum of the three medians."""
        return self.by_card_s + median(self.comparison_s)

    @property
    def by_card_s(self) -> float:
        """Commit and round trip alone: a card is compared with nothing."""
        return median(self.commit_s) + median(self.round_trip_s)


def time_round_trips(serial: Path, address: int, key: bytes, count: int, draw: random.Random) -> list[float]:
    """A turnstile command to the true peripheral under the secure channel, until it is confirmed.

    Raises:
        BenchmarkFailed: the peripheral does not answer.
    """
    online = threading.Event()

    def note(event: BoardEvent) -> None:
        if isinstance(event, BoardRecovered):
            online.set()

    board = ControlPanelBoard(serial, [PeripheralPlace(address, key)], note, production=False)
    board.start()
    try:
        if not online.wait(_ONLINE_WITHIN_S):
            raise BenchmarkFailed(_("la carte simulée ne répond pas"))
        taken_s = []
        for _index in range(count):
            time.sleep(draw.uniform(0.0, _POLL_S))
            started_s = time.perf_counter()
            outcome = board.lock()
            taken_s.append(time.perf_counter() - started_s)
            if outcome is not CommandOutcome.DONE:
                raise BenchmarkFailed(_("la carte simulée ne répond pas"))
        return taken_s
    finally:
        board.stop()


class FloorGauge:
    """Takes commit and comparison beside the passes, one of each at a time: the machine's speed drifts in between."""

    def __init__(self, database: Path, hands: list[BenchHand], floor: Floor) -> None:
        """A database of its own on the journal's disk, opened in the journal's way: WAL and synchronous=FULL."""
        self._hands, self._floor = hands, floor
        self._connection = sqlite3.connect(database, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def sample(self) -> None:
        """One more of both."""
        self._floor.commit_s.append(self._commit())
        self._floor.comparison_s.append(self._compare(self._hands[len(self._floor.comparison_s) % len(self._hands)]))

    def _commit(self) -> float:
        """One row of a journal entry's size in a transaction of its own."""
        body, signature = secrets.token_hex(_BODY_CHARACTERS // 2), secrets.token_bytes(_SIGNATURE_BYTES)
        started_s = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO entry (body, signature) VALUES (?, ?)", (body, signature))
        self._connection.execute("COMMIT")
        return time.perf_counter() - started_s

    def _compare(self, hand: BenchHand) -> float:
        """Measuring the hand in a decoded frame and comparing it with its reference; the frames of the passes."""
        started_s = time.perf_counter()
        features = acquire(hand.image)
        if isinstance(features, Features):
            compare(hand.reference, features)
        return time.perf_counter() - started_s
