"""One time for a whole turn of the lane: for store, journal and turnstile together; and who speaks when it is over.

Each of them has a bound of its own; one after the other they could take five seconds. So a turn has `ANSWER_S`, and
each wait takes from it: with too little left no grant is written, and nothing opens any more. A disk that hangs in the
middle of a write knows no bound: then another thread tells whoever stands there to ask staff, and what the turn comes
to is shown after that. Nothing opens once it has spoken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("canteen.terminal.answer_clock")

ANSWER_S = 1.9
"""Two seconds, less what it takes to be seen on the screen."""
OPENS_WITH_S = 0.3
"""With less left nothing is granted or opened: a commit and a word to the board and back take 15 to 50 ms."""
SPEAKS_AFTER_S = 1.75
"""Later than the last moment at which anything opens; looked at every `_LOOK_S`."""
_BOARD_ANSWERS_S = 0.05
"""What `opens_within_s` leaves for the board to carry it out."""
_LOOK_S = 0.1
_STOPS_WITHIN_S = 1.0


class AnswerClock:
    """Set going by the runner at every turn, stopped by what is shown."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._spoke = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """A turn begins."""
        self._since_s = self._monotonic_s()

    def answered(self) -> None:
        """Something is about to be shown: what is done after it keeps nobody waiting for a word."""
        with self._lock:
            self._since_s, self._spoke = None, False

    def ended(self) -> bool:
        """The turn is over; whether it was spoken for and has shown nothing since."""
        with self._lock:
            spoke, self._since_s, self._spoke = self._spoke, None, False
        return spoke

    @property
    def left_s(self) -> float:
        """What the turn has left; all of it where none is under way."""
        since_s = self._since_s
        return ANSWER_S if since_s is None else max(0.0, ANSWER_S - (self._monotonic_s() - since_s))

    @property
    def too_late(self) -> bool:
        """Whether nothing may be granted or opened in this turn any more."""
        return self.left_s < OPENS_WITH_S

    @property
    def opens_within_s(self) -> float:
        """How long a command that opens may wait to be sent: later, it could open after `look` has spoken."""
        return max(0.0, self.left_s - (ANSWER_S - SPEAKS_AFTER_S) - _BOARD_ANSWERS_S)

    def look(self, speak: Callable[[], None]) -> None:
        """Say `speak`, once, if the turn has taken too long."""
        with self._lock:  # what is shown in the end comes after it
            if self._since_s is None or self._spoke or self._monotonic_s() - self._since_s < SPEAKS_AFTER_S:
                return
            self._spoke = True
            _log.warning("no answer yet: the pupil is told to ask staff")
            speak()

    def watch(self, speak: Callable[[], None]) -> None:
        """Look from now on, on a thread of its own, until `stop`; `speak` never waits."""

        def run() -> None:
            while not self._stopping.wait(_LOOK_S):
                self.look(speak)

        self._thread = threading.Thread(target=run, name="answer-clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOPS_WITHIN_S)
