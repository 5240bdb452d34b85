"""Things on the platen that are not hand, known by their colour alone: pegs, coloured sleeves and bracelets.

No colour is written down here. The hand's own hue is read from the middle of the hand; what is clearly coloured and of
another hue is foreign. A grey picture has no hue, and nothing in it is foreign.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

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
CORE = np.ones((2 * CORE_DEPTH_PX + 1, 2 * CORE_DEPTH_PX + 1), np.uint8)
FEWEST_CORE_PIXELS = 25
# Every so many pixels of it are enough for a median.
HUE_STEP = 3
BORDER_SHARE = 0.2
PIXEL_MORE = np.ones((3, 3), np.uint8)

# Round what every other pixel shows of something foreign all pixels are looked at, so far.
WINDOW_MARGIN_PX = 6

Pieces = tuple[NDArray[np.int32], ...]
# Rows: the sum of blue, green and red; red less green; green less blue.
_SUM_AND_DIFFERENCES = np.array([(1, 1, 1), (0, -1, 1), (-1, 1, 0)], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Channels:
    """Of (H, W, 3) uint8, (H, W) uint8 each: the largest of the three channels, and that less the smallest."""

    brightest: NDArray[np.uint8]
    chroma: NDArray[np.uint8]


def foreign_colours(small: NDArray[np.uint8], level: float, thinnest_px: int = LEAST_PEG_PX) -> NDArray[np.uint8]:
    """Marks the foreign pixels of (H, W, 3) uint8 BGR, on the coarse grid, brighter than ``level``.

    Returns:
        (H, W) uint8, 255 where foreign. Nothing thinner than ``thinnest_px`` is marked.
    """
    coarse = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2BGRA), dtype=np.uint8)
    return find_foreign(coarse, every_other(coarse), level, thinnest_px)[0]


def find_foreign(
    coarse: NDArray[np.uint8], sparse: NDArray[np.uint8], level: float, thinnest_px: int
) -> tuple[NDArray[np.uint8], Pieces]:
    """As ``foreign_colours``, with the outline of each piece, (n, 1, 2) int32 as OpenCV follows it.

    ``coarse`` is a picture's, (H, W, 4) uint8, and ``sparse`` its ``every_other`` pixel. What shows nothing foreign
    there has no peg: all pixels are looked at only around what does.
    """
    marked = np.zeros(coarse.shape[:2], dtype=np.uint8)
    channels = _channels(sparse)
    hue = _hue_of_core(sparse, _over(channels.brightest, level))
    if hue is None:
        return marked, ()
    box = _round(_foreign_in(sparse, channels, hue, level)) if thinnest_px >= LEAST_PEG_PX else np.s_[0:, 0:]
    if box is None:
        return marked, ()
    window = np.asarray(cv2.cvtColor(coarse[box], cv2.COLOR_BGRA2BGR), dtype=np.uint8)
    side = thinnest_px | 1
    peg = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    thick = cv2.morphologyEx(_foreign_in(window, _channels(window), hue, level), cv2.MORPH_OPEN, peg)
    corner = (box[1].start, box[0].start)
    pieces, _ = cv2.findContours(cv2.dilate(thick, PIXEL_MORE), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    cv2.drawContours(marked, pieces, -1, 255, cv2.FILLED)
    return marked, tuple(np.asarray(piece, dtype=np.int32) for piece in pieces)


def every_other(coarse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every other pixel of every other row of (H, W, 4) uint8, without the last channel."""
    words = np.ascontiguousarray(coarse.view(np.uint32)[::2, ::2])
    return np.asarray(cv2.cvtColor(words.view(np.uint8), cv2.COLOR_BGRA2BGR), dtype=np.uint8)


def _channels(image: NDArray[np.uint8]) -> _Channels:
    blue, green, red = cv2.split(image)
    brightest = np.asarray(cv2.max(cv2.max(blue, green), red), dtype=np.uint8)
    darkest = cv2.min(cv2.min(blue, green), red)
    return _Channels(brightest, np.asarray(cv2.subtract(brightest, darkest), dtype=np.uint8))


