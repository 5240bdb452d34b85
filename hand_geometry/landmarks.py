"""Third stage: five fingertips and the four valleys between them, in anatomical order whatever way the hand points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import STEP_PX, Contour
from hand_geometry.picture_border import find_cuts
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Silhouette

# Lengths below are in radii of the largest disc inside the hand, which is the palm: they hold for a child and for an
# adult.
LEAST_PROMINENCE = 0.28
FINGER_ARC = 0.75
WIDEST_FINGER = 0.95
TIP_REACH = 1.15
# No fingertip lies further behind, as the cosine of the angle from the middle of all: a thumb stands at right angles.
FARTHEST_BEHIND = -0.5
# What is left of a finger, or of one bent under, reaches less far from the palm's centre than any fingertip.
STUMP_REACH = 1.8
# Closed fingers reach this far from the palm's centre as one block; a fist or a piece of paper does not.
CLOSED_REACH = 1.9
# The three valleys between the four fingers lie on a shallow arc. One further out than this has two fingers touching
# above it.
VALLEY_SPREAD = 0.62
# The palm is looked for on every so many pixels.
PALM_GRID = 4
# Peaks of the distance are looked for at every so many points, and then at each.
STRIDE = 5


class Finger(IntEnum):
    """Fingers in the order in which every array holds them."""

    THUMB = 0
    INDEX = 1
    MIDDLE = 2
    RING = 3
    LITTLE = 4


@dataclass(frozen=True)
class Palm:
    """The largest disc inside the hand: the palm, since wrist and forearm are narrower.

    Attributes:
        centre_px: (2,) float64.
        radius_px: Its radius.
    """

    centre_px: NDArray[np.float64]
    radius_px: float


@dataclass(frozen=True)
class Landmarks:
    """Where the fingers are on the outline.

    Attributes:
        tips: Five positions in the contour, thumb first.
        valleys: Four positions in the contour: thumb-index, index-middle, middle-ring, ring-little.
        step: +1 where the contour's order runs from thumb to little finger, -1 where it runs the other way.
        palm_px: (2,) float64, centre of the palm.
        palm_radius_px: Radius of the largest disc in the hand.
        measured_as: Which finger is measured in each one's place: its own, or a neighbour where one is left out. Arrays
            keep their shape so, and what is measured in that place counts for nothing.
    """

    tips: tuple[int, int, int, int, int]
    valleys: tuple[int, int, int, int]
    step: int
    palm_px: NDArray[np.float64]
    palm_radius_px: float
    measured_as: tuple[Finger, ...] = tuple(Finger)

    @property
    def mirrored(self) -> bool:
        """False where the hand looks like a right palm turned to the camera (or a left hand's back)."""
        return self.step > 0


@dataclass(frozen=True, eq=False)
class FingerTips:
    """What stands out of the outline like a finger.

    Attributes:
        found: Positions in the contour, the most prominent first.
        distance_px: (N,) float64, of each point of the contour from the palm's centre.
        too_few: Why there are not five.
    """

    found: list[int]
    distance_px: NDArray[np.float64]
    too_few: QualityReason


def find_landmarks(disc: Palm, contour: Contour, spread: float = VALLEY_SPREAD) -> Landmarks | QualityReason:
    """Finds five tips, and valleys as the minima of the distance from the palm between them.

    ``spread`` is how far apart along the hand the three valleys between the four fingers may lie, in radii of the palm.
    """
    tips = find_tips(disc, contour)
    if len(tips.found) < len(Finger):
        return tips.too_few
    ordered = _cut_at_wrist(tips.found[: len(Finger)], len(contour.points))
    return _in_anatomical_order(ordered, contour.points, tips.distance_px, disc, spread)


def find_tips(disc: Palm, contour: Contour) -> FingerTips:
    """Finger-like maxima of the distance from the palm."""
    palm, radius = disc.centre_px, disc.radius_px
    points = contour.points
    offset = points - palm
    distance = np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2)
    candidates = peaks(distance, LEAST_PROMINENCE * radius)
    tips: list[tuple[float, int]] = []
    for index, prominence in candidates:
        if distance[index] < TIP_REACH * radius:
            continue
        arc = round(FINGER_ARC * radius / STEP_PX)
        across = (points[(index - arc) % len(points)] - points[(index + arc) % len(points)]).tolist()
        if math.hypot(*across) > WIDEST_FINGER * radius:
            continue
        # What the border cuts off is no fingertip: a finger of which the rest is outside, or a corner of the forearm.
        if contour.on_border.take(np.arange(index - arc // 3, index + arc // 3 + 1), mode="wrap").any():
            continue
        tips.append((prominence, index))
    found = [index for _, index in sorted(tips, reverse=True)]
    found = _before(found, offset, distance)
    return FingerTips(found, distance, _too_few(found, distance, disc, contour))


def _before(tips: list[int], offset: NDArray[np.float64], distance: NDArray[np.float64]) -> list[int]:
    """Without those that lie behind the palm, seen from where most lie: a watch, a sleeve, never a finger."""
    ways = [(float(x), float(y)) for at in tips for x, y in (offset[at] / distance[at],)]
    ahead_x, ahead_y = sum(x for x, _ in ways), sum(y for _, y in ways)
    least = FARTHEST_BEHIND * math.hypot(ahead_x, ahead_y)
    return [at for at, (x, y) in zip(tips, ways, strict=True) if x * ahead_x + y * ahead_y >= least]


def _too_few(tips: list[int], distance: NDArray[np.float64], disc: Palm, contour: Contour) -> QualityReason:
    """Why there are not five tips; looked for where there are not."""
    if len(tips) >= len(Finger):
        return QualityReason.FINGERS_CLOSED
    # Fewer than two finger-like tips on something round are no hand; otherwise fingers touch and look like one.
    if len(tips) < 2 and distance[~contour.on_border].max(initial=0.0) < CLOSED_REACH * disc.radius_px:
        return QualityReason.NO_HAND
    cut = find_cuts(contour, disc.centre_px, disc.radius_px, tips)
    return QualityReason.HAND_CUT_OFF if cut else QualityReason.FINGERS_CLOSED


def _cut_at_wrist(tips: list[int], count: int) -> list[int]:
    """The tips in the contour's order, beginning behind the longest way between two: that is round the wrist."""
    ordered = sorted(tips)
    gaps = [(ordered[(at + 1) % len(ordered)] - ordered[at]) % count for at in range(len(ordered))]
    first = (gaps.index(max(gaps)) + 1) % len(ordered)
    return ordered[first:] + ordered[:first]


def find_palm(silhouette: Silhouette) -> Palm:
    """The largest disc inside the hand, found on a coarse grid."""
    outline = silhouette.outline // PALM_GRID
    left, top, width, height = cv2.boundingRect(outline)
    small = np.zeros((height + 2, width + 2), dtype=np.uint8)
    cv2.drawContours(small, [outline], -1, 255, cv2.FILLED, offset=(1 - left, 1 - top))
    # The border of the picture is a border of the hand too.
    rows, columns = (-(-side // PALM_GRID) for side in silhouette.shape)
    for touches, border in (
        (top == 0, np.s_[1, :]),
        (left == 0, np.s_[:, 1]),
        (top + height == rows, np.s_[-2, :]),
        (left + width == columns, np.s_[:, -2]),
    ):
        if touches:
            small[border] = 0
    _, radius, _, (column, row) = cv2.minMaxLoc(cv2.distanceTransform(small, cv2.DIST_L2, 5))
    centre = np.array([column + left - 1, row + top - 1], dtype=np.float64) * PALM_GRID + (PALM_GRID - 1) / 2
    return Palm(centre, radius * PALM_GRID)


def peaks(values: NDArray[np.float64], prominence: float) -> list[tuple[int, float]]:
    """Maxima of a closed line that stand out by ``prominence`` from the lower ground on both sides."""
    start = int(np.argmin(values))
    line = np.concatenate([values[start:], values[: start + 1]])
    sparse = np.append(line[::STRIDE], line[0])
    # Only where it turns can it matter.
    upwards = sparse[1:] > sparse[:-1]
    turns = np.flatnonzero(upwards[1:] != upwards[:-1]) + 1
    found: list[tuple[int, float]] = []
    low = high = float(sparse[0])
    high_at, rising = 0, True
    last = len(sparse) - 1
    for at, value in zip([*turns.tolist(), last], sparse[[*turns.tolist(), last]].tolist(), strict=True):
        if rising:
            if value > high:
                high, high_at = value, at
            elif high - value >= prominence and high - low >= prominence:
                first = max(0, STRIDE * high_at - STRIDE)
                top = first + int(np.argmax(line[first : first + 2 * STRIDE + 1]))
                found.append(((top + start) % len(values), float(high - low)))
                low, rising = value, False
            elif value < low:
                low = high = value
                high_at = at
        elif value < low:
            low = value
        elif value - low >= prominence:
            high, high_at, rising = value, at, True
    return found


def _in_anatomical_order(
    tips: list[int],
    points: NDArray[np.float64],
    distance: NDArray[np.float64],
    disc: Palm,
    spread: float,
) -> Landmarks | QualityReason:
    """Decides at which end of the five the thumb is."""
    palm, radius = disc.centre_px, disc.radius_px
    valleys = [lowest(distance, tips[at], tips[at + 1]) for at in range(4)]
    places, (palm_x, palm_y) = points.take(valleys + tips, axis=0).tolist(), palm.tolist()
    axis_x, axis_y = sum(x for x, _ in places[5:8]) / 3.0 - palm_x, sum(y for _, y in places[5:8]) / 3.0 - palm_y
    length = max(math.hypot(axis_x, axis_y), 1e-9)
    along = [(x * axis_x + y * axis_y) / length for x, y in places]
    low, high = along[:4], along[4:]
    # The thumb is the end whose valley and tip lie nearer to the wrist.
    evidence = (low[3] - low[0]) + 0.5 * (high[4] - high[0])
    step = 1
    if evidence < 0.0:
        tips, valleys, low, step = tips[::-1], valleys[::-1], low[::-1], -1
    if max(low[1:]) - min(low[1:]) > spread * radius:
        return QualityReason.FINGERS_CLOSED
    return Landmarks(
        (tips[0], tips[1], tips[2], tips[3], tips[4]),
        (valleys[0], valleys[1], valleys[2], valleys[3]),
        step,
        palm,
        radius,
    )


def lowest(distance: NDArray[np.float64], start: int, end: int) -> int:
    """Position of the smallest distance between two tips on the closed line."""
    if start <= end:
        return start + int(distance[start : end + 1].argmin())
    return (start + int(np.concatenate([distance[start:], distance[: end + 1]]).argmin())) % len(distance)
