"""Measurements that no hand has are refused: a web of shadow between two fingers, a ring taken for a fingertip, a
sleeve for a thumb.

All limits are differences of logarithms, so they hold at any scale. They lie five or more standard deviations away from
the mean of adults on two sets of pictures; children's hands have the same proportions within that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hand_geometry.landmarks import Finger
from hand_geometry.measurements import FEATURE_NAMES, HandShape
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
# Where the valley between middle and ring finger lies, along and out from the line between its neighbours, in parts of
# that line. From the back of the hand it looks further out than from the palm.
KNUCKLES_ALONG, KNUCKLES_OUT = (0.33, 0.6), (-0.03, 0.5)
VALLEY_FINGERS = {
    "valley_im_mr": (Finger.INDEX, Finger.MIDDLE, Finger.RING),
    "valley_mr_rl": (Finger.MIDDLE, Finger.RING, Finger.LITTLE),
    "valley_im_rl": (Finger.INDEX, Finger.MIDDLE, Finger.RING, Finger.LITTLE),
}


def _mean_of(names: list[str]) -> NDArray[np.float64]:
    """(n,) float64: what gives the mean of these features when multiplied with all."""
    weights = np.zeros(len(FEATURE_NAMES))
    weights[[_POSITION[name] for name in names]] = 1.0 / len(names)
    return weights


def _length(finger: Finger) -> NDArray[np.float64]:
    return _mean_of([name for name in FEATURE_NAMES if name.startswith(f"{finger.name.lower()}_length_")])


def _width(finger: Finger) -> NDArray[np.float64]:
    return _mean_of([f"{finger.name.lower()}_width_{at}" for at in _MIDDLE_WIDTHS])


@dataclass(frozen=True, eq=False)
class _Limits:
    """``rows`` (m, n) times the features lie between ``low`` and ``high``, (m,); the first ``closed`` tell touching
    fingers, the others no hand.
    """

    rows: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    closed: int


def _side(finger: Finger, side: int) -> NDArray[np.float64]:
    return _mean_of([f"{finger.name.lower()}_length_{side}"])


def _compared_with(base: Finger, limits: tuple[tuple[float, float], ...], finger: Finger) -> tuple[float, float]:
    """The limits of a finger over another than the middle one, from those of both over the middle one."""
    (low, high), (least, most) = limits[finger], limits[base]
    return low - most, high - least


@cache
def _limits_without(left_out: frozenset[Finger]) -> _Limits:
    """The limits of the fingers that are not left out."""
    shown = [finger for finger in Finger if finger not in left_out]
    base = next(finger for finger in (Finger.MIDDLE, Finger.RING, Finger.INDEX) if finger in shown)
    level = [finger for finger in SIDES if not left_out & {finger - 1, finger, finger + 1}]
    far_apart = [name for name, fingers in VALLEY_FINGERS.items() if not left_out & {Finger.MIDDLE, *fingers}]
    # A finger that ends at a web, or whose valleys do not lie level, touches its neighbour; so does a thumb of which
    # little shows beyond its valley.
    thumbs = [Finger.THUMB] if Finger.THUMB in shown else []
    closed = [
        *((_length(finger) - _width(finger), (LEAST_SLENDER[finger], np.inf)) for finger in shown),
        *((_side(finger, 0) - _side(finger, 1), SIDES[finger]) for finger in level),
        *((_length(one) - _length(base), (_compared_with(base, LENGTH_TO_MIDDLE, one)[0], np.inf)) for one in thumbs),
    ]
    unlike = [
        *((_length(one) - _length(base), _compared_with(base, LENGTH_TO_MIDDLE, one)) for one in shown),
        *((_width(one) - _width(base), _compared_with(base, WIDTH_TO_MIDDLE, one)) for one in shown),
        *((_mean_of([name]) - _length(Finger.MIDDLE), VALLEYS[name]) for name in far_apart),
    ]
    rows, limits = zip(*closed, *unlike, strict=True)
    low, high = np.array(limits).T
    return _Limits(np.stack(rows), low, high, len(closed))


def uneven(shape: HandShape) -> bool:
    """Whether the middle one of the three valleys between the fingers lies off the knuckles' line: at a ring, say."""
    _, index, middle, little = (complex(x, y) for x, y in shape.valleys_px.tolist())
    line = little - index
    # With the line as one, how far along it the middle one lies, and (imaginary) beside it.
    place = (middle - index) / (line if abs(line) > 1e-9 else 1e-9)
    to_base = sum(complex(x, y) for x, y in shape.axes[1:].tolist()) * line.conjugate()
    along, out = place.real, -place.imag if to_base.imag > 0.0 else place.imag
    return not (KNUCKLES_ALONG[0] <= along <= KNUCKLES_ALONG[1] and KNUCKLES_OUT[0] <= out <= KNUCKLES_OUT[1])


def implausible(values: NDArray[np.float64], left_out: frozenset[Finger] = frozenset()) -> QualityReason | None:
    """Why the features of ``measurements.features_of`` are no hand's, or None; fingers left out are not looked at."""
    if not np.isfinite(values).all():
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    limits = _limits_without(left_out)
    found = limits.rows @ values
    broken = np.flatnonzero((found < limits.low) | (found > limits.high))
    if not len(broken):
        return None
    return QualityReason.FINGERS_CLOSED if broken[0] < limits.closed else QualityReason.IMPLAUSIBLE_MEASUREMENT
