"""First stage: which pixels are hand. No skin tone and no peg's colour is known: both are read from the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.border_clutter import without_border_clutter
from hand_geometry.foreign_colours import BROAD_RING_PX, LEAST_PEG_PX, foreign_colours
from hand_geometry.grey_levels import otsu_level
from hand_geometry.quality import QualityReason
from hand_geometry.white_ground import SHADED_LEVEL_FACTOR, skin_on_white, with_nails

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
        soft, level, foreign = _bright_on_dark(image, BROAD_RING_PX if lump_px else LEAST_PEG_PX)
    elif platen is Platen.LIGHT:
        soft, level = skin_on_white(image)
        level *= SHADED_LEVEL_FACTOR if lump_px else 1.0
    else:
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        if platen is Platen.BACKLIT:
            grey = np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)
        soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), 2.0), dtype=np.uint8)
        level = 127.5 if platen is Platen.SILHOUETTE else otsu_level(soft)
    binary = np.asarray(cv2.threshold(soft, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    if platen is Platen.LIGHT:
        binary = with_nails(binary)
    if foreign is not None:
        binary = np.asarray(cv2.bitwise_and(binary, cv2.bitwise_not(foreign)), dtype=np.uint8)
    if lump_px and platen in (Platen.DARK, Platen.BACKLIT):
        binary = np.asarray(cv2.bitwise_and(binary, cv2.bitwise_not(_crevices(soft, level))), dtype=np.uint8)
    if lump_px:
        binary = without_border_clutter(binary)
    mask = _largest_piece(binary, max(lump_px, LARGEST_SPECK_PX))
    share = cv2.countNonZero(mask) / mask.size
    if not SMALLEST_HAND_SHARE <= share <= LARGEST_HAND_SHARE:
        return QualityReason.NO_HAND
    return Silhouette(mask, soft, level, foreign)


def _bright_on_dark(image: NDArray[np.uint8], thinnest_px: int) -> tuple[NDArray[np.uint8], float, NDArray[np.uint8]]:
    """Skin of every tone is brightest in red and near infrared, so the red channel alone parts it from black cloth."""
    soft = np.asarray(cv2.GaussianBlur(image[:, :, 2], (5, 5), 1.2), dtype=np.uint8)
    # Otsu's value lies half-way between the class means; the border of a hand lit from above darkens towards its edge,
    # so the level is taken nearer to the ground.
    otsu = otsu_level(soft)
    # Every fourth pixel of every fourth row says as well what the ground is.
    sparse = soft[::4, ::4]
    ground = float(np.median(sparse[sparse < otsu])) if (sparse < otsu).any() else 0.0
    level = ground + DARK_LEVEL_SHARE * (2.0 * (otsu - ground))
    return soft, level, foreign_colours(image, level, thinnest_px)


# Share of the way from the ground to the skin at which the border is drawn.
DARK_LEVEL_SHARE = 0.35


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
