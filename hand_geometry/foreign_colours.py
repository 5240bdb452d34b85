"""Things on the platen that are not hand, known by their colour alone: pegs, coloured sleeves and bracelets.

No colour is written down here. The hand's own hue is read from the middle of the hand; what is clearly coloured and of
another hue is foreign. A grey picture has no hue, and nothing in it is foreign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

# A pixel is foreign when its hue lies further than this from that of the palm. Skin keeps its hue in its own shade and
# only grows more saturated there, so saturation alone never makes a pixel foreign.
FOREIGN_HUE_RADIANS = 0.5
# Under this saturation, as (largest - smallest) / sum of the channels, a hue means nothing: grey sleeves, glare, grey
# cameras.
COLOURED = 0.09
# No skin is as saturated as this, nor by so much more than the middle of its palm: a red peg shares the hue of skin.
GAUDY = 0.42
GAUDIER_THAN_SKIN = 2.2
# A camera with a cast makes skin nearly grey; its hue then wavers by this much of the sum of the channels.
HUE_MARGIN = 0.03
# Lengths are in px of the coarse grid, on which a peg is ten pixels wide: all that has to be seen of it. What is
# thinner than a peg is a ring, a thread or a drawn line: it lies on the hand and belongs to it.
LEAST_PEG_PX = 3
# A broad ring may be as wide as a peg. Where it would cut a finger off, only what is thicker than this is foreign.
BROAD_RING_PX = 7
# The middle of the hand is what is left when this much is taken off its border, on every fourth pixel of the grid.
CORE_DEPTH_PX = 2
FEWEST_CORE_PIXELS = 25
# Every so many pixels of it are enough for a median.
HUE_STEP = 3
BORDER_SHARE = 0.2


def foreign_colours(
    small: NDArray[np.uint8],
    level: float,
    thinnest_px: int = LEAST_PEG_PX,
    channels: Sequence[NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Marks the foreign pixels of (H, W, 3) uint8 BGR, on the coarse grid, brighter than ``level``.

    ``channels`` are its own, where they are at hand.

    Returns:
        (H, W) uint8, 255 where foreign. Nothing thinner than ``thinnest_px`` is marked.
    """
    blue, green, red = split(small) if channels is None else channels
    brightest = cv2.max(cv2.max(blue, green), red)
    # A blue peg is dark in red, yet its glint and its rim are not: it has to be seen whole to be taken away whole.
    bright = np.asarray(cv2.threshold(brightest, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    hue = _hue_of_core(small, bright)
    marked = np.zeros(bright.shape, dtype=np.uint8)
    left, top, width, height = cv2.boundingRect(bright)
    if hue is None or not width:
        return marked
    box = np.s_[top : top + height, left : left + width]
    marked[box] = cv2.bitwise_and(_foreign_in(small[box], (blue[box], green[box], red[box]), hue), bright[box])
    side = thinnest_px | 1
    peg = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.dilate(cv2.morphologyEx(marked, cv2.MORPH_OPEN, peg), np.ones((3, 3), np.uint8))
    pieces, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(opened, pieces, -1, 255, cv2.FILLED)
    return np.asarray(opened, dtype=np.uint8)


def split(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Blue, green and red of (H, W, 3) uint8, (H, W) each."""
    blue, green, red = (np.asarray(one, dtype=np.uint8) for one in cv2.split(image))
    return blue, green, red


def _foreign_in(
    window: NDArray[np.uint8], channels: Sequence[NDArray[np.uint8]], hue: tuple[float, float]
) -> NDArray[np.uint8]:
    """255 where a pixel of (H, W, 3) uint8 BGR is too gaudy or of another hue; bytes alone, for speed.

    Every condition compares the chroma, or nothing, with a weighted sum of the channels; negative sums become 0.
    ``channels`` are those of ``window``.
    """
    redness, yellowness = hue
    blue, green, red = channels
    chroma = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
    gaudy = min(1.0, max(GAUDY, GAUDIER_THAN_SKIN * (redness + yellowness)))
    weights = np.full((3, 3), 1.0 / 3.0)
    if redness or yellowness:
        # How far a pixel lies outside the wedge of hues round the palm's, beyond either side; more than nothing where
        # that exceeds what grain does. What lies behind the wedge's tip and beyond neither side has no colour.
        size = math.hypot(redness, yellowness) * HUE_MARGIN
        slope = math.tan(FOREIGN_HUE_RADIANS)
        for row, side in ((1, 1.0), (2, -1.0)):
            of_redness = (-side * yellowness - slope * redness) / size
            of_yellowness = (side * redness - slope * yellowness) / size
            one = (-of_yellowness - 1.0, of_yellowness - of_redness - 1.0, of_redness - 1.0)
            # OpenCV takes a hundred times as long where a weight is 32 or more.
            weights[row] = one
            weights[row] *= 31.0 / max(map(abs, one))
    mean, beyond, behind = cv2.split(cv2.transform(window, weights))
    foreign = cv2.compare(chroma, cv2.convertScaleAbs(mean, alpha=3.0 * gaudy), cv2.CMP_GT)
    if not (redness or yellowness):
        return np.asarray(foreign, dtype=np.uint8)
    outside = cv2.compare(cv2.max(beyond, behind), 0.0, cv2.CMP_GT)  # type: ignore[call-overload]
    coloured = cv2.compare(chroma, cv2.convertScaleAbs(mean, alpha=3.0 * COLOURED), cv2.CMP_GT)
    return np.asarray(cv2.bitwise_or(foreign, cv2.bitwise_and(outside, coloured)), dtype=np.uint8)


def _hue_of_core(small: NDArray[np.uint8], bright: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Redness and yellowness of the middle of the hand; (0, 0) where it has no colour, None where there is no hand."""
    side = 2 * CORE_DEPTH_PX + 1
    core = cv2.erode(bright[::4, ::4].copy(), np.ones((side, side), np.uint8))
    # A sleeve comes in from the picture's border and may be wider than the hand: the hand is looked for further in.
    rows, columns = (round(BORDER_SHARE * side) for side in core.shape[:2])
    inner = np.zeros_like(core)
    centre = np.s_[rows : core.shape[0] - rows, columns : core.shape[1] - columns]
    inner[centre] = core[centre]
    if cv2.countNonZero(inner) >= FEWEST_CORE_PIXELS:
        core = inner
    if cv2.countNonZero(core) < FEWEST_CORE_PIXELS:
        return None
    channels = small[::4, ::4][core > 0][::HUE_STEP].astype(np.float32)
    if not len(channels):
        return None
    blue, green, red = channels.T
    total = blue + green + red + 1.0
    redness = float(np.sort((red - green) / total)[len(total) // 2])
    yellowness = float(np.sort((green - blue) / total)[len(total) // 2])
    return (redness, yellowness) if redness**2 + yellowness**2 > COLOURED**2 / 2.0 else (0.0, 0.0)
