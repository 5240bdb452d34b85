"""Fourth stage: lengths and widths of the fingers and of the palm, each finger on an axis of its own.

Lengths are given as natural logarithms of pixels at the nominal size. A difference of two logarithms is a ratio, so the
fitted weights hold for a camera of another height, while the size of the hand keeps its part in telling people apart.

The five fingers, and their ten sides, are taken through every step together: on the terminal a call of numpy costs more
than what it does to one finger. For the same reason a point is one complex number, x and iy, and an axis one of size 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import STEP_PX, Contour
from hand_geometry.landmarks import Finger, Landmarks
from hand_geometry.quality import QualityReason
from hand_geometry.working_picture import NOMINAL_SIDE_PX, WORKING_SIDE_PX

# Where a finger's width is taken, as parts of its length from the tip. Past 0.9 the web between the fingers begins.
WIDTH_STATIONS = tuple(round(0.06 + 0.05 * at, 2) for at in range(17))
# Where the midline's deviation from the straight axis is taken.
BEND_STATIONS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
AXIS_ITERATIONS = 2
# Parts of the length between which the axis is fitted: the nail and the web would bend it.
AXIS_FROM, AXIS_TO = 0.12, 0.82
# Neighbouring stations of a finger never differ more than this; a larger step is a peg or another finger taken for its
# side.
LARGEST_STEP = 0.5

# Where a side is sampled, and the part of it between the round fingertip and the web in which it is a smooth line.
SIDE_GRID = np.linspace(0.0, 1.0, 81)
SIDE_BODY = slice(8, 78)


def _legendre(at: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """(n, degree + 1) float64: Legendre's polynomials, by Bonnet's recursion; numpy's own are slow to import."""
    found = [np.ones_like(at), at]
    for k in range(2, degree + 1):
        found.append((at * found[-1] * (2 * k - 1) - found[-2] * (k - 1)) / k)
    return np.stack(found, axis=1)


# Up to the fourth degree: two joints and a taper.
SIDE_BASIS = _legendre(np.linspace(-1.0, 1.0, 70), 4)
# Departures from the smooth line, in parts of the length, beyond which no joint goes.
LARGEST_LUMP = 0.01
LUMP_ITERATIONS = 4
# Fewer visible points of a side, or a finger shorter than this, in px, are no finger.
FEWEST_SIDE_POINTS = 5
LEAST_LENGTH_PX = 10.0
# Which part of the reach from tip to valley the round fingertip may take up on either side.
CAP_REACH = 0.3
# The bottom of a valley lies this near, along the outline, to its point nearest to the palm: in radii, and at least px.
VALLEY_REACH, VALLEY_REACH_PX = 0.25, 8
# What lies this much higher than the bottom no longer counts for it.
VALLEY_DEPTH_PX = 2.0

# Fingers with one valley: on which side none is, 0 towards the thumb and 1 towards the little finger.
OPEN_SIDE = (0, 0, None, None, 1)

_AXIS_STATIONS = np.linspace(AXIS_FROM, AXIS_TO, 24)
# The straight line nearest to the mean of two values at these stations, given their sum: offset and slope.
_STRAIGHT = 0.5 * np.linalg.pinv(np.stack([np.ones(24), _AXIS_STATIONS], axis=1)).T
_SIDE_PRODUCTS = (SIDE_BASIS[:, :, None] * SIDE_BASIS[:, None, :]).reshape(len(SIDE_BASIS), -1)
# The same fit where every point counts alike.
_TO_SMOOTH = SIDE_BASIS @ np.linalg.pinv(SIDE_BASIS)
_SIDES = np.arange(10)
_FINGER_OF_SIDE = _SIDES // 2
# Sides are laid one after the other on one line, this far apart, so that one call looks all of them up.
_APART = 1e5
_OFFSETS = _APART * _SIDES


def _at(grid: NDArray[np.float64], wanted: tuple[float, ...]) -> NDArray[np.float64]:
    """(len(grid), len(wanted)) float64: the matrix that interpolates values on the grid."""
    return np.stack([np.interp(wanted, grid, unit) for unit in np.eye(len(grid))])


_TO_WIDTHS = _at(SIDE_GRID, WIDTH_STATIONS)
_TO_BENDS = _at(SIDE_GRID, BEND_STATIONS)


