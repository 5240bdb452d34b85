"""Measurements that no hand has are refused: a web of shadow between two fingers, a ring taken for a fingertip, a
sleeve for a thumb.

All limits are differences of logarithms, so they hold at any scale. They lie five or more standard deviations away from
the mean of adults on two sets of pictures; children's hands have the same proportions within that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hand_geometry.landmarks import Finger
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.quality import QualityReason

_POSITION = {name: at for at, name in enumerate(FEATURE_NAMES)}
# Widths between a quarter and four fifths of a finger's length: neither the fingertip nor the web.
_MIDDLE_WIDTHS = range(26, 80, 5)

# Least length over width of thumb, index, middle, ring and little finger: under it, the finger ends at a web that is no
# web.
LEAST_SLENDER = (0.5, 0.92, 1.03, 1.03, 0.83)
# Length and width over those of the middle finger.
LENGTH_TO_MIDDLE = ((-1.1, 0.3), (-0.42, 0.18), (0.0, 0.0), (-0.33, 0.2), (-0.8, 0.2))
WIDTH_TO_MIDDLE = ((-0.4, 0.6), (-0.3, 0.25), (0.0, 0.0), (-0.3, 0.25), (-0.5, 0.3))
# Length on the thumb's side over that on the little finger's side: the two valleys of a finger lie nearly level.
SIDES = {Finger.MIDDLE: (-0.22, 0.24), Finger.RING: (-0.38, 0.12)}
# Distance of neighbouring valleys over the middle finger's length.
VALLEYS = {"valley_im_mr": (-1.75, -0.6), "valley_mr_rl": (-1.75, -0.5), "valley_im_rl": (-1.0, 0.0)}


def _of(values: NDArray[np.float64], name: str) -> float:
    return float(values[_POSITION[name]])


def _length(values: NDArray[np.float64], finger: Finger) -> float:
    name = finger.name.lower()
    sides = [f"{name}_length_{side}" for side in (0, 1) if f"{name}_length_{side}" in _POSITION]
    return float(np.mean([_of(values, side) for side in sides]))


def _width(values: NDArray[np.float64], finger: Finger) -> float:
    name = finger.name.lower()
    return float(np.mean([_of(values, f"{name}_width_{at}") for at in _MIDDLE_WIDTHS]))


def implausible(values: NDArray[np.float64]) -> QualityReason | None:
    """Why the features of ``measurements.features_of`` are no hand's, or None."""
    if not np.isfinite(values).all():
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    lengths = [_length(values, finger) for finger in Finger]
    widths = [_width(values, finger) for finger in Finger]
    if any(lengths[finger] - widths[finger] < LEAST_SLENDER[finger] for finger in Finger):
        return QualityReason.FINGERS_CLOSED
    for finger, (low, high) in SIDES.items():
        name = finger.name.lower()
        if not low <= _of(values, f"{name}_length_0") - _of(values, f"{name}_length_1") <= high:
            return QualityReason.FINGERS_CLOSED
    for finger in Finger:
        for measured, limits in ((lengths, LENGTH_TO_MIDDLE), (widths, WIDTH_TO_MIDDLE)):
            low, high = limits[finger]
            if not low <= measured[finger] - measured[Finger.MIDDLE] <= high:
                return QualityReason.IMPLAUSIBLE_MEASUREMENT
    for name, (low, high) in VALLEYS.items():
        if not low <= _of(values, name) - lengths[Finger.MIDDLE] <= high:
            return QualityReason.IMPLAUSIBLE_MEASUREMENT
    return None
