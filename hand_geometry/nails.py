"""On white paper pale nails look like paper: fingertips are given back what is darker than it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import STEP_PX, Contour
from hand_geometry.landmarks import Landmarks
from hand_geometry.silhouette import Silhouette

# How far beyond a fingertip, in radii of the palm, a nail can reach.
NAIL_REACH = 0.32
# A nail is darker than paper in green by more than this share of what skin is; the shadow round a fingertip is fainter.
NAIL_SHARE = 0.3
# What is as bright as paper is a nail still where it is a notch: the end of a finger bends inwards on a circle of this
# radius at the least, in radii of the palm. That is looked for so far back from the tip, and so many widths of the
# finger to both sides.
NOTCH_RADIUS, NOTCH_REACH, NOTCH_WIDTH = 0.2, 0.75, 0.55


def with_whole_fingertips(
    image: NDArray[np.uint8], silhouette: Silhouette, contour: Contour, landmarks: Landmarks
) -> Silhouette:
    """Extends the mask beyond each tip over what is darker than the paper, and over notches no fingertip has.

    The tips' outline is then the mask's.
    """
    green = np.asarray(cv2.GaussianBlur(image[:, :, 1], (3, 3), 0.53), dtype=np.uint8)
    mask = silhouette.mask()
    outside = green[mask == 0]
    inside = green[mask > 0]
    if not len(outside) or not len(inside):
        return silhouette
    paper, skin = float(np.median(outside)), float(np.median(inside))
    if paper <= skin:
        return silhouette
    reach = round(NAIL_REACH * landmarks.palm_radius_px)
    near = np.zeros(green.shape, dtype=np.uint8)
    ends = []
    around = round(2 * reach / STEP_PX)
    for tip in landmarks.tips:
        count = len(contour.points)
        sides = contour.points[[(tip - around) % count, (tip + around) % count]]
        along = contour.points[tip] - sides.mean(axis=0)
        along = along / max(float(np.hypot(*along)), 1e-9)
        width = float(np.hypot(*(sides[0] - sides[1]))) * np.array([-along[1], along[0]])
        across = 0.45 * width
        start, end = contour.points[tip] - 0.6 * reach * along, contour.points[tip] + reach * along
        corners = np.rint([start - across, start + across, end + across, end - across]).astype(np.int32)
        cv2.fillConvexPoly(near, corners, 255)
        back = contour.points[tip] - NOTCH_REACH * landmarks.palm_radius_px * along
        across = NOTCH_WIDTH * width
        ends.append(np.rint([back - across, back + across, end + across, end - across]).astype(np.int32))
    level = paper - NAIL_SHARE * (paper - skin)
    dark = cv2.threshold(green, level, 255, cv2.THRESH_BINARY_INV)[1]
    added = cv2.bitwise_or(mask, cv2.bitwise_and(near, dark))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    smooth = cv2.morphologyEx(cv2.morphologyEx(added, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)
    added = cv2.bitwise_or(mask, cv2.bitwise_and(near, smooth))
    side = 2 * round(NOTCH_RADIUS * landmarks.palm_radius_px) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    for corners in ends:
        # Each finger by itself, or its neighbour would close a notch with it.
        end = np.zeros(green.shape, dtype=np.uint8)
        cv2.fillConvexPoly(end, corners, 255)
        left, top, wide, tall = cv2.boundingRect(corners)
        box = np.s_[max(0, top) : max(0, top + tall), max(0, left) : max(0, left + wide)]
        pieces, _ = cv2.findContours(cv2.bitwise_and(added, end)[box], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not pieces:
            continue
        alone = np.zeros((end[box].shape[0] + 2 * side, end[box].shape[1] + 2 * side), dtype=np.uint8)
        largest = max(pieces, key=cv2.contourArea)
        cv2.drawContours(alone, [largest], -1, 255, cv2.FILLED, offset=(side, side))
        whole = cv2.morphologyEx(alone, cv2.MORPH_CLOSE, disc)[side:-side, side:-side]
        added[box] = cv2.bitwise_or(added[box], cv2.bitwise_and(whole, end[box]))
    pieces, _ = cv2.findContours(added, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return replace(silhouette, outline=np.asarray(max(pieces, key=cv2.contourArea), dtype=np.int32))
