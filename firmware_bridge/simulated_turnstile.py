"""The mechanics of a one-way turnstile, without I/O: unlocked for one passage or for a time, whichever ends first."""

from __future__ import annotations

import enum


class Relocked(enum.Enum):
    """What locked the turnstile again."""

    NOT = "not"
    BY_TIMEOUT = "by_timeout"


class SimulatedTurnstile:
    """One arm, one passage sensor; times are monotonic seconds given by the caller."""

    def __init__(self) -> None:
        self._unlocked_until_s: float | None = None
        self.passages = 0
        """Passages since power-on."""
        self.passage_latched = False
        """The sensor's latch: set by a passage, cleared by the next unlock, so that a lost message loses no passage."""

    @property
    def unlocked(self) -> bool:
        """Whether a push would turn it."""
        return self._unlocked_until_s is not None

    def unlock(self, now_s: float, timeout_s: float) -> None:
        """Free the arm for one passage."""
        if not self.unlocked:
            self.passage_latched = False
        self._unlocked_until_s = now_s + timeout_s

    def lock(self) -> None:
        """Block the arm."""
        self._unlocked_until_s = None

    def push(self) -> bool:
        """Somebody pushes: True if the arm turned (and locked behind them)."""
        if not self.unlocked:
            return False
        self.lock()
        self.passages += 1
        self.passage_latched = True
        return True

    def pass_time(self, now_s: float) -> Relocked:
        """Let the timeout act."""
        if self._unlocked_until_s is None or now_s < self._unlocked_until_s:
            return Relocked.NOT
        self.lock()
        return Relocked.BY_TIMEOUT
