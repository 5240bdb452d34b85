"""Third stage under a mask: the fingers that are there, and where the sides of those beside a gap end.

A finger that is missing, bent away or under a bandage leaves no tip, or none like a finger's. Which ones these are is
known from the mask, so the tips that are found have names, and a gap in their row is where it should be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import STEP_PX, Contour
from hand_geometry.landmarks import (
    STUMP_REACH,
    VALLEY_SPREAD,
    Finger,
    FingerTips,
    Landmarks,
    Palm,
    find_landmarks,
    find_tips,
    lowest,
)
from hand_geometry.quality import QualityReason

# How far along the hand each tip and each valley lies from the palm's centre, in radii of the palm: means over adults
# on two sets.
TIPS_ALONG = {Finger.THUMB: 0.7, Finger.INDEX: 2.6, Finger.MIDDLE: 3.0, Finger.RING: 2.85, Finger.LITTLE: 2.2}
THUMB_VALLEY_ALONG, VALLEYS_ALONG = 0.3, 1.25
# Where a finger is missing between two others, the feet of these are at least this far apart, in radii: a finger is
# half a radius wide. Nearer, none is missing there and two others lie together, or it is the web beside the thumb. By
# how many places further on the next finger is.
LEAST_GAPS = {2: 0.3, 3: 0.8}
# Between these parts of a radius from the tip, along the outline, a finger has two sides whatever is missing beside it.
FREE_SIDES = (0.25, 0.8)
# A tip beyond those of the fingers shown is that of two strapped together if it reaches as far as long fingers do; a
# stump does not.
STRAPPED_REACH = 2.2
# The web beside the thumb ends this far past the foot of the thumb, along the outline.
THUMB_WEB = 0.6
# A foot without a neighbour is looked for this far beside the finger's own line, in radii: its own width, and a little
# of what follows.
FOOT_REACH = 0.8


def find_masked_landmarks(
    disc: Palm, contour: Contour, left_out: frozenset[Finger], spread: float = VALLEY_SPREAD
) -> Landmarks | QualityReason:
    """As ``find_landmarks``; the fingers left out may be there or not, and are measured as a neighbour."""
    found = find_landmarks(disc, contour, spread)
    if not left_out:
        return found
    shown = [finger for finger in Finger if finger not in left_out]
    if not isinstance(found, Landmarks) or _a_stump_among(found, contour):
        found = _named(find_tips(disc, contour), shown, disc, contour)
        if not isinstance(found, Landmarks):
            return found
    long = [finger for finger in shown if finger is not Finger.THUMB]
    measured_as = tuple(finger if finger in shown else _nearest(long, finger) for finger in Finger)
    thumb, index, middle, ring, little = (found.tips[finger] for finger in measured_as)
    return replace(found, tips=(thumb, index, middle, ring, little), measured_as=measured_as)


def _a_stump_among(found: Landmarks, contour: Contour) -> bool:
    """Whether one of five tips is none: a stump, or a bracelet that stands out of the wrist as far as one."""
    away = contour.points.take(found.tips, axis=0) - found.palm_px
    return bool((np.hypot(away[:, 0], away[:, 1]) < STUMP_REACH * found.palm_radius_px).any())


def _nearest(fingers: Sequence[Finger], to: Finger) -> Finger:
    return min(fingers, key=lambda one: abs(one - to))


def _named(tips: FingerTips, shown: list[Finger], disc: Palm, contour: Contour) -> Landmarks | QualityReason:
    """Gives the tips their names: as many as fingers are shown, or one more where two are strapped together."""
    # The most prominent first: what is left of a finger stands out less than any that is shown.
    found, others = tips.found[: len(shown)], tips.found[len(shown) :]
    long = [at for at in others if tips.distance_px[at] >= STRAPPED_REACH * disc.radius_px]
    if len(found) < len(shown) or len(long) > len(Finger) - len(shown) - 1:
        return tips.too_few
    found = found + long
    ordered = _from_the_wrist(found, disc, contour)
    hidden = [finger for finger in Finger if finger not in shown]
    named = sorted([*shown, *hidden[: len(ordered) - len(shown)]])
    for step in _directions(ordered, named, tips, disc, contour):
        where = dict(zip(named, ordered[::step], strict=True))
        valleys = _valleys(where, shown, step, tips, disc, contour)
        if valleys is not None and _level(valleys, where, disc, contour):
            every = [where.get(finger, next(iter(where.values()))) for finger in Finger]
            five = (every[0], every[1], every[2], every[3], every[4])
            return Landmarks(five, valleys, step, disc.centre_px, disc.radius_px)
    return QualityReason.FINGERS_CLOSED


def _level(valleys: tuple[int, int, int, int], where: dict[Finger, int], disc: Palm, contour: Contour) -> bool:
    """Whether the valleys between the four fingers lie on a shallow arc."""
    axis = np.mean([contour.points[at] for finger, at in where.items() if finger is not Finger.THUMB], axis=0)
    axis = (axis - disc.centre_px) / max(float(np.hypot(*(axis - disc.centre_px))), 1e-9)
    along = (contour.points[list(valleys[1:])] @ axis).tolist()
    return bool(max(along) - min(along) <= VALLEY_SPREAD * disc.radius_px)


def _from_the_wrist(tips: list[int], disc: Palm, contour: Contour) -> list[int]:
    """The tips in the contour's order, beginning behind the widest angle between two, seen from the palm.

    The outline's way across a gap can be longer than that round the wrist.
    """
    ordered = sorted(tips)
    away = contour.points[ordered] - disc.centre_px
    # Clockwise on a screen whose y grows downwards, as the contour runs.
    angles = np.arctan2(away[:, 1], away[:, 0])
    first = (int(np.argmax((np.roll(angles, -1) - angles) % (2.0 * np.pi))) + 1) % len(ordered)
    return ordered[first:] + ordered[:first]


def _directions(
    ordered: list[int], named: list[Finger], tips: FingerTips, disc: Palm, contour: Contour
) -> tuple[int, int]:
    """+1 where these tips, in the contour's order, go with the names as they stand, -1 where they go backwards; the
    likelier first.
    """
    # Two axes, since each may be askew: towards the tips without both ends, since one may be the thumb and which one is
    # asked; and away from the wrist, where it leaves the picture.
    points, count = contour.points - disc.centre_px, len(contour.points)
    axes = [points[ordered[1:-1]].mean(axis=0)]
    behind = np.arange(ordered[-1], ordered[0] + count * (ordered[0] < ordered[-1])) % count
    wrist = behind[contour.on_border[behind]]
    if len(wrist):
        axes.append(-points[wrist].mean(axis=0))
    lows = [lowest(tips.distance_px, one, other) % count for one, other in pairwise(ordered)]
    usual = [TIPS_ALONG[finger] for finger in named]
    usual_lows = [THUMB_VALLEY_ALONG if finger is Finger.THUMB else VALLEYS_ALONG for finger in named[:-1]]
    forwards, backwards = np.array(usual + usual_lows), np.array(usual[::-1] + usual_lows[::-1])
    against = 0.0
    for axis in axes:
        along = points[ordered + lows] @ axis / max(float(np.hypot(*axis)), 1e-9) / disc.radius_px
        against += float(((along - forwards) ** 2).sum() - ((along - backwards) ** 2).sum())
    return (1, -1) if against <= 0.0 else (-1, 1)


def _valleys(
    where: dict[Finger, int], shown: list[Finger], step: int, tips: FingerTips, disc: Palm, contour: Contour
) -> tuple[int, int, int, int] | None:
    """The four valleys; where a finger is missing, the feet of its neighbours. None where the gap is none."""
    valleys: dict[int, int] = {}
    named = list(where)

    def between(one: Finger, other: Finger) -> int:
        start, end = (where[one], where[other]) if step > 0 else (where[other], where[one])
        return lowest(tips.distance_px, start, end)

    # Two fingers strapped together have one tip, named after the first of them, and ordinary valleys beside it.
    gaps = []
    for one, other in pairwise(named):
        if other == one + 1 or one not in shown:
            valleys[other - 1] = between(one, other)
        else:
            gaps.append((one, other))
    for one, other in gaps:
        if one is Finger.THUMB:
            # As between thumb and index, but no further: beside the next finger the outline may lie lower.
            foot, _ = _feet(where[one], where[other], step, disc, contour)
            past = foot + step * round(THUMB_WEB * disc.radius_px / STEP_PX)
            ends = (where[one], past) if step > 0 else (past, where[one])
            valleys[one] = lowest(tips.distance_px, *(end % len(contour.points) for end in ends))
            valleys[other - 1] = _foot_beside(where[other], valleys.get(other), -step, disc, contour)
            continue
        feet = _feet(where[one], where[other], step, disc, contour)
        apart = contour.points[feet[0]] - contour.points[feet[1]]
        if math.hypot(apart[0], apart[1]) < LEAST_GAPS[other - one] * disc.radius_px:
            return None
        valleys[one], valleys[other - 1] = feet
    first, last = named[0], named[-1]
    if first > Finger.INDEX and first in shown:
        valleys[first - 1] = _foot_beside(where[first], valleys.get(first), -step, disc, contour)
    if last < Finger.LITTLE and last in shown:
        valleys[last] = _foot_beside(where[last], valleys.get(last - 1), step, disc, contour)
    # What lies between two fingers left out limits nothing; the thumb's valley lies too low to stand for another.
    known = [valleys[min(valleys, key=lambda one, at=at: (abs(one - at), -one))] for at in range(4)]  # type: ignore[misc]
    return known[0], known[1], known[2], known[3]


def _feet(one: int, other: int, step: int, disc: Palm, contour: Contour) -> tuple[int, int]:
    """Where the sides of two fingers end that face each other across a gap: the corners of the outline's way between.

    A corner is the point farthest both along its finger and towards it, whatever is left of another between.
    """
    points = contour.points
    count = len(points)
    at = np.arange(one, one + step * (((other - one) * step) % count + 1), step)
    way = points[at % count]
    feet = []
    for tip, outwards in ((one, -step), (other, step)):
        down = _own_axis(tip, disc, contour)
        # Towards the finger itself, away from the gap.
        across = np.array([down[1], -down[0]]) * outwards
        feet.append(int(at[(way @ (down + across)).argmax()]) % count)
    return feet[0], feet[1]


def _own_axis(tip: int, disc: Palm, contour: Contour) -> NDArray[np.float64]:
    """(2,) unit vector from a tip down its finger, whichever way it is spread: along the middle of its two sides."""
    near, far = (round(part * disc.radius_px / STEP_PX) for part in FREE_SIDES)
    sides = contour.points.take([tip - far, tip + far, tip - near, tip + near], axis=0, mode="wrap")
    down = sides[:2].sum(axis=0) - sides[2:].sum(axis=0)
    return np.asarray(down / max(float(np.hypot(*down)), 1e-9), dtype=np.float64)


def _foot_beside(tip: int, valley: int | None, step: int, disc: Palm, contour: Contour) -> int:
    """Where the side of a finger ends that has no neighbour: as ``_feet``, near the line from its tip to its valley."""
    points = contour.points
    count = len(points)
    at = np.arange(tip, tip + step * (count // 2), step)
    way = points[at % count]
    base = disc.centre_px if valley is None else points[valley]
    down = (base - way[0]) / max(float(np.hypot(*(base - way[0]))), 1e-9)
    # Towards the finger itself, away from the side on which nothing is.
    across = np.array([-down[1], down[0]]) * step
    beside = (way - way[0]) @ across
    left = np.flatnonzero(np.abs(beside) > FOOT_REACH * disc.radius_px)
    way = way[: int(left[0]) if len(left) else len(way)]
    return int(at[(way @ (down + across)).argmax()]) % count
