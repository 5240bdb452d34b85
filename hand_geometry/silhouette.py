"""First stage: which pixels are hand. Nothing here knows a skin tone or a peg's colour: both are learnt from the
picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.quality import QualityReason

# Everything is tuned at this length of the longer side; smaller or larger pictures are brought to it, so that one pixel
# means one pixel.
WORKING_SIDE_PX = 1600
# Under this share of the picture no adult's or child's hand was ever seen, only pegs, dust and folds of the cloth.
SMALLEST_HAND_SHARE = 0.02
LARGEST_HAND_SHARE = 0.75


class Platen(StrEnum):
    """What the hand lies on, which decides how it is told from the ground."""

    DARK = "dark"
    LIGHT = "light"
    BACKLIT = "backlit"
    SILHOUETTE = "silhouette"


@dataclass(frozen=True)
class Silhouette:
    """The hand as a filled mask.

    Attributes:
        mask: (H, W) uint8, 255 on the hand, one connected piece without holes.
        soft: (H, W) uint8, grey picture in which the hand's border lies where the value crosses ``level``; the hand is
            bright.
        level: The grey value of the border.
        foreign: (H, W) uint8, 255 on bright things that are not hand (pegs, rings' glitter, sleeves), or None.
    """

    mask: NDArray[np.uint8] = field(repr=False)
    soft: NDArray[np.uint8] = field(repr=False)
    level: float
    foreign: NDArray[np.uint8] | None = field(repr=False)


def at_working_size(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) BGR whose longer side has the working length."""
    if image.ndim == 2:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    longer = max(image.shape[:2])
    if longer == WORKING_SIDE_PX:
        return image
    scale = WORKING_SIDE_PX / longer
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)


