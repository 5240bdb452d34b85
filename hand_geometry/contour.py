"""Second stage: the hand's outline as one ordered line, refined below the pixel and smoothed evenly."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.silhouette import Silhouette
from hand_geometry.working_picture import COARSE

# Distance between neighbouring points of the outline, in px at the working size.
STEP_PX = 2.0
# Smoothing along the outline: enough to remove pixel stairs, a tenth of a finger's width.
SMOOTHING_PX = 1.5
# The true border is looked for this far on both sides of the mask's border, a pixel at a time.
REFINE_STEP_PX = np.float32(1.0)
REFINE_OFFSETS_PX = np.array([-1.5, -0.5, 0.5, 1.5], dtype=np.float32)
NEAREST_LAST = (0, 2, 1)
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


def trace_contour(silhouette: Silhouette) -> Contour:
    """Follows the border of the mask and moves each point to where ``soft`` crosses its level."""
    raw = silhouette.outline.reshape(-1, 2).astype(np.float64)
    if _signed_area(raw) < 0.0:
        raw = raw[::-1]
    height, width = silhouette.soft.shape
    points = _spaced(_smooth(raw, SMOOTHING_PX))[0]
    x, y = points[:, 0], points[:, 1]
    edge = (x < 1.5) | (y < 1.5) | (x > width - 2.5) | (y > height - 2.5)
    refined = _refine(points, silhouette.soft, silhouette.level)
    points = _smooth(np.where(edge[:, None], points, refined) if edge.any() else refined, SMOOTHING_PX / STEP_PX)
    hidden = np.zeros(len(points), dtype=np.bool_)
    if silhouette.foreign is not None:
        near = cv2.dilate(silhouette.foreign, NEAR_FOREIGN)
        columns, rows = points.T.astype(np.int32) // COARSE
        hidden = near[np.clip(rows, 0, near.shape[0] - 1), np.clip(columns, 0, near.shape[1] - 1)] > 0
    return Contour(points, hidden, edge)


def moved(contour: Contour, points: NDArray[np.float64]) -> Contour:
    """The contour with its points elsewhere, evenly spaced again; (N, 2) float64, one for each of its own."""
    spaced, at, length = _spaced(points)
    before = np.clip(np.searchsorted(length, at, side="right") - 1, 0, len(points) - 1)
    return Contour(spaced, contour.hidden[before], contour.on_border[before])


def _signed_area(points: NDArray[np.float64]) -> float:
    """Twice the area; positive when the line runs clockwise on a screen whose y grows downwards."""
    x, y = points[:, 0], points[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1])


def _spaced(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The closed line with points ``STEP_PX`` apart, how far along it they lie, and how far the old ones did."""
    closed = np.concatenate([points.T, points[:1].T], axis=1)
    steps = closed[:, 1:] - closed[:, :-1]
    length = np.zeros(closed.shape[1])
    np.cumsum(np.sqrt(steps[0] ** 2 + steps[1] ** 2), out=length[1:])
    count = max(16, round(length[-1] / STEP_PX))
    at = np.arange(count) * (length[-1] / count)
    return np.stack([np.interp(at, length, closed[0]), np.interp(at, length, closed[1])], axis=1), at, length


def _smooth(points: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the closed line; ``sigma`` in points."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    if len(points) <= 2 * reach:
        return points
    padded = np.concatenate([points[-reach:], points, points[:reach]])
    smoothed = cv2.sepFilter2D(padded[None], cv2.CV_64F, kernel, np.ones(1))
    return np.asarray(smoothed[0, reach:-reach], dtype=np.float64)


def _refine(points: NDArray[np.float64], soft: NDArray[np.uint8], level: float) -> NDArray[np.float64]:
    """Moves each point along its normal to the crossing of ``level`` nearest to it; leaves it where there is none."""
    around = np.concatenate([points[-2:], points, points[:2]]).astype(np.float32)
    tangent = around[4:] - around[:-4]
    tangent /= np.maximum(np.sqrt(tangent[:, :1] ** 2 + tangent[:, 1:] ** 2), np.float32(1e-9))
    # Clockwise on the screen: the hand is on the right of the way, so the outside is (dy, -dx).
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    at = around[2:-2] + REFINE_OFFSETS_PX[:, None, None] * outward
    values = cv2.remap(soft, at, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]  # one map
    bright = values >= level
    # Of the steps from bright to dark the one nearest to the point; steps further out are looked at first and lose.
    shift = np.zeros(len(points), dtype=np.float32)
    for step in NEAREST_LAST:
        inner, outer = values[step].astype(np.float32), values[step + 1].astype(np.float32)
        part = (inner - np.float32(level)) / np.maximum(inner - outer, np.float32(1.0))
        moved = REFINE_OFFSETS_PX[step] + REFINE_STEP_PX * part
        np.copyto(shift, moved, where=bright[step] & ~bright[step + 1])
    return np.asarray(points + shift[:, None] * outward, dtype=np.float64)