@dataclass(frozen=True, eq=False)
class FingerShape:
    """One finger on its own axis.

    Attributes:
        tip_px: (2,) float64, where the axis leaves the finger.
        axis: (2,) float64, unit vector from tip to base.
        length_px: Tip to the valley or the mean of both valleys, along the axis.
        widths_px: (17,) float64 at ``WIDTH_STATIONS``.
        bends_px: (6,) float64 at ``BEND_STATIONS``, positive towards the thumb.
    """

    tip_px: NDArray[np.float64]
    axis: NDArray[np.float64]
    length_px: float
    widths_px: NDArray[np.float64] = field(repr=False)
    bends_px: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class HandShape:
    """The five fingers, thumb first, in px at the working size.

    Attributes:
        tips_px: (5, 2) float64, where each axis leaves its finger.
        axes: (5, 2) float64, unit vectors from tip to base.
        lengths_px: (5, 2) float64, tip to the valley on the thumb's and on the little finger's side; twice the same
            where one valley limits the finger.
        widths_px: (5, 17) float64.
        bends_px: (5, 6) float64.
        valleys_px: (4, 2) float64.
        mirrored: Which hand it looks like.
    """

    tips_px: NDArray[np.float64] = field(repr=False)
    axes: NDArray[np.float64] = field(repr=False)
    lengths_px: NDArray[np.float64] = field(repr=False)
    widths_px: NDArray[np.float64] = field(repr=False)
    bends_px: NDArray[np.float64] = field(repr=False)
    valleys_px: NDArray[np.float64] = field(repr=False)
    mirrored: bool

    @property
    def fingers(self) -> tuple[FingerShape, ...]:
        """One finger at a time."""
        length = self.lengths_px.mean(axis=1)
        parts = zip(self.tips_px, self.axes, length, self.widths_px, self.bends_px, strict=True)
        return tuple(FingerShape(tip, axis, float(long), wide, bent) for tip, axis, long, wide, bent in parts)


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
_VALLEY_FROM, _VALLEY_TO = np.array([(1, 2), (2, 3), (1, 3), (0, 1), (0, 3)]).T
_ONE_VALLEY = (Finger.THUMB, Finger.INDEX, Finger.LITTLE)
# Of two lengths, the widths and the bends of each finger, those that count: a finger with one valley has one length.
_PER_FINGER = 2 + len(WIDTH_STATIONS) + len(BEND_STATIONS)
_MEASURED = np.delete(np.arange(len(Finger) * _PER_FINGER), [finger * _PER_FINGER + 1 for finger in _ONE_VALLEY])
_SIZES = np.flatnonzero(["_bend_" not in name for name in FEATURE_NAMES])
_LN_NOMINAL = float(np.log(NOMINAL_SIDE_PX / WORKING_SIDE_PX))


def features_of(shape: HandShape) -> NDArray[np.float64]:
    """The numbers in the order of ``FEATURE_NAMES``."""
    apart = shape.valleys_px.take(_VALLEY_FROM, axis=0) - shape.valleys_px.take(_VALLEY_TO, axis=0)
    apart_px = np.maximum(np.hypot(apart[:, 0], apart[:, 1]), 0.5)
    bends = shape.bends_px / _mean(shape.lengths_px)[:, None]
    fingers = np.concatenate([shape.lengths_px, shape.widths_px, bends], axis=1)
    values = np.concatenate([fingers.ravel().take(_MEASURED), apart_px])
    values[_SIZES] = np.log(values[_SIZES]) + _LN_NOMINAL
    return values


@dataclass(frozen=True, eq=False)
class _Sides:
    """The visible outline points of all ten sides, one side after the other, each from tip to base.

    Attributes:
        points: (M,) complex128.
        side: (M,) intp, 0 to 9. A finger's side towards the thumb is even, towards the little finger odd.
        starts, ends: (10,) intp, first and last point of each side.
    """

    points: NDArray[np.complex128]
    side: NDArray[np.intp]
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]

    def lateral(self, frames: _Frames, stations: NDArray[np.float64]) -> NDArray[np.float64]:
        """(10, s) distances from each finger's axis at (5, s) stations; a hidden stretch is bridged straight."""
        turned = self.points * frames.turns.take(_FINGER_OF_SIDE).take(self.side)
        turned -= (frames.tips.take(_FINGER_OF_SIDE) - _OFFSETS).take(self.side)
        along = turned.real
        # A side may run back a little (nails, the web): only points that go further down than all before are kept.
        forward = np.maximum.accumulate(along)
        keep = np.ones(len(along), dtype=np.bool_)
        np.greater(along[1:], forward[:-1], out=keep[1:])
        wanted = stations.take(_FINGER_OF_SIDE, axis=0)
        wanted += _OFFSETS[:, None]
        np.maximum(wanted, along.take(self.starts)[:, None], out=wanted)
        np.minimum(wanted, forward.take(self.ends)[:, None], out=wanted)
        return np.asarray(np.interp(wanted.ravel(), along[keep], turned.imag[keep]).reshape(wanted.shape), np.float64)


