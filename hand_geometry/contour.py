"""Second stage: the hand's outline as one ordered line, refined below the pixel and smoothed evenly."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.silhouette import Silhouette
from hand_geometry.working_picture import COARSE, values_at

# Distance between neighbouring points of the outline, in px at the working size.
STEP_PX = 2.0
# Smoothing along the outline: enough to remove pixel stairs, a tenth of a finger's width.
SMOOTHING_PX = 1.5
# The same before the border is refined, in points of the mask's border, however large its pixels are.
STAIRS_SMOOTHING = 1.5
# The true border is looked for this far on both sides of the mask's border, a pixel at a time; further where that was
# followed on the coarse grid.
REACH_PX = 1.5
COARSE_REACH_PX = 2.5
# Foreign things this near to the outline, in px of the coarse grid, hide the hand's own border.
FOREIGN_REACH_PX = 2
NEAR_FOREIGN = np.ones((2 * FOREIGN_REACH_PX + 1, 2 * FOREIGN_REACH_PX + 1), np.uint8)


@dataclass(frozen=True, eq=False)
class Contour:
    """The outline of one hand.

    Attributes:
        points: (N, 2) float64, x and y in px, clockwise on the screen, closed, evenly spaced.
        hidden: (N,) bool, True where something foreign touches the hand, so that the point is not the hand's own
            border.
        on_border: (N,) bool, True where the outline is the border of the picture.
    """

    points: NDArray[np.float64] = field(repr=False)
    hidden: NDArray[np.bool_] = field(repr=False)
    on_border: NDArray[np.bool_] = field(repr=False)

    @property
    def plane(self) -> NDArray[np.complex128]:
        """(N,) complex128, the points as x + iy: so one call of numpy turns or shifts all of them."""
        return np.ascontiguousarray(self.points).view(np.complex128)[:, 0]


def trace_contour(silhouette: Silhouette) -> Contour:
    """Follows the border of the mask and moves each point to where ``soft`` crosses its level."""
    raw = silhouette.outline.reshape(-1, 2).astype(np.float64)
    # Positive when the line runs clockwise on a screen whose y grows downwards.
    if cv2.contourArea(silhouette.outline, oriented=True) < 0.0:
        raw = raw[::-1]
    height, width = silhouette.shape
    points = _spaced(_smooth(raw, STAIRS_SMOOTHING))[0]
    # Smoothing has drawn the corners in by about a pixel of the mask.
    margin = 2.0 * silhouette.step_px - 0.5
    outside = (points < margin) | (points > np.array((width - 1.0 - margin, height - 1.0 - margin)))
    edge = outside[:, 0] | outside[:, 1]
    refined = _refine(points, silhouette, REACH_PX if silhouette.step_px == 1 else COARSE_REACH_PX)
    np.copyto(refined, points, where=edge[:, None])
    points = _smooth(refined, SMOOTHING_PX / STEP_PX)
    hidden = np.zeros(len(points), dtype=np.bool_)
    if silhouette.foreign is not None and silhouette.pieces:
        near = np.asarray(cv2.dilate(silhouette.foreign, NEAR_FOREIGN), dtype=np.uint8)
        on_grid = ((points - 0.5 * (COARSE - 1)) / COARSE).astype(np.float32)
        hidden = values_at(near, on_grid[None], cv2.INTER_NEAREST)[0] > 0
    return Contour(points, hidden, edge)


def moved(contour: Contour, points: NDArray[np.float64]) -> Contour:
    """The contour with its points elsewhere, evenly spaced again; (N, 2) float64, one for each of its own."""
    spaced, at, length = _spaced(points)
    before = np.clip(np.searchsorted(length, at, side="right") - 1, 0, len(points) - 1)
    return Contour(spaced, contour.hidden[before], contour.on_border[before])


def _spaced(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The closed line with points ``STEP_PX`` apart, how far along it they lie, and how far the old ones did."""
    # A point as one complex number: both of its coordinates are looked up at once.
    closed = np.concatenate([points, points[:1]]).view(np.complex128)[:, 0]
    steps = closed[1:] - closed[:-1]
    length = np.zeros(len(closed))
    np.cumsum(np.sqrt(steps.real**2 + steps.imag**2), out=length[1:])
    count = max(16, round(length[-1] / STEP_PX))
    at = np.arange(count) * (length[-1] / count)
    return np.interp(at, length, closed).view(np.float64).reshape(-1, 2), at, length


@functools.cache
def _bell(sigma: float) -> NDArray[np.float64]:
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def _smooth(points: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the closed line; ``sigma`` in points."""
    kernel = _bell(sigma)
    reach = len(kernel) // 2
    if len(points) <= 2 * reach:
        return points
    padded = np.concatenate([points[-reach:], points, points[:reach]])
    smoothed = cv2.sepFilter2D(padded[None], cv2.CV_64F, kernel, np.ones(1))
    return np.asarray(smoothed[0, reach:-reach], dtype=np.float64)


def _refine(points: NDArray[np.float64], silhouette: Silhouette, reach_px: float) -> NDArray[np.float64]:
    """Moves each point along its normal to the crossing of the level nearest to it; leaves it where there is none."""
    around = np.concatenate([points[-2:], points, points[:2]]).astype(np.float32).view(np.complex64)[:, 0]
    outward = around[4:] - around[:-4]
    # Clockwise on the screen: the hand is on the right of the way, so the outside is a quarter turn to the left.
    outward *= np.complex64(-1j) / np.maximum(np.abs(outward), np.float32(1e-9))
    offsets = np.arange(-reach_px, reach_px + 1.0, dtype=np.float32)
    at_px = around[2:-2] + offsets[:, None] * outward
    values = silhouette.values_at(at_px.view(np.float32).reshape(*at_px.shape, 2))
    # Bright or dark on the way out, a bit each.
    ways = np.packbits(values >= silhouette.level, axis=0)[0]
    step = _nearest_leaving(len(offsets)).take(ways)
    found = np.flatnonzero(step >= 0)
    step = step.take(found)
    inside = step * len(points) + found
    inner, outer = (values.ravel().take(at).astype(np.float32) for at in (inside, inside + len(points)))
    shift = np.zeros(len(points), dtype=np.float32)
    shift[found] = offsets.take(step) + (inner - np.float32(silhouette.level)) / (inner - outer)
    return points + (shift * outward).view(np.float32).reshape(-1, 2)


@functools.cache
def _nearest_leaving(samples: int) -> NDArray[np.intp]:
    """(256,) intp: of the steps from bright to dark, as ``packbits`` has them, that nearest to the middle; -1: none."""
    bright = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, :samples]
    nearest = np.full(256, -1, dtype=np.intp)
    # Steps further out are looked at first and lose.
    for step in sorted(range(samples - 1), key=lambda at: -abs(2 * at - samples + 2)):
        nearest[bright[:, step] > bright[:, step + 1]] = step
    return nearest