def find_silhouette(image: NDArray[np.uint8], platen: Platen, *, lump_px: int = 0) -> Silhouette | QualityReason:
    """Separates the hand in ``image``, (H, W, 3) uint8 BGR at the working size, from the ground.

    With ``lump_px`` it also parts fingers that touch, along the shadow between them, and cuts off what hangs on to the
    hand by less than that. It is for a second look at a picture in which five fingers were not found: it rounds
    corners.
    """
    foreign: NDArray[np.uint8] | None = None
    if platen is Platen.DARK:
        soft, level, foreign = _bright_on_dark(image)
    elif platen is Platen.LIGHT:
        soft, level = _skin_on_white(image)
        level *= SHADED_LEVEL_FACTOR if lump_px else 1.0
    else:
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        if platen is Platen.BACKLIT:
            grey = np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)
        soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), 2.0), dtype=np.uint8)
        level = 127.5 if platen is Platen.SILHOUETTE else _otsu(soft)
    binary = np.asarray(cv2.threshold(soft, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    if platen is Platen.LIGHT:
        binary = _with_nails(binary)
    if foreign is not None:
        binary = np.asarray(cv2.bitwise_and(binary, cv2.bitwise_not(foreign)), dtype=np.uint8)
    if lump_px and platen in (Platen.DARK, Platen.BACKLIT):
        binary = np.asarray(cv2.bitwise_and(binary, cv2.bitwise_not(_crevices(soft, level))), dtype=np.uint8)
    mask = _largest_piece(binary, max(lump_px, LARGEST_SPECK_PX))
    share = cv2.countNonZero(mask) / mask.size
    if not SMALLEST_HAND_SHARE <= share <= LARGEST_HAND_SHARE:
        return QualityReason.NO_HAND
    return Silhouette(mask, soft, level, foreign)


def _otsu(grey: NDArray[np.uint8]) -> float:
    """The grey value that parts the picture best into two."""
    return float(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])


def _bright_on_dark(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float, NDArray[np.uint8]]:
    """Skin of every tone is brightest in red and near infrared, so the red channel alone parts it from black cloth."""
    soft = np.asarray(cv2.GaussianBlur(image[:, :, 2], (5, 5), 1.2), dtype=np.uint8)
    # Otsu's value lies half-way between the class means; the border of a hand lit from above darkens towards its edge,
    # so the level is taken nearer to the ground.
    otsu = _otsu(soft)
    ground = float(np.median(soft[soft < otsu])) if otsu > 0 else 0.0
    level = ground + DARK_LEVEL_SHARE * (2.0 * (otsu - ground))
    return soft, level, _foreign_colours(image, soft, level)


# Share of the way from the ground to the skin at which the border is drawn.
DARK_LEVEL_SHARE = 0.35
# A pixel is foreign when its hue lies further than this from that of the palm. Skin keeps its hue in its own shade and
# only grows more saturated there, so saturation alone never makes a pixel foreign.
FOREIGN_HUE_RADIANS = 0.5
# Under this saturation a hue means nothing (grey sleeves, glare, a camera without colour).
COLOURED = 0.07
LEAST_PEG_PX = 12


def _foreign_colours(image: NDArray[np.uint8], soft: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """Marks bright pixels whose colour is not that of the middle of this hand: pegs, sleeves and bracelets of any
    colour.
    """
    small = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small = np.asarray(cv2.GaussianBlur(small, (5, 5), 1.5), dtype=np.uint8)
    # A blue peg is dark in red, yet its glint and its rim are not: it has to be seen whole to be taken away whole.
    brightest = cv2.max(cv2.max(small[:, :, 0], small[:, :, 1]), small[:, :, 2])
    bright = np.asarray(cv2.threshold(brightest, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    core = np.asarray(cv2.erode(bright, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (41, 41))), dtype=np.uint8)
    foreign = np.zeros(soft.shape, dtype=np.uint8)
    if cv2.countNonZero(core) < 500:
        return foreign
    where = np.nonzero(bright)
    colour = small[where].astype(np.float32)
    total = colour.sum(axis=1) + 1.0
    redness = (colour[:, 2] - colour[:, 1]) / total
    yellowness = (colour[:, 1] - colour[:, 0]) / total
    inner = core[where] > 0
    centre = np.array([np.median(redness[inner]), np.median(yellowness[inner])])
    coloured = np.hypot(redness, yellowness) > COLOURED
    if np.hypot(*centre) > COLOURED:
        along = redness * centre[0] + yellowness * centre[1]
        across = np.abs(yellowness * centre[0] - redness * centre[1])
        far = coloured & ((along <= 0.0) | (across > np.tan(FOREIGN_HUE_RADIANS) * along))
    else:
        far = coloured
    marked = np.zeros(bright.shape, dtype=np.uint8)
    marked[where[0][far], where[1][far]] = 255
    # What is thinner than a peg is a ring, a thread or a drawn line: it lies on the hand and belongs to it.
    peg = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LEAST_PEG_PX // 2 | 1, LEAST_PEG_PX // 2 | 1))
    marked = np.asarray(cv2.morphologyEx(marked, cv2.MORPH_OPEN, peg), dtype=np.uint8)
    marked = np.asarray(cv2.dilate(marked, np.ones((3, 3), np.uint8)), dtype=np.uint8)
    pieces, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, pieces, -1, 255, cv2.FILLED)
    return np.asarray(
        cv2.resize(marked, (soft.shape[1], soft.shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
    )


# On white paper a hand throws a shadow, which is grey and takes on a little of the skin's colour. Skin is darker in
# blue and in green than in red; a pale nail still is so in green, a painted one is dark.
GREEN_WEIGHT = 1.5
DARK_NAIL_GREEN = 150
# Share of the evidence in the middle of the hand at which its border is drawn.
LIGHT_LEVEL_SHARE = 0.52
# At a second look, nearer to the hand: a shadow between two fingers takes on half of their colour.
SHADED_LEVEL_FACTOR = 1.2
# A nail's free edge is as white as the paper, so that the rim of skin around a nail is open there by at most this much.
NAIL_GAP_PX = 27
LARGEST_NAIL_PX2 = 6000.0


def _skin_on_white(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The evidence for skin on white paper: how much redder than grey a pixel is, or how dark."""
    smooth = cv2.GaussianBlur(image, (5, 5), 1.2)
    blue, green, red = cv2.split(smooth)
    from_blue = cv2.subtract(red, blue)
    from_green = cv2.convertScaleAbs(cv2.subtract(red, green), alpha=GREEN_WEIGHT)
    dark = cv2.subtract(np.full_like(green, DARK_NAIL_GREEN), green)
    evidence = cv2.convertScaleAbs(cv2.max(cv2.max(from_blue, from_green), dark), alpha=2.0)
    soft = np.asarray(evidence, dtype=np.uint8)
    hand = soft[soft > _otsu(soft)]
    return soft, LIGHT_LEVEL_SHARE * float(np.median(hand)) if len(hand) else 0.0


def _with_nails(binary: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Adds pale nails: small holes in the hand, or what becomes one when the rim around it is closed."""
    side = NAIL_GAP_PX // 2 | 1
    small = cv2.resize(binary, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    contours, hierarchy = cv2.findContours(closed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    nails = np.zeros(small.shape, dtype=np.uint8)
    for at, contour in enumerate(contours):
        is_hole = hierarchy is not None and hierarchy[0, at, 3] >= 0
        if is_hole and 4.0 * cv2.contourArea(contour) <= LARGEST_NAIL_PX2:
            cv2.drawContours(nails, [contour], -1, 255, cv2.FILLED)
    # The closing made the hole smaller than the nail by half its width.
    wider = cv2.bitwise_and(cv2.dilate(nails, np.ones((side, side), np.uint8)), cv2.bitwise_or(closed, nails))
    full = cv2.resize(wider, (binary.shape[1], binary.shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.bitwise_or(binary, full), dtype=np.uint8)


# Half of a small child's little finger: what is connected by less is dust, a hair or the frame's border.
LARGEST_SPECK_PX = 25
# Two fingers are never parted by a shadow wider than this, or they would not touch.
WIDEST_CREVICE_PX = 25
# How much darker than both sides a crevice is, as a share of the way from the ground to the border and once more as far
# into the hand. The lines of the palm reach a third of it.
CREVICE_SHARE = 0.4


def _crevices(soft: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """Marks thin dark lines inside the hand, too deep for the lines of a palm: the shadow between two fingers."""
    small = cv2.resize(soft, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    side = WIDEST_CREVICE_PX // 2 | 1
    depth = cv2.morphologyEx(small, cv2.MORPH_BLACKHAT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    marked = cv2.threshold(depth, CREVICE_SHARE * level, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(
        cv2.resize(marked, (soft.shape[1], soft.shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
    )


def _largest_piece(binary: NDArray[np.uint8], speck_px: int) -> NDArray[np.uint8]:
    """Keeps the largest connected piece, freed from what hangs on to it by less than a finger, and fills its holes."""
    # On a quarter of the pixels; the border itself is found again below the pixel later.
    small = cv2.resize(binary, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (speck_px // 2 | 1, speck_px // 2 | 1))
    kept = _filled_largest(np.asarray(cv2.morphologyEx(small, cv2.MORPH_OPEN, kernel), dtype=np.uint8))
    kept = np.asarray(cv2.dilate(kept, np.ones((5, 5), np.uint8)), dtype=np.uint8)
    kept = np.asarray(cv2.resize(kept, (binary.shape[1], binary.shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
    fine = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(cv2.bitwise_and(binary, kept), cv2.MORPH_OPEN, fine)
    return _filled_largest(np.asarray(opened, dtype=np.uint8))


def _filled_largest(binary: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest connected piece without its holes."""
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros(binary.shape, dtype=np.uint8)
    if contours:
        largest = max(contours, key=cv2.contourArea)
        cv2.drawContours(mask, [largest], -1, 255, cv2.FILLED)
    return mask