@dataclass(frozen=True, eq=False)
class _Frames:
    """Each finger's own coordinates: a point times ``turns``, less ``tips``, lies so far along and (imaginary) across.

    Attributes:
        turns: (5,) complex128, the axes' conjugates.
        tips: (5,) complex128, where each axis leaves its finger, turned likewise.
        lengths_px: (5, 2) float64, from there to the valleys.
    """

    turns: NDArray[np.complex128]
    tips: NDArray[np.complex128]
    lengths_px: NDArray[np.float64]


def measure(contour: Contour, marks: Landmarks) -> HandShape | QualityReason:
    """Fits each axis to the midline between both sides and takes the widths across it.

    A finger whose sides make no sense is a reason, never a wrong number.
    """
    points = contour.plane
    limits, tips = _limits(points, marks), points.take(marks.tips)
    reaches = np.abs(limits - tips[:, None]).max(axis=1).tolist()
    if min(reaches[1:]) < 0.5 * marks.palm_radius_px:
        return QualityReason.FINGERS_CLOSED
    sides = _sides(contour, marks, reaches)
    if sides is None:
        return QualityReason.FINGERS_CLOSED
    cap_reach = round(CAP_REACH * max(reaches) / STEP_PX)
    caps = points.take(np.array(marks.tips)[:, None] + np.arange(-cap_reach, cap_reach + 1), mode="wrap")

    def frames_on(origins: NDArray[np.complex128], axes: NDArray[np.complex128]) -> _Frames:
        turns = axes.conj()
        ahead = (caps * turns[:, None]).real.min(axis=1)
        lengths = (limits * turns[:, None]).real - ahead[:, None]
        return _Frames(turns, ahead + 1j * (origins * turns).imag, lengths)

    origins, axes = tips, _first_axes(sides, marks, tips, limits, reaches)
    for _ in range(AXIS_ITERATIONS):
        frames = frames_on(origins, axes)
        length = _mean(frames.lengths_px)
        if length.min() < LEAST_LENGTH_PX:
            return QualityReason.IMPLAUSIBLE_MEASUREMENT
        across = sides.lateral(frames, length[:, None] * _AXIS_STATIONS)
        offset, slope = ((across[0::2] + across[1::2]) @ _STRAIGHT).T
        origins = axes * (frames.tips + 1j * offset)
        axes = axes * (1.0 + 1j * (slope / length))
        axes /= np.abs(axes)
    frames = frames_on(origins, axes)
    if frames.lengths_px.min() < LEAST_LENGTH_PX:
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    length = _mean(frames.lengths_px)
    across = _freed_from_lumps(sides.lateral(frames, length[:, None] * SIDE_GRID), length.take(_FINGER_OF_SIDE))
    # Towards the thumb's side is positive, whichever hand it is.
    towards_thumb = 1.0 if marks.step > 0 else -1.0
    widths = (across[0::2] - across[1::2]) @ (towards_thumb * _TO_WIDTHS)
    if widths.min() < 1.0:
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    # Between two neighbouring stations, whichever is wider.
    if np.abs(np.log(widths[:, 2:] / widths[:, 1:-1])).max() > LARGEST_STEP:
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    bends = (across[0::2] + across[1::2]) @ (0.5 * towards_thumb * _TO_BENDS)
    valleys = _deepest(points, marks, axes)
    return HandShape(
        _pairs(axes * frames.tips), _pairs(axes), frames.lengths_px, widths, bends, _pairs(valleys), marks.mirrored
    )


def _mean(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) to (n,)."""
    return np.asarray(0.5 * (pairs[:, 0] + pairs[:, 1]), dtype=np.float64)


def _pairs(points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(n,) complex128 to (n, 2) float64, x and y."""
    return points.view(np.float64).reshape(-1, 2)


def _limits(points: NDArray[np.complex128], marks: Landmarks) -> NDArray[np.complex128]:
    """(5, 2) complex128: the valley on each finger's thumb side and little side; twice the same where there is one."""
    # The thumb's valley does not limit the index: it lies far below its base.
    v = marks.valleys
    pairs = ((v[0], v[0]), (v[1], v[1]), (v[1], v[2]), (v[2], v[3]), (v[3], v[3]))
    return points.take([pairs[finger] for finger in marks.measured_as])


