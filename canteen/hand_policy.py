"""How strict a school is with hands: of how many strangers one may pass with a pupil's code, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HandPolicy(StrEnum):
    """The school's choice. Values are part of the protocol; never renamed."""

    EASY = "easy"
    USUAL = "usual"
    STRICT = "strict"

    @property
    def one_stranger_in(self) -> int:
        """One stranger in so many is meant to be let through; what was measured is in `REJECTS_A_WEEK`."""
        return {"easy": 100, "usual": 1_000, "strict": 10_000}[self.value]


PUPILS, MEALS_A_WEEK = 600, 2_400
"""A school that serves four days a week; what `REJECTS_A_WEEK` is said for."""

PEOPLE_MEASURED = 37


@dataclass(frozen=True, slots=True)
class RejectsAWeek:
    """First tries of the right hand that are rejected in a week.

    Attributes:
        low: lower and
        high: upper end of the 95 % interval, which few people make wide.
        later: where hands were enrolled on one single picture and passed on another day.
        strangers_in: beside it, one stranger's hand in so many passed; None where none did.
    """

    low: int
    high: int
    later: int
    strangers_in: int | None


REJECTS_A_WEEK: dict[HandPolicy, RejectsAWeek] = {
    HandPolicy.EASY: RejectsAWeek(0, 49, 0, 87),
    HandPolicy.USUAL: RejectsAWeek(0, 49, 263, 1961),
    HandPolicy.STRICT: RejectsAWeek(8, 89, 777, None),
}
"""From `hand_geometry/measured_curves.json` (palms on a platen with pegs). The server may not reach a hand, so the
figures are said here once more; `tests/architecture` holds the two together.
"""
