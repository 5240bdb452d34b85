"""Second stage: the hand's outline as one ordered line, refined below the pixel and smoothed evenly."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.silhouette import Silhouette

# Distance between neighbouring points of the outline. One pixel keeps all that a 1600-pixel frame holds.
STEP_PX = 1.0
# Smoothing along the outline: enough to remove pixel stairs, a tenth of a finger's width.
SMOOTHING_PX = 3.0
# The true border is looked for this far on both sides of the mask's border.
REFINE_REACH_PX = 3.0
# Foreign things this near to the outline hide the hand's own border.
FOREIGN_REACH_PX = 7


@dataclass(frozen=True)
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
    found, _ = cv2.findContours(silhouette.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    raw = max(found, key=len).reshape(-1, 2).astype(np.float64)
    if _signed_area(raw) < 0.0:
        raw = raw[::-1]
    height, width = silhouette.mask.shape
    points = _smooth(_evenly_spaced(raw), SMOOTHING_PX)
    edge = (points[:, 0] < 2.5) | (points[:, 1] < 2.5) | (points[:, 0] > width - 3.5) | (points[:, 1] > height - 3.5)
    points = np.where(edge[:, None], points, _refine(points, silhouette.soft, silhouette.level))
    points = _smooth(points, SMOOTHING_PX)
    hidden = np.zeros(len(points), dtype=np.bool_)
    if silhouette.foreign is not None and cv2.countNonZero(silhouette.foreign):
        side = 2 * FOREIGN_REACH_PX + 1
        near = cv2.dilate(silhouette.foreign, np.ones((side, side), np.uint8))
        columns = np.clip(np.rint(points[:, 0]).astype(np.intp), 0, width - 1)
        rows = np.clip(np.rint(points[:, 1]).astype(np.intp), 0, height - 1)
        hidden = near[rows, columns] > 0
    return Contour(points, hidden, edge)


def _signed_area(points: NDArray[np.float64]) -> float:
    """Twice the area; positive when the line runs clockwise on a screen whose y grows downwards."""
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _evenly_spaced(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same closed line with points ``STEP_PX`` apart."""
    closed = np.vstack([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(16, round(length[-1] / STEP_PX))
    at = np.linspace(0.0, length[-1], count, endpoint=False)
    return np.stack([np.interp(at, length, closed[:, 0]), np.interp(at, length, closed[:, 1])], axis=1)


def _smooth(points: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the closed line."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    if len(points) <= 2 * reach:
        return points
    padded = np.vstack([points[-reach:], points, points[:reach]])
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)


def _refine(points: NDArray[np.float64], soft: NDArray[np.uint8], level: float) -> NDArray[np.float64]:
    """Moves each point along its normal to the crossing of ``level`` nearest to it; leaves it where there is none."""
    tangent = np.roll(points, -2, axis=0) - np.roll(points, 2, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    # Clockwise on the screen: the hand is on the right of the way, so the outside is (dy, -dx).
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    offsets = np.arange(-REFINE_REACH_PX, REFINE_REACH_PX + 0.5, 1.0)
    at = points[:, None, :] + offsets[None, :, None] * outward[:, None, :]
    values = cv2.remap(soft, at[:, :, 0].astype(np.float32), at[:, :, 1].astype(np.float32), cv2.INTER_LINEAR).astype(
        np.float64
    )
    inner, outer = values[:, :-1], values[:, 1:]
    crossing = (inner >= level) & (outer < level)
    part = (inner - level) / np.where(crossing, inner - outer, 1.0)
    moved = offsets[None, :-1] + part
    distance = np.where(crossing, np.abs(moved), np.inf)
    best = np.argmin(distance, axis=1)
    row = np.arange(len(points))
    shift = np.where(np.isfinite(distance[row, best]), moved[row, best], 0.0)
    return np.asarray(points + shift[:, None] * outward, dtype=np.float64)
