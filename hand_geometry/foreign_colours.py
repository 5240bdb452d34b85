"""Things on the platen that are not hand, known by their colour alone: pegs, coloured sleeves and bracelets.

No colour is written down here. The hand's own hue is read from the middle of the hand; what is clearly coloured and of
another hue is foreign. A grey picture has no hue, and nothing in it is foreign.
"""

from __future__ import annotations

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
# What is thinner than a peg is a ring, a thread or a drawn line: it lies on the hand and belongs to it.
LEAST_PEG_PX = 12
# A broad ring may be as wide as a peg. Where it would cut a finger off, only what is thicker than this is foreign.
BROAD_RING_PX = 28
# The middle of the hand is what is left when this much is taken off its border.
CORE_DEPTH_PX = 40
FEWEST_CORE_PIXELS = 100
BORDER_SHARE = 0.2
# A peg is ten pixels wide on a quarter of the grid, which is all that has to be seen of it.
COARSE = 4


def foreign_colours(image: NDArray[np.uint8], level: float, thinnest_px: int = LEAST_PEG_PX) -> NDArray[np.uint8]:
    """Marks the foreign pixels of (H, W, 3) uint8 BGR brighter than ``level``: (H, W) uint8, 255 where foreign.

    Nothing thinner than ``thinnest_px`` is marked.
    """
    height, width = image.shape[:2]
    small = cv2.resize(image, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
    blue, green, red = cv2.split(small)
    brightest = cv2.max(cv2.max(blue, green), red)
    darkest = cv2.min(cv2.min(blue, green), red)
    # A blue peg is dark in red, yet its glint and its rim are not: it has to be seen whole to be taken away whole.
    bright = cv2.threshold(brightest, level, 255, cv2.THRESH_BINARY)[1]
    hue = _hue_of_core(np.asarray(small, dtype=np.uint8), np.asarray(bright, dtype=np.uint8))
    if hue is None:
        return np.zeros((height, width), dtype=np.uint8)
    total = cv2.transform(small, np.array([[1.0, 1.0, 1.0]])).astype(np.float32)
    chroma = cv2.subtract(brightest, darkest).astype(np.float32)
    redness, yellowness = hue
    foreign = chroma > np.float32(max(GAUDY, GAUDIER_THAN_SKIN * (redness + yellowness))) * total
    if redness or yellowness:
        # Rows: along the hand's hue and across it, as sums of blue, green and red.
        turn = np.array(
            [[-yellowness, yellowness - redness, redness], [-redness, redness + yellowness, -yellowness]],
            dtype=np.float32,
        )
        turn /= np.float32(np.hypot(redness, yellowness))
        along, across = cv2.split(cv2.transform(small.astype(np.float32), turn))
        margin = np.float32(HUE_MARGIN) * total
        foreign |= (chroma > COLOURED * total) & (
            (along < -margin) | (np.abs(across) > np.float32(np.tan(FOREIGN_HUE_RADIANS)) * along + margin)
        )
    foreign &= bright > 0
    side = thinnest_px // COARSE | 1
    peg = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    marked = cv2.morphologyEx(foreign.astype(np.uint8) * 255, cv2.MORPH_OPEN, peg)
    marked = cv2.dilate(marked, np.ones((3, 3), np.uint8))
    pieces, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, pieces, -1, 255, cv2.FILLED)
    return np.asarray(cv2.resize(marked, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _hue_of_core(small: NDArray[np.uint8], bright: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Redness and yellowness of the middle of the hand; (0, 0) where it has no colour, None where there is no hand."""
    side = 2 * CORE_DEPTH_PX // COARSE | 1
    core = cv2.erode(bright, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    # A sleeve comes in from the picture's border and may be wider than the hand: the hand is looked for further in.
    rows, columns = (round(BORDER_SHARE * side) for side in core.shape[:2])
    central = np.zeros_like(core)
    central[rows : core.shape[0] - rows, columns : core.shape[1] - columns] = 255
    inner = cv2.bitwise_and(core, central)
    if cv2.countNonZero(inner) >= FEWEST_CORE_PIXELS:
        core = inner
    if cv2.countNonZero(core) < FEWEST_CORE_PIXELS:
        return None
    channels = small[core > 0][::4].astype(np.float32)
    total = channels.sum(axis=1) + 1.0
    redness = float(np.median((channels[:, 2] - channels[:, 1]) / total))
    yellowness = float(np.median((channels[:, 1] - channels[:, 0]) / total))
    return (redness, yellowness) if redness**2 + yellowness**2 > COLOURED**2 / 2.0 else (0.0, 0.0)