def _over(brightest: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """255 where any channel is over the level.

    A blue peg is dark in red, yet its glint and its rim are not: it has to be seen whole to be taken away whole.
    """
    return np.asarray(cv2.threshold(brightest, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _round(marked: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Rows and columns of the coarse grid round everything marked on every other pixel of it; None: nothing is."""
    left, top, width, height = cv2.boundingRect(marked)
    if not width:
        return None
    rows = slice(max(0, 2 * top - WINDOW_MARGIN_PX), 2 * (top + height) + WINDOW_MARGIN_PX)
    return rows, slice(max(0, 2 * left - WINDOW_MARGIN_PX), 2 * (left + width) + WINDOW_MARGIN_PX)


def _foreign_in(
    window: NDArray[np.uint8], channels: _Channels, hue: tuple[float, float], level: float
) -> NDArray[np.uint8]:
    """255 where a pixel of (H, W, 3) uint8 BGR is bright and too gaudy or of another hue; bytes alone, for speed.

    Every condition compares the chroma, or nothing, with a weighted sum of the channels; negative sums become 0.
    ``channels`` are those of ``window``.
    """
    redness, yellowness = hue
    bright, chroma = _over(channels.brightest, level), channels.chroma
    gaudy = min(1.0, max(GAUDY, GAUDIER_THAN_SKIN * (redness + yellowness)))
    mean, beyond, behind = cv2.split(cv2.transform(window, _weights(redness, yellowness)))
    foreign = cv2.compare(chroma, cv2.convertScaleAbs(mean, alpha=3.0 * gaudy), cv2.CMP_GT)
    if not (redness or yellowness):
        return np.asarray(cv2.bitwise_and(foreign, bright), dtype=np.uint8)
    outside = cv2.compare(cv2.max(beyond, behind), 0.0, cv2.CMP_GT)  # type: ignore[call-overload]
    coloured = cv2.compare(chroma, cv2.convertScaleAbs(mean, alpha=3.0 * COLOURED), cv2.CMP_GT)
    foreign = cv2.bitwise_or(foreign, cv2.bitwise_and(outside, coloured))
    return np.asarray(cv2.bitwise_and(foreign, bright), dtype=np.uint8)


@functools.lru_cache(maxsize=8)
def _weights(redness: float, yellowness: float) -> NDArray[np.float64]:
    """(3, 3) float64: what makes a pixel's mean of its channels, and how far it lies beyond either side of a wedge."""
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
    return weights


def _hue_of_core(sparse: NDArray[np.uint8], bright: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Redness and yellowness of the middle of the hand, from every other pixel of (H, W, 3) uint8 BGR.

    (0, 0) where it has no colour, None where there is no hand.
    """
    core = np.asarray(cv2.erode(np.ascontiguousarray(bright[::2, ::2]), CORE), dtype=np.uint8)
    # A sleeve comes in from the picture's border and may be wider than the hand: the hand is looked for further in.
    top, left = (round(BORDER_SHARE * side) for side in core.shape)
    centre = core[top : core.shape[0] - top, left : core.shape[1] - left]
    inner = np.flatnonzero(centre)
    if len(inner) < FEWEST_CORE_PIXELS:
        top = left = 0
        centre, inner = core, np.flatnonzero(core)
        if len(inner) < FEWEST_CORE_PIXELS:
            return None
    rows, columns = np.divmod(inner[::HUE_STEP], centre.shape[1])
    palm = sparse[2 * (rows + top), 2 * (columns + left)]
    total, *differences = _SUM_AND_DIFFERENCES @ palm.T.astype(np.float32)
    hues = np.sort(differences / (total + np.float32(1.0)), axis=1)
    redness, yellowness = hues[:, len(rows) // 2].tolist()
    return (redness, yellowness) if redness**2 + yellowness**2 > COLOURED**2 / 2.0 else (0.0, 0.0)