def _sides(contour: Contour, marks: Landmarks, reaches: list[float]) -> _Sides | None:
    """Every finger's two sides; None where hardly anything of one is seen."""
    count, step = len(contour.points), marks.step
    ways: list[NDArray[np.intp]] = []
    _, index, middle, ring = marks.valleys
    # The valley between thumb and index ends the thumb's side alone.
    ends_before, ends_after = (None, None, index, middle, ring), (*marks.valleys, None)
    for finger in marks.measured_as:
        tip, free = marks.tips[finger], round(1.25 * reaches[finger] / STEP_PX)
        for end, way in ((ends_before[finger], -step), (ends_after[finger], step)):
            long = free if end is None else _arc(end, tip, way, count)
            ways.append(np.arange(tip, tip + way * long, way))
    counts = np.array([len(way) for way in ways])
    side, at = np.repeat(_SIDES, counts), np.concatenate(ways)
    hidden = contour.hidden.take(at, mode="wrap")
    if hidden.any():
        side, at = side[~hidden], at[~hidden]
        counts = np.bincount(side, minlength=len(_SIDES))
    if counts.min() < FEWEST_SIDE_POINTS:
        return None
    ends = counts.cumsum() - 1
    return _Sides(contour.plane.take(at, mode="wrap"), side, ends - counts + 1, ends)


def _first_axes(
    sides: _Sides,
    marks: Landmarks,
    tips: NDArray[np.complex128],
    limits: NDArray[np.complex128],
    reaches: list[float],
) -> NDArray[np.complex128]:
    """(5,) unit vectors from each tip to about the middle of the finger's base."""
    bases = 0.5 * (limits[:, 0] + limits[:, 1])
    # Where one valley is far away or none, the point of that side as far from the tip as the valley on the other side.
    for finger, measured in enumerate(marks.measured_as):
        open_side = OPEN_SIDE[measured]
        if open_side is None:
            continue
        side = 2 * finger + open_side
        own = sides.points[sides.starts[side] : sides.ends[side] + 1]
        level = own[np.abs(np.abs(own - tips[finger]) - reaches[finger]).argmin()]
        bases[finger] = 0.5 * (limits[finger, 0] + level)
    axes = bases - tips
    return np.asarray(axes / np.maximum(np.abs(axes), 1e-9), dtype=np.complex128)


def _freed_from_lumps(sides_px: NDArray[np.float64], lengths_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(10, 81) sides on ``SIDE_GRID`` whose lumps and notches are clipped: rings, long nails, a peg of no colour.

    A smooth line is fitted to each that hardly heeds outliers (Tukey's weights); what departs from it by more than
    joints do is cut down to that.
    """
    clip = LARGEST_LUMP * lengths_px[:, None]
    body = sides_px[:, SIDE_BODY].copy()
    fitted = body @ _TO_SMOOTH
    terms = SIDE_BASIS.shape[1]
    for _ in range(LUMP_ITERATIONS - 1):
        weights = (body - fitted) / (3.0 * clip)
        weights *= weights
        np.maximum(1.0 - weights, 1e-3, out=weights)
        weights *= weights
        products = (weights @ _SIDE_PRODUCTS).reshape(-1, terms, terms)
        fitted = np.linalg.solve(products, ((weights * body) @ SIDE_BASIS)[:, :, None])[:, :, 0] @ SIDE_BASIS.T
    freed = sides_px.copy()
    freed[:, SIDE_BODY] = fitted + np.minimum(np.maximum(body - fitted, -clip), clip)
    return freed


def _arc(end: int, start: int, step: int, count: int) -> int:
    """Points from ``start`` to ``end`` going by ``step`` on the closed line."""
    return ((end - start) * step) % count + 1


def _deepest(points: NDArray[np.complex128], marks: Landmarks, axes: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(4,): each valley's bottom, seen along the bisector of its two fingers; the mean of the last pixels."""
    bisectors = axes[:-1] + axes[1:]
    bisectors /= np.maximum(np.abs(bisectors), 1e-9)
    # The bottom lies near the point that is nearest to the palm's centre.
    reach = round(max(VALLEY_REACH_PX, VALLEY_REACH * marks.palm_radius_px) / STEP_PX)
    near = points.take(np.array(marks.valleys)[:, None] + np.arange(-reach, reach + 1), mode="wrap")
    depth = (near * bisectors.conj()[:, None]).real
    bottom = np.maximum(depth - (depth.max(axis=1) - VALLEY_DEPTH_PX)[:, None], 0.0)
    return np.asarray((near * bottom).sum(axis=1) / bottom.sum(axis=1), dtype=np.complex128)
