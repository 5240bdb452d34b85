"""How strict a school is with hands: of how many strangers one may pass with a pupil's code."""

from __future__ import annotations

from enum import StrEnum


class HandPolicy(StrEnum):
    """The school's choice. Values are part of the protocol; never renamed."""

    EASY = "easy"
    USUAL = "usual"
    STRICT = "strict"

    @property
    def one_stranger_in(self) -> int:
        """One stranger in so many is let through."""
        return {"easy": 100, "usual": 1_000, "strict": 10_000}[self.value]
