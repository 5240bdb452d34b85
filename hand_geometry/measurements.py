"""Fourth stage: lengths and widths of the fingers and of the palm, each finger on an axis of its own.

Lengths are given as natural logarithms of pixels at the working size. A difference of two logarithms is a ratio, so the
fitted weights hold for a camera of another height, while the size of the hand keeps its part in telling people apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.landmarks import Finger, Landmarks
from hand_geometry.quality import QualityReason

# Where a finger's width is taken, as parts of its length from the tip. Past 0.9 the web between the fingers begins.
WIDTH_STATIONS = tuple(round(0.06 + 0.05 * at, 2) for at in range(17))
# Where the midline's deviation from the straight axis is taken.
BEND_STATIONS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
AXIS_ITERATIONS = 4
# Parts of the length between which the axis is fitted: the nail and the web would bend it.
AXIS_FROM, AXIS_TO = 0.12, 0.82
# Neighbouring stations of a finger never differ more than this; a larger step is a peg or another finger taken for its
# side.
LARGEST_STEP = 0.5


# Where a side is sampled, and the part of it between the round fingertip and the web in which it is a smooth line.
SIDE_GRID = np.linspace(0.0, 1.0, 81)
SIDE_BODY = slice(8, 78)
# Polynomials up to the fourth degree: two joints and a taper.
SIDE_BASIS = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, 70), 4)
# Departures from the smooth line, in parts of the length, beyond which no joint goes.
LARGEST_LUMP = 0.01
LUMP_ITERATIONS = 5


@dataclass(frozen=True)
class FingerShape:
    """One finger on its own axis.

    Attributes:
        tip_px: (2,) float64, where the axis leaves the finger.
        axis: (2,) float64, unit vector from tip to base.
        length_px: Tip to the valley or the mean of both valleys, along the axis.
        lengths_px: Tip to each valley that limits this finger.
        widths_px: (17,) float64 at ``WIDTH_STATIONS``.
        bends_px: (6,) float64 at ``BEND_STATIONS``, positive towards the thumb.
    """

    tip_px: NDArray[np.float64]
    axis: NDArray[np.float64]
    length_px: float
    lengths_px: tuple[float, ...]
    widths_px: NDArray[np.float64] = field(repr=False)
    bends_px: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class HandShape:
    """The five fingers, thumb first, the four valleys as (4, 2) float64 in px, and which hand it looks like."""

    fingers: tuple[FingerShape, ...]
    valleys_px: NDArray[np.float64]
    mirrored: bool


def _names() -> tuple[str, ...]:
    names: list[str] = []
    for finger in Finger:
        name = finger.name.lower()
        sides = 2 if finger in (Finger.MIDDLE, Finger.RING) else 1
        names += [f"{name}_length_{side}" for side in range(sides)]
        names += [f"{name}_width_{round(100 * at):02d}" for at in WIDTH_STATIONS]
        names += [f"{name}_bend_{round(100 * at):02d}" for at in BEND_STATIONS]
    names += ["valley_im_mr", "valley_mr_rl", "valley_im_rl", "valley_ti_im", "valley_ti_rl"]
    return tuple(names)


FEATURE_NAMES = _names()


def measure(contour: Contour, landmarks: Landmarks) -> HandShape | QualityReason:
    """Measures every finger; a finger whose sides make no sense is a reason, never a wrong number."""
    points = contour.points
    fingers: list[FingerShape] = []
    for finger in Finger:
        shape = _measure_finger(contour, landmarks, finger)
        if isinstance(shape, QualityReason):
            return shape
        fingers.append(shape)
    valleys = np.array([_deepest(points, landmarks, fingers, at) for at in range(4)])
    return HandShape(tuple(fingers), valleys, landmarks.mirrored)


def features_of(shape: HandShape) -> NDArray[np.float64]:
    """The numbers in the order of ``FEATURE_NAMES``."""
    values: list[float] = []
    for finger in shape.fingers:
        values += [float(np.log(length)) for length in finger.lengths_px]
        values += [float(v) for v in np.log(finger.widths_px)]
        values += [float(v) for v in finger.bends_px / finger.length_px]
    v = shape.valleys_px
    for one, other in ((1, 2), (2, 3), (1, 3), (0, 1), (0, 3)):
        values.append(float(np.log(max(float(np.hypot(*(v[one] - v[other]))), 1.0))))
    return np.array(values, dtype=np.float64)


def _side(contour: Contour, start: int, step: int, count: int) -> NDArray[np.float64]:
    """Visible outline points from a tip down one side."""
    at = (start + step * np.arange(count)) % len(contour.points)
    return contour.points[at][~contour.hidden[at]]


def _measure_finger(contour: Contour, marks: Landmarks, finger: Finger) -> FingerShape | QualityReason:
    """Fits the axis to the midline between both sides and takes the widths across it."""
    points, count = contour.points, len(contour.points)
    tip_at = marks.tips[finger]
    # Valleys on the thumb's side and on the little finger's side, where they limit this finger.
    before = marks.valleys[finger - 1] if finger >= Finger.MIDDLE else None
    after = marks.valleys[finger] if finger <= Finger.RING else None
    limits = [points[at] for at in (before, after) if at is not None]
    reach = max(float(np.hypot(*(points[tip_at] - limit))) for limit in limits)
    if reach < 0.5 * marks.palm_radius_px and finger is not Finger.THUMB:
        return QualityReason.FINGERS_CLOSED
    arc_before = _arc(before, tip_at, -marks.step, count) if before is not None else round(1.25 * reach)
    arc_after = _arc(after, tip_at, marks.step, count) if after is not None else round(1.25 * reach)
    thumb_side = _side(contour, tip_at, -marks.step, arc_before)
    little_side = _side(contour, tip_at, marks.step, arc_after)
    if min(len(thumb_side), len(little_side)) < 20:
        return QualityReason.FINGERS_CLOSED
    cap = points[(tip_at + np.arange(-round(0.3 * reach), round(0.3 * reach) + 1)) % count]

    base = (
        np.mean(limits, axis=0)
        if len(limits) == 2
        else (limits[0] + _opposite(little_side if before is not None else thumb_side, points[tip_at], reach)) / 2.0
    )
    origin, axis = points[tip_at], base - points[tip_at]
    axis = axis / max(float(np.hypot(*axis)), 1e-9)
    for _ in range(AXIS_ITERATIONS):
        # The normal points to the thumb's side.
        normal = np.array([-axis[1], axis[0]]) * _normal_sign(marks)
        origin = origin - axis * float(np.max((origin - cap) @ axis))
        length = float(np.mean([(limit - origin) @ axis for limit in limits]))
        if length < 20.0:
            return QualityReason.IMPLAUSIBLE_MEASUREMENT
        stations = np.linspace(AXIS_FROM, AXIS_TO, 24) * length
        middle = (
            _lateral(thumb_side, origin, axis, normal, stations) + _lateral(little_side, origin, axis, normal, stations)
        ) / 2.0
        slope, offset = np.polyfit(stations, middle, 1)
        origin = origin + offset * normal
        axis = axis + slope * normal
        axis = axis / float(np.hypot(*axis))
    normal = np.array([-axis[1], axis[0]]) * _normal_sign(marks)
    origin = origin - axis * float(np.max((origin - cap) @ axis))
    lengths = tuple(float((limit - origin) @ axis) for limit in limits)
    length = float(np.mean(lengths))
    if min(lengths) < 20.0:
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    grid = SIDE_GRID * length
    one = _freed_from_lumps(_lateral(thumb_side, origin, axis, normal, grid), length)
    other = _freed_from_lumps(_lateral(little_side, origin, axis, normal, grid), length)
    widths = np.interp(WIDTH_STATIONS, SIDE_GRID, one - other)
    if widths.min() < 2.0 or np.abs(np.diff(np.log(widths[1:]))).max() > LARGEST_STEP:
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    bends = np.interp(BEND_STATIONS, SIDE_GRID, (one + other) / 2.0)
    return FingerShape(origin, axis, length, lengths, widths, bends)


def _freed_from_lumps(side_px: NDArray[np.float64], length_px: float) -> NDArray[np.float64]:
    """A side on ``SIDE_GRID`` whose lumps and notches are clipped: rings, long nails, a peg of no colour.

    A smooth line is fitted that hardly heeds outliers (Tukey's weights); what departs from it by more than joints do is
    cut down to that.
    """
    body = SIDE_BODY
    clip = LARGEST_LUMP * length_px
    basis, side = SIDE_BASIS, side_px[body]
    weights = np.ones(len(side))
    fitted = side
    for _ in range(LUMP_ITERATIONS):
        weighted = basis * weights[:, None]
        fitted = basis @ np.linalg.solve(weighted.T @ basis, weighted.T @ side)
        weights = np.maximum(1.0 - ((side - fitted) / (3.0 * clip)) ** 2, 1e-3) ** 2
    freed = side_px.copy()
    freed[body] = fitted + np.clip(side - fitted, -clip, clip)
    return freed


def _normal_sign(marks: Landmarks) -> float:
    """Turns the axis by a quarter towards the thumb's side, whichever hand it is."""
    return 1.0 if marks.step > 0 else -1.0


def _arc(end: int, start: int, step: int, count: int) -> int:
    """Points from ``start`` to ``end`` going by ``step`` on the closed line."""
    return ((end - start) * step) % count + 1


def _opposite(side: NDArray[np.float64], tip: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """The point of a side as far from the tip as the valley on the other side."""
    distance = np.hypot(*(side - tip).T)
    return np.asarray(side[int(np.argmin(np.abs(distance - reach)))], dtype=np.float64)


def _lateral(
    side: NDArray[np.float64],
    origin: NDArray[np.float64],
    axis: NDArray[np.float64],
    normal: NDArray[np.float64],
    stations: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance of a side from the axis at each station; hidden stretches are bridged by a straight line."""
    relative = side - origin
    along, across = relative @ axis, relative @ normal
    # A side may run back a little (nails, the web): only points that go further down than all before are kept.
    forward = np.maximum.accumulate(along)
    keep = np.concatenate([[True], along[1:] > forward[:-1]])
    return np.asarray(np.interp(stations, along[keep], across[keep]), dtype=np.float64)


def _deepest(points: NDArray[np.float64], marks: Landmarks, fingers: list[FingerShape], at: int) -> NDArray[np.float64]:
    """A valley's bottom, seen along the bisector of its two fingers; the mean of the last pixels."""
    bisector = fingers[at].axis + fingers[at + 1].axis
    bisector = bisector / max(float(np.hypot(*bisector)), 1e-9)
    count = len(points)
    span = _arc(marks.tips[at + 1], marks.tips[at], marks.step, count)
    between = points[(marks.tips[at] + marks.step * np.arange(span)) % count]
    depth = between @ bisector
    return np.asarray(between[depth > depth.max() - 2.0].mean(axis=0), dtype=np.float64)
