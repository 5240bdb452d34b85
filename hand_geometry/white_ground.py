"""A hand on white paper, among its own shadows and with pale or painted nails."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.grey_levels import otsu_level

# What is darker than this is no white paper.
LEAST_PAPER = 100.0
# On white paper a hand throws a shadow, which is grey and takes on a little of the skin's colour. Skin is darker in
# blue and in green than in red; a pale nail still is so in green, a painted one is dark.
GREEN_WEIGHT = 1.5
DARK_NAIL_GREEN = 150
# Share of the evidence in the middle of the hand at which its border is drawn.
LIGHT_LEVEL_SHARE = 0.52
# At a second look, nearer to the hand: a shadow between two fingers takes on half of their colour.
SHADED_LEVEL_FACTOR = 1.2
# A nail's free edge is as white as the paper, so that the rim of skin around a nail is open there by at most this much.
NAIL_GAP_PX = 13
LARGEST_NAIL_PX2 = 1500.0


def with_white_paper(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) BGR in which the paper is white: neither the lamp's colour nor the exposure changes what skin is."""
    sparse = image[::4, ::4].reshape(-1, 3)
    darkest = sparse.min(axis=1)
    paper = sparse[darkest > otsu_level(darkest[:, None])]
    white = np.median(paper, axis=0) if len(paper) else np.zeros(3)
    if float(white.min()) < LEAST_PAPER or float(white.min()) == 255.0:
        return image
    levels = np.rint(np.minimum(np.arange(256)[:, None] * (255.0 / white), 255.0)).astype(np.uint8)
    return np.asarray(cv2.LUT(image, levels[None]), dtype=np.uint8)


def skin_on_white(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The evidence for skin on white paper: how much redder than grey a pixel is, or how dark."""
    smooth = cv2.GaussianBlur(image, (3, 3), 0.53)
    blue, green, red = cv2.split(smooth)
    from_blue = cv2.subtract(red, blue)
    from_green = cv2.convertScaleAbs(cv2.subtract(red, green), alpha=GREEN_WEIGHT)
    dark = cv2.subtract(np.full_like(green, DARK_NAIL_GREEN), green)
    evidence = cv2.convertScaleAbs(cv2.max(cv2.max(from_blue, from_green), dark), alpha=2.0)
    soft = np.asarray(evidence, dtype=np.uint8)
    hand = soft[soft > otsu_level(soft)]
    return soft, LIGHT_LEVEL_SHARE * float(np.median(hand)) if len(hand) else 0.0


def with_nails(binary: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Adds pale nails: small holes in the hand, or what becomes one when the rim around it is closed."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (NAIL_GAP_PX, NAIL_GAP_PX))
    closed = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, disc)
    contours, hierarchy = cv2.findContours(closed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    nails = np.zeros(binary.shape, dtype=np.uint8)
    for at, contour in enumerate(contours):
        is_hole = hierarchy is not None and hierarchy[0, at, 3] >= 0
        if is_hole and cv2.contourArea(contour) <= LARGEST_NAIL_PX2:
            cv2.drawContours(nails, [contour], -1, 255, cv2.FILLED)
    # The closing made the hole smaller than the nail by half its width.
    grown = cv2.dilate(nails, np.ones((NAIL_GAP_PX, NAIL_GAP_PX), np.uint8))
    wider = cv2.bitwise_and(grown, cv2.bitwise_or(closed, nails))
    return np.asarray(cv2.bitwise_or(binary, wider), dtype=np.uint8)
