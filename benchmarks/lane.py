"""One pass, played and timed from outside: a key or a card at the peripheral, a hand on the platen, the screen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench_terminal import BenchPupil
from benchmarks.errors import BenchmarkFailed, LaneInterrupted
from benchmarks.language import _
from benchmarks.screen_watch import ScreenWatch, Seen
from benchmarks.timed_platen import TimedPlaten
from canteen.credentials import CardNumber
from firmware_bridge.peripheral_client import PeripheralClient

_TYPED_WITHIN_S = 2.0
_IDLE_WITHIN_S = 3.0
_CARD_WITHIN_S = 3.0
_HAND_WITHIN_S = 10.0
"""The machine waits 8 s for a hand; after that, the screen shows why not."""
_PAUSE_S = (0.06, 0.16)
"""Before what is timed: longer than libosdp's 50 ms between polls and random, so that every phase of it is met."""
_AT_REST_AGAIN_S = 25.0
"""A hand awaited, an open passage, its closing and a denial, each to its end."""
_INTERRUPTIONS_MOST = 3


@dataclass(frozen=True, slots=True)
class TimedPass:
    """One pass.

    Attributes:
        seconds: what the pupil waits for us.
        inside_ms: the terminal's own word: from the card heard, or the frame taken, to the confirmed unlock.
    """

    seconds: float
    inside_ms: float


@dataclass(slots=True)
class BenchLane:
    """The pupil's place: everything within reach, nothing of the terminal's inside.

    Attributes:
        interruptions: how often a pass had to be begun again because a key or a card got lost with the line.
    """

    world: PeripheralClient
    platen: TimedPlaten
    screen: ScreenWatch
    draw: random.Random
    interruptions: int = 0

    def pass_by_hand(self, pupil: BenchPupil) -> TimedPass:
        """Seconds from pressing the last digit until the screen says that the unlock is confirmed, less the camera's.

        Raises:
            BenchmarkFailed: the pupil did not get through.
        """
        return self._again_when_interrupted(lambda: self._try_hand(pupil))

    def pass_by_card(self, card: CardNumber) -> TimedPass:
        """Seconds from presenting the card until the screen says that the unlock is confirmed.

        Raises:
            BenchmarkFailed: the pupil did not get through.
        """
        return self._again_when_interrupted(lambda: self._try_card(card))

    def _again_when_interrupted(self, attempt: Callable[[], TimedPass]) -> TimedPass:
        while True:
            try:
                return attempt()
            except LaneInterrupted:
                self.interruptions += 1
                if self.interruptions > _INTERRUPTIONS_MOST:
                    raise
            self._rest()

    def _try_hand(self, pupil: BenchPupil) -> TimedPass:
        if pupil.hand is None:
            raise ValueError("a pupil without a hand")
        self.platen.lay(pupil.hand.picture)
        for digit in pupil.code[:-1]:
            self._accepted(self.world.press(digit))
        typed = len(pupil.code) - 1
        self.screen.wait_for(lambda seen: seen.view.get("digits_typed") == typed, _TYPED_WITHIN_S, "•" * typed)
        time.sleep(self.draw.uniform(*_PAUSE_S))
        self.platen.begin()
        acted_s = time.monotonic()
        self._accepted(self.world.press(pupil.code[-1]))
        opened = self._opened(_HAND_WITHIN_S)
        looked_for_s = self.platen.looked_for_s
        if looked_for_s <= 0.0:
            raise BenchmarkFailed(_("la borne a ouvert sans regarder la main"))
        self._go_through()
        return TimedPass(opened.at_s - acted_s - looked_for_s, float(opened.view["took_ms"]))

    def _try_card(self, card: CardNumber) -> TimedPass:
        time.sleep(self.draw.uniform(*_PAUSE_S))
        acted_s = time.monotonic()
        self._accepted(self.world.card(card.hexadecimal))
        opened = self._opened(_CARD_WITHIN_S)
        self._go_through()
        return TimedPass(opened.at_s - acted_s, float(opened.view["took_ms"]))

    def _opened(self, within_s: float) -> Seen:
        """The screen that shows it; it is shown after the board's confirmation, never before."""
        seen = self.screen.wait_for(_is_answer, within_s, "passage-open")
        if seen.state == "out-of-service":
            raise LaneInterrupted(_("la borne est hors service"))
        if seen.state != "passage-open":
            raise BenchmarkFailed(_("la borne a refusé : {reason}").format(reason=seen.view.get("reason")))
        return seen

    def _go_through(self) -> None:
        """What was timed is over, and the meal is eaten: an interruption here is counted, and nobody comes again."""
        if not self.world.push():
            raise BenchmarkFailed(_("le tourniquet n'a pas tourné"))
        self.platen.lift()
        try:
            self.screen.wait_for_state("idle", _IDLE_WITHIN_S)
        except LaneInterrupted:
            self.interruptions += 1
            self._rest()

    def _rest(self) -> None:
        """Until the lane serves the next: a pass that opened too late for us closes by itself first."""
        self.platen.lift()
        self.screen.wait_for_rest(_AT_REST_AGAIN_S)

    def _accepted(self, accepted: bool) -> None:
        if not accepted:
            raise LaneInterrupted(_("la carte simulée ne répond pas"))


def _is_answer(seen: Seen) -> bool:
    return seen.state in {"passage-open", "showing-denial", "guiding", "out-of-service"}
