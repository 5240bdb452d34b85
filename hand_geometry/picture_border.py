"""Where a hand leaves the picture elsewhere than at its wrist; asked only where five fingers were not found.

A wrist lies behind the palm, seen from the fingers. What meets the picture's border beside the palm or before it is a
finger or the palm itself, and a finger that is not seen whole is not closed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import STEP_PX, Contour

# All of a wrist's border lies at least this far behind, as the cosine of the angle from where the fingers point.
WRIST_BEHIND = -0.5
# From so many fingertips on, their mean says where the fingers point; below, the wrist's border does.
SURE_TIPS = 3
# As many pieces of border one beside the other are fingers, no wrist.
SURE_PIECES = 3
# In radii of the palm: a wrist meets the border over more than this, a finger over less; what leaves the border for
# less than the second is one thing.
NARROWEST_WRIST, WIDEST_GAP = 0.65, 0.4
# Between a finger that is cut off and the next the outline comes nearer to the palm than it is at the border, by this
# factor. Thumb and little finger reach less far from the palm than this share of the others.
VALLEY, OUTER_REACH = 0.9, 0.84
# Free fingers and fingers at the border point the same way within this cosine.
TOGETHER = 0.35
# A border lies before the fingers, or behind the wrist, within this cosine; otherwise beside the hand.
STRAIGHT = 0.64


class Way(Enum):
    """Over which of a hand's sides a border lies."""

    FRONT = "front"
    BACK = "back"
    SIDE = "side"


@dataclass(frozen=True, eq=False)
class Cut:
    """One place, (2,) in px, where a hand leaves the picture though it should not."""

    at_px: NDArray[np.float64]
    way: Way


def find_cuts(contour: Contour, palm_px: NDArray[np.float64], radius_px: float, tips: Sequence[int]) -> list[Cut]:
    """What the border cuts off besides the wrist.

    Args:
        contour: The outline.
        palm_px: (2,) the palm's middle.
        radius_px: Its radius.
        tips: Fingertips that were found, as positions in the contour.
    """
    runs = _contacts(contour, WIDEST_GAP * radius_px)
    if not runs:
        return []
    offset = contour.points - palm_px
    distance = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1e-9)
    away = offset / distance[:, None]
    toward = _toward(away, max(runs, key=len), tips, NARROWEST_WRIST * radius_px / STEP_PX)
    found = []
    for run in runs:
        cut = run[away[run] @ toward > WRIST_BEHIND]
        if len(cut) and not (tips and len(cut) < len(run) and _at_a_whole_finger(cut, run, distance, tips)):
            found.append(Cut(contour.points[cut].mean(axis=0), _way(contour.points, cut, toward)))
    return found


def _toward(
    away: NDArray[np.float64], longest: NDArray[np.intp], tips: Sequence[int], least: float
) -> NDArray[np.float64]:
    """(2,) unit vector to where the fingers point; ``away`` are such vectors from the palm to the outline's points."""
    free, wrist = away[list(tips)].sum(axis=0), away[longest].sum(axis=0)
    if len(tips) >= SURE_TIPS:
        toward = free
    else:
        # Where the arm ends in a sleeve, fingers are all that meets the border: one after the other, or one alone.
        pieces = 1 + int(np.count_nonzero(np.diff(longest) % len(away) != 1))
        together = float(free @ wrist) > TOGETHER * math.hypot(*free) * math.hypot(*wrist)
        fingers = len(longest) < least or (pieces >= SURE_PIECES and together)
        toward = wrist if fingers else -wrist
    return np.asarray(toward / max(math.hypot(*toward.tolist()), 1e-9), dtype=np.float64)


def _at_a_whole_finger(
    cut: NDArray[np.intp], run: NDArray[np.intp], distance: NDArray[np.float64], tips: Sequence[int]
) -> bool:
    """Whether the outline goes from this end of the wrist's border straight up to a thumb or a little finger."""
    step = 1 if cut[-1] == run[-1] else -1
    end, count = int(cut[-1] if step > 0 else cut[0]), len(distance)
    steps = min(step * (tip - end) % count for tip in tips)
    outwards = distance.take(end + step * np.arange(steps + 1), mode="wrap")
    return bool(outwards.min() > VALLEY * outwards[0] and outwards[-1] < OUTER_REACH * distance[list(tips)].max())


def _way(points: NDArray[np.float64], cut: NDArray[np.intp], toward: NDArray[np.float64]) -> Way:
    """Over which side the border lies that these of the outline's points are on."""
    # Clockwise on the screen, so that outside is to the left of the way.
    way_x, way_y = (points.take(cut + 1, axis=0, mode="wrap") - points.take(cut - 1, axis=0, mode="wrap")).sum(axis=0)
    along = float(way_y * toward[0] - way_x * toward[1]) / max(math.hypot(way_x, way_y), 1e-9)
    return Way.FRONT if along > STRAIGHT else Way.BACK if along < -STRAIGHT else Way.SIDE


def _contacts(contour: Contour, gap_px: float) -> list[NDArray[np.intp]]:
    """Stretches of the outline on the picture's border, each as positions in the contour."""
    on_border, count = contour.on_border, len(contour.on_border)
    if not on_border.any() or on_border.all():
        return []
    start = int(np.argmin(on_border))
    edges = np.flatnonzero(np.diff(np.roll(on_border, -start).astype(np.int8), prepend=0, append=0))
    runs = [(np.arange(first, past) + start) % count for first, past in zip(edges[::2], edges[1::2], strict=True)]
    joined = [runs[0]]
    for run in runs[1:]:
        if _gap_px(contour, joined[-1], run) < gap_px:
            joined[-1] = np.concatenate([joined[-1], run])
        else:
            joined.append(run)
    # The outline is closed: what was counted first may go on from what was counted last.
    if len(joined) > 1 and _gap_px(contour, joined[-1], joined[0]) < gap_px:
        joined[0] = np.concatenate([joined.pop(), joined[0]])
    return joined


def _gap_px(contour: Contour, one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """How far from where one stretch ends the next begins."""
    return math.dist(contour.points[one[-1]], contour.points[other[0]])
