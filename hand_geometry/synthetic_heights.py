"""How high a synthetic person's hand is, seen from its side.

The palm's thickness follows breadth and length as in ANSUR II (6,068 adults; thickness from hand circumference and
breadth as an ellipse: exponents 0.81 and 0.25, standard deviation of the rest 0.083 in logarithms). Its mean is set to
29 mm at the knuckles. How high fingers are against their breadth, and how that differs between people and between
placements, is assumed: no set with a side view is at hand. So no figure about height is an accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PALM_MM = 29.0
BY_BREADTH, BY_LENGTH, REST = 0.81, 0.25, 0.083
# Height over breadth of thumb to little finger lying on the platen, and how people differ in it, half of it together
# with the palm.
FINGER_RATIO = np.array([0.95, 0.86, 0.86, 0.86, 0.87])
FINGER_SPREAD = 0.05
# Of an adult's hand, whose fingers are 17.6 mm broad and whose middle finger is 83 mm long.
USUAL_BREADTH_MM, USUAL_LENGTH_MM = 17.6, 83.0
# Flesh pressed on the platen, and fingers not quite laid down: scatter of placements, in logarithms and in mm.
PRESSED, LIFTED_MM = 0.015, 0.4
# Along the hand in mm from the wrist, for a palm 103 mm long: the ball of the thumb is its highest part.
_PALM_AT = np.array([-40.0, 0.0, 20.0, 42.0, 65.0, 90.0, 103.0, 112.0])
_PALM_HIGH = np.array([1.25, 1.22, 1.32, 1.42, 1.25, 1.03, 0.95, 0.62])


@dataclass(frozen=True, eq=False)
class HandHeights:
    """Of one placement, as factors on what breadth and length alone would give."""

    palm_mm: float
    fingers: NDArray[np.float64] = field(repr=False)
    lifted_mm: NDArray[np.float64] = field(repr=False)


def heights_of(identity: int, sample: int, breadth_mm: float, length_mm: float) -> HandHeights:
    """The heights of one placement of a person whose fingers are so broad and whose middle finger is so long."""
    own = np.random.default_rng([20_35, identity])
    thick = REST * own.standard_normal()
    each = FINGER_SPREAD * np.sqrt(0.5) * own.standard_normal(5) + 0.5 * thick
    placed = np.random.default_rng([20_36, identity, sample])
    by_size = BY_BREADTH * np.log(breadth_mm / USUAL_BREADTH_MM) + BY_LENGTH * np.log(length_mm / USUAL_LENGTH_MM)
    palm = PALM_MM * float(np.exp(by_size + thick + PRESSED * placed.standard_normal()))
    fingers = FINGER_RATIO * np.exp(each + PRESSED * placed.standard_normal(5))
    return HandHeights(palm, fingers, np.abs(LIFTED_MM * placed.standard_normal(5)))


def ridges_mm(
    heights: HandHeights,
    bases: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
    half_widths: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """(n, 3) mm each, in the hand's own frame: along the top of the palm and of every finger."""
    scale = float(lengths[2]) / USUAL_LENGTH_MM
    found = [np.column_stack([_PALM_AT * scale, np.zeros(len(_PALM_AT)), heights.palm_mm * _PALM_HIGH])]
    for finger in range(5):
        along = np.linspace(-8.0, float(lengths[finger]), 60)
        axis = np.array([np.cos(angles[finger]), np.sin(angles[finger])])
        breadth = 2.0 * np.interp(
            along / lengths[finger], np.linspace(0.0, 1.0, half_widths.shape[1]), half_widths[finger]
        )
        high = heights.fingers[finger] * breadth
        # A fingertip is as round from its side as from above.
        cap = 0.6 * high[-1]
        left = np.clip((lengths[finger] - along) / cap, 0.0, 1.0)
        high = high * np.sqrt(1.0 - (1.0 - left) ** 2) + heights.lifted_mm[finger] * np.clip(
            along / lengths[finger], 0, 1
        )
        found.append(np.column_stack([bases[finger] + along[:, None] * axis, high]))
    return found
