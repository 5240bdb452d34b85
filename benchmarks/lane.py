"""One pass, played and timed from outside: a key or a card at the peripheral, a hand on the platen, the screen."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from benchmarks.bench_terminal import BenchPupil
from benchmarks.errors import BenchmarkFailed
from benchmarks.language import _
from benchmarks.screen_watch import ScreenWatch, Seen
from benchmarks.timed_platen import TimedPlaten
from canteen.credentials import CardNumber
from firmware_bridge.peripheral_client import PeripheralClient

_STEP_WITHIN_S = 12.0
"""The machine's longest deadline is 8 s: after it, the screen shows why not."""
_PAUSE_S = (0.06, 0.16)
"""Before what is timed: longer than libosdp's 50 ms between polls and random, so that every phase of it is met."""


@dataclass(frozen=True, slots=True)
class BenchLane:
    """The pupil's place: everything within reach, nothing of the terminal's inside."""

    world: PeripheralClient
    platen: TimedPlaten
    screen: ScreenWatch
    draw: random.Random

    def pass_by_hand(self, pupil: BenchPupil) -> float:
        """Seconds from pressing the last digit until the screen says that the unlock is confirmed, less the camera's.

        Raises:
            BenchmarkFailed: the pupil did not get through.
        """
        if pupil.hand is None:
            raise ValueError("a pupil without a hand")
        self.platen.lay(pupil.hand.picture)
        for digit in pupil.code[:-1]:
            self._accepted(self.world.press(digit))
        typed = len(pupil.code) - 1
        self.screen.wait_for(lambda seen: seen.view.get("digits_typed") == typed, _STEP_WITHIN_S, f"{typed} chiffres")
        time.sleep(self.draw.uniform(*_PAUSE_S))
        self.platen.begin()
        acted_s = time.monotonic()
        self._accepted(self.world.press(pupil.code[-1]))
        opened_s = self._opened()
        looked_for_s = self.platen.looked_for_s
        if looked_for_s <= 0.0:
            raise BenchmarkFailed(_("la borne a ouvert sans regarder la main"))
        self._go_through()
        return opened_s - acted_s - looked_for_s

    def pass_by_card(self, card: CardNumber) -> float:
        """Seconds from presenting the card until the screen says that the unlock is confirmed.

        Raises:
            BenchmarkFailed: the pupil did not get through.
        """
        time.sleep(self.draw.uniform(*_PAUSE_S))
        acted_s = time.monotonic()
        self._accepted(self.world.card(card.hexadecimal))
        opened_s = self._opened()
        self._go_through()
        return opened_s - acted_s

    def _opened(self) -> float:
        """When the screen showed it; it is shown after the board's confirmation, never before."""
        seen = self.screen.wait_for(_is_answer, _STEP_WITHIN_S, "passage-open")
        if seen.state != "passage-open":
            raise BenchmarkFailed(_("la borne a refusé : {reason}").format(reason=seen.view.get("reason")))
        return seen.at_s

    def _go_through(self) -> None:
        if not self.world.push():
            raise BenchmarkFailed(_("le tourniquet n'a pas tourné"))
        self.platen.lift()
        self.screen.wait_for_state("idle", _STEP_WITHIN_S)

    def _accepted(self, accepted: bool) -> None:
        if not accepted:
            raise BenchmarkFailed(_("la carte simulée ne répond pas"))


def _is_answer(seen: Seen) -> bool:
    return seen.state in ("passage-open", "showing-denial", "guiding", "out-of-service")
