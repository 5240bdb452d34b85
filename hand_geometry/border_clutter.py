"""Cuts off what reaches in from the border of the picture and touches a fingertip: a reflection, a frame, an object.

A finger that leaves the picture is as wide at the border as further in; clutter is joined to a fingertip by a neck.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COARSE = 2
# Clutter reaches in at most this far, and a neck is at most as wide as a fingertip; a wrist is wider.
REACH_PX = 180
WIDEST_NECK_PX = 55
# The neck is narrower than the clutter before it and the finger behind it by these factors.
CLUTTER_TO_NECK = 1.3
FINGER_TO_NECK = 1.15


def without_border_clutter(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask, (H, W) uint8, with necks to the four borders severed; the clutter itself is left for others to drop."""
    height, width = mask.shape
    small = cv2.resize(mask, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    small = cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]
    severed = np.zeros_like(small, dtype=np.bool_)
    for turns in range(4):
        turned = np.rot90(small > 0, turns)
        severed |= np.rot90(_necks_from_left(turned), -turns)
    if not severed.any():
        return mask
    cut = cv2.resize(severed.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(cut > 0, np.uint8(0), mask)


def _runs(column: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches of True as (first, past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], column, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _necks_from_left(hand: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the columns up to the neck of everything that comes in from the left border."""
    marked = np.zeros_like(hand)
    reach = min(REACH_PX // COARSE, hand.shape[1])
    for start, end in _runs(hand[:, 1]):
        low, high = start, end
        widths: list[int] = []
        stretches: list[tuple[int, int]] = []
        for at in range(1, reach):
            touching = [(a, b) for a, b in _runs(hand[:, at]) if a < high and b > low]
            if not touching:
                break
            low, high = touching[0][0], touching[-1][1]
            widths.append(sum(b - a for a, b in touching))
            stretches.append((low, high))
        if len(widths) < 3:
            continue
        narrow = min(widths)
        # The end of the neck that is nearer to the finger.
        neck = max(at for at, width in enumerate(widths) if width <= narrow + 1)
        before, behind = max(widths[: neck + 1]), max(widths[neck:])
        if (
            narrow * COARSE <= WIDEST_NECK_PX
            and before >= CLUTTER_TO_NECK * narrow
            and behind >= FINGER_TO_NECK * narrow
        ):
            for at in range(neck + 1):
                marked[stretches[at][0] : stretches[at][1], at + 1] = True
            marked[stretches[0][0] : stretches[0][1], 0] = True
    return marked
