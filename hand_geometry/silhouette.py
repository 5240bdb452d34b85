"""First stage: which pixels are hand. No skin tone and no peg's colour is known: both are read from the picture."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.border_clutter import without_border_clutter
from hand_geometry.foreign_colours import BROAD_RING_PX, LEAST_PEG_PX, PIXEL_MORE, Pieces, every_other, find_foreign
from hand_geometry.grey_levels import otsu_level
from hand_geometry.quality import QualityReason
from hand_geometry.white_ground import SHADED_LEVEL_FACTOR, skin_on_white, with_nails
from hand_geometry.working_picture import COARSE, RED, WorkingPicture, values_at

# Under this share of the picture no adult's or child's hand was ever seen, only pegs, dust and folds of the cloth.
SMALLEST_HAND_SHARE = 0.02
LARGEST_HAND_SHARE = 0.75
# An outline as long as this many times height and width of the picture is grain; a hand with its fingers has 2.5.
LONGEST_OUTLINE = 8


class Platen(StrEnum):
    """What the hand lies on, which decides how it is told from the ground."""

    DARK = "dark"
    LIGHT = "light"
    BACKLIT = "backlit"
    SILHOUETTE = "silhouette"


@dataclass(frozen=True, eq=False)
class Silhouette:
    """The hand as one connected piece without holes.

    Attributes:
        outline: (N, 1, 2) int32, the piece's border pixels in px at the working size, as OpenCV follows them.
        step_px: 1, or the side of the coarse grid's pixels where the outline was followed there.
        grey: What crosses ``level`` at the hand's border, inside which it is brighter: (H, W) uint8, or the picture
            whose red channel does.
        level: The grey value of the border.
        foreign: (H / 2, W / 2) uint8, 255 on bright things that are not hand (pegs, rings' glitter, sleeves), or None.
        pieces: The outline of each of them in px of that grid.
    """

    outline: NDArray[np.int32] = field(repr=False)
    step_px: int
    grey: WorkingPicture | NDArray[np.uint8] = field(repr=False)
    level: float
    foreign: NDArray[np.uint8] | None = field(repr=False)
    pieces: Pieces = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at the working size."""
        height, width = self.grey.shape
        return height, width

    @property
    def soft(self) -> NDArray[np.uint8]:
        """(H, W) uint8, all of ``grey``."""
        return self.grey.red if isinstance(self.grey, WorkingPicture) else self.grey

    def values_at(self, at_px: NDArray[np.float32]) -> NDArray[np.uint8]:
        """``grey`` at (M, N, 2) float32 places, x and y in px at the working size."""
        if isinstance(self.grey, WorkingPicture):
            return self.grey.red_at(at_px)
        return values_at(self.grey, at_px)

    def mask(self, coarse: int = 1) -> NDArray[np.uint8]:
        """(H / coarse, W / coarse) uint8, 255 on the hand."""
        height, width = self.shape
        drawn = np.zeros((-(-height // coarse), -(-width // coarse)), dtype=np.uint8)
        cv2.drawContours(drawn, [self.outline if coarse == 1 else self.outline // coarse], -1, 255, cv2.FILLED)
        return drawn


def find_silhouette(picture: WorkingPicture, platen: Platen, *, lump_px: int = 0) -> Silhouette | QualityReason:
    """Separates the hand from the ground.

    With ``lump_px`` it also parts fingers that touch, along the shadow between them, and cuts off what hangs on to the
    hand by less than that. It is for a second look at a picture in which five fingers were not found: it rounds
    corners.
    """
    quickly = platen is Platen.DARK and not lump_px and picture.twice
    found = _on_dark(picture) if quickly else _looked_closely(picture, platen, lump_px)
    if found is None or found.step_px * len(found.outline) > LONGEST_OUTLINE * sum(found.shape):
        return QualityReason.NO_HAND
    height, width = found.shape
    share = cv2.contourArea(found.outline) / (height * width)
    return found if SMALLEST_HAND_SHARE <= share <= LARGEST_HAND_SHARE else QualityReason.NO_HAND


def _on_dark(picture: WorkingPicture) -> Silhouette | None:
    """The hand on black, looked at on the coarse grid alone: its outline is found below the pixel later."""
    level, foreign, pieces = _colours_on_dark(picture.coarse, LEAST_PEG_PX)
    whole = np.asarray(
        cv2.subtract(cv2.threshold(picture.coarse_red, level, 255, cv2.THRESH_BINARY)[1], foreign), dtype=np.uint8
    )
    left, top, width, height = cv2.boundingRect(whole)
    left, top = max(0, left - LARGEST_SPECK_PX), max(0, top - LARGEST_SPECK_PX)
    binary = whole[top : top + height + 2 * LARGEST_SPECK_PX, left : left + width + 2 * LARGEST_SPECK_PX]
    thick = cv2.dilate(cv2.morphologyEx(binary, cv2.MORPH_OPEN, _disc(LARGEST_SPECK_PX)), PIXEL_MORE)
    outline = _largest_outline(np.asarray(cv2.bitwise_and(thick, binary), dtype=np.uint8), (left, top))
    return None if outline is None else Silhouette(outline * COARSE, COARSE, picture, level, foreign, pieces)


def _looked_closely(picture: WorkingPicture, platen: Platen, lump_px: int) -> Silhouette | None:
    """The hand on any platen, from every pixel at the working size."""
    foreign: NDArray[np.uint8] | None = None
    pieces: Pieces = ()
    if platen is Platen.DARK:
        level, foreign, pieces = _colours_on_dark(picture.coarse, BROAD_RING_PX if lump_px else LEAST_PEG_PX)
        soft = picture.red
    elif platen is Platen.LIGHT:
        soft, level = skin_on_white(picture.on_white)
        level *= SHADED_LEVEL_FACTOR if lump_px else 1.0
    else:
        grey = np.asarray(cv2.cvtColor(picture.bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        if platen is Platen.BACKLIT:
            grey = np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)
        soft = np.asarray(cv2.GaussianBlur(grey, (5, 5), 0.95), dtype=np.uint8)
        level = 127.5 if platen is Platen.SILHOUETTE else otsu_level(soft)
    binary = np.asarray(cv2.threshold(soft, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    if platen is Platen.LIGHT:
        binary = with_nails(binary)
    if lump_px and platen in (Platen.DARK, Platen.BACKLIT):
        binary = np.asarray(cv2.subtract(binary, crevices(soft, level)), dtype=np.uint8)
    if lump_px:
        binary = without_border_clutter(binary)
    outline = _largest_piece(binary, foreign, max(lump_px, LARGEST_SPECK_PX))
    return None if outline is None else Silhouette(outline, 1, soft, level, foreign, pieces)


def _colours_on_dark(coarse: NDArray[np.uint8], thinnest_px: int) -> tuple[float, NDArray[np.uint8], Pieces]:
    """The level of skin on black, and what is foreign on the coarse grid with the outlines of its pieces.

    Skin of every tone is brightest in red and near infrared, so the red channel alone parts it from black cloth.
    """
    # Otsu's value lies half-way between the class means; the border of a hand lit from above darkens towards its edge,
    # so the level is taken nearer to the ground.
    sparse = every_other(coarse)
    red = np.asarray(cv2.extractChannel(sparse, RED), dtype=np.uint8)
    otsu = otsu_level(red)
    ground = _median_below(red[::2, ::2], otsu)
    level = ground + DARK_LEVEL_SHARE * (2.0 * (otsu - ground))
    return level, *find_foreign(coarse, sparse, level, thinnest_px)


def _median_below(grey: NDArray[np.uint8], level: float) -> float:
    """Median of the values under ``level``; 0 where there are none."""
    histogram = cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [256], [0, 256]).ravel()
    counts = histogram[: max(0, math.ceil(level))].cumsum()
    return float(counts.searchsorted(counts[-1] / 2.0)) if len(counts) and counts[-1] > 0 else 0.0


# Share of the way from the ground to the skin at which the border is drawn.
DARK_LEVEL_SHARE = 0.35


# Half of a small child's little finger: what is connected by less is dust, a hair or the frame's border.
LARGEST_SPECK_PX = 13
# Two fingers are never parted by a shadow wider than this, or they would not touch.
WIDEST_CREVICE_PX = 13
# How much darker than both sides a crevice is, as a share of the way from the ground to the border and once more as far
# into the hand. The lines of the palm reach a third of it.
CREVICE_SHARE = 0.4


def crevices(soft: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """Marks thin dark lines inside the hand, too deep for the lines of a palm: the shadow between two fingers."""
    side = WIDEST_CREVICE_PX | 1
    smooth = cv2.GaussianBlur(soft, (3, 3), 0.53)
    depth = cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return np.asarray(cv2.threshold(depth, CREVICE_SHARE * level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _largest_piece(
    binary: NDArray[np.uint8], foreign: NDArray[np.uint8] | None, speck_px: int
) -> NDArray[np.int32] | None:
    """The border of the largest connected piece, freed from what is foreign and what hangs on to it by a thread.

    ``binary`` is at the working size.
    """
    # On a quarter of the pixels; the border itself is found again below the pixel later.
    height, width = binary.shape
    small = cv2.resize(binary, (-(-width // COARSE), -(-height // COARSE)), interpolation=cv2.INTER_AREA)
    small = cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]
    if foreign is not None:
        small = cv2.subtract(small, foreign)
    outline = _largest_outline(np.asarray(cv2.morphologyEx(small, cv2.MORPH_OPEN, _disc(speck_px)), dtype=np.uint8))
    if outline is None:
        return None
    kept = np.zeros(small.shape, dtype=np.uint8)
    cv2.drawContours(kept, [outline], -1, 255, cv2.FILLED)
    kept = np.asarray(cv2.dilate(kept, PIXEL_MORE), dtype=np.uint8)
    if foreign is not None:
        kept = np.asarray(cv2.subtract(kept, foreign), dtype=np.uint8)
    within = cv2.bitwise_and(binary, _doubled(kept)[:height, :width])
    found = np.asarray(cv2.morphologyEx(within, cv2.MORPH_OPEN, PIXEL_MORE), np.uint8)
    return _largest_outline(found)


@functools.cache
def _disc(across_px: int) -> NDArray[np.uint8]:
    """A disc on the coarse grid, ``across_px`` wide at the working size."""
    side = across_px // COARSE | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _doubled(coarse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every pixel as two by two, three times as fast as ``cv2.resize``: bytes are doubled as 16-bit words."""
    return np.repeat((coarse.astype(np.uint16) * np.uint16(257)).view(np.uint8), COARSE, axis=0)


def _largest_outline(binary: NDArray[np.uint8], corner: tuple[int, int] = (0, 0)) -> NDArray[np.int32] | None:
    """The outer border of the largest connected piece; ``corner`` is where the upper left one of ``binary`` lies."""
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    return np.asarray(max(contours, key=cv2.contourArea), dtype=np.int32) if contours else None
