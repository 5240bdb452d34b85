"""What is not compared of a pupil's hand: a missing finger, a splint, a plaster, and until when.

A left hand needs no mask: every reference says which hand it is of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from hand_geometry.landmarks import Finger
from hand_geometry.measurements import FEATURE_NAMES

# With three fingers left there are still some sixty measurements; with fewer, strangers come too near.
MOST_LEFT_OUT = 2
# Which distances between valleys hang on a finger.
_VALLEYS_OF = {
    Finger.THUMB: ("valley_ti_im", "valley_ti_rl"),
    Finger.INDEX: ("valley_im_mr", "valley_im_rl", "valley_ti_im", "valley_ti_rl"),
    Finger.MIDDLE: ("valley_im_mr", "valley_mr_rl", "valley_im_rl", "valley_ti_im"),
    Finger.RING: ("valley_im_mr", "valley_mr_rl", "valley_im_rl", "valley_ti_rl"),
    Finger.LITTLE: ("valley_mr_rl", "valley_im_rl", "valley_ti_rl"),
}


@dataclass(frozen=True)
class Mask:
    """Fingers that are left out of the comparison, through ``last_day`` (None: for good)."""

    left_out: frozenset[Finger] = frozenset()
    last_day: date | None = None

    def __post_init__(self) -> None:
        """Refuses a mask that leaves too little to compare."""
        if len(self.left_out) > MOST_LEFT_OUT:
            raise ValueError(f"at most {MOST_LEFT_OUT} fingers can be left out")
        if self.last_day is not None and not self.left_out:
            raise ValueError("a mask that hides nothing does not end")

    @classmethod
    def without(cls, fingers: Iterable[Finger], *, last_day: date | None = None) -> Mask:
        """The mask that leaves out these fingers."""
        return cls(frozenset(fingers), last_day)

    @property
    def bits(self) -> int:
        """One bit a finger, the thumb's the lowest."""
        return sum(1 << int(finger) for finger in self.left_out)

    def in_force(self, today: date) -> bool:
        """False once its last day is over: the reference made with it then opens nothing."""
        return self.last_day is None or today <= self.last_day

    def compared(self) -> NDArray[np.bool_]:
        """(n,) which features are compared, in the order of ``FEATURE_NAMES``.

        Neighbours' lengths to a shared valley stay: the valley's bottom is there without the finger.
        """
        dropped = {name for finger in self.left_out for name in _VALLEYS_OF[finger]}
        prefixes = tuple(f"{finger.name.lower()}_" for finger in self.left_out)
        return np.array(
            [name not in dropped and not (prefixes and name.startswith(prefixes)) for name in FEATURE_NAMES]
        )


NO_MASK = Mask()


def fingers_of(bits: int) -> frozenset[Finger]:
    """The fingers of ``Mask.bits``."""
    return frozenset(finger for finger in Finger if bits >> int(finger) & 1)
