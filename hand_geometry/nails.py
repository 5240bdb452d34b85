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


def with_whole_fingertips(
    image: NDArray[np.uint8], silhouette: Silhouette, contour: Contour, landmarks: Landmarks
) -> Silhouette:
    """Extends the mask beyond each tip over what is darker than the paper; the tips' outline is then the mask's."""
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
    around = round(2 * reach / STEP_PX)
    for tip in landmarks.tips:
        count = len(contour.points)
        sides = contour.points[[(tip - around) % count, (tip + around) % count]]
        along = contour.points[tip] - sides.mean(axis=0)
        along = along / max(float(np.hypot(*along)), 1e-9)
        across = 0.45 * float(np.hypot(*(sides[0] - sides[1]))) * np.array([-along[1], along[0]])
        start, end = contour.points[tip] - 0.6 * reach * along, contour.points[tip] + reach * along
        corners = np.rint([start - across, start + across, end + across, end - across]).astype(np.int32)
        cv2.fillConvexPoly(near, corners, 255)
    level = paper - NAIL_SHARE * (paper - skin)
    dark = cv2.threshold(green, level, 255, cv2.THRESH_BINARY_INV)[1]
    added = cv2.bitwise_or(mask, cv2.bitwise_and(near, dark))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    smooth = cv2.morphologyEx(cv2.morphologyEx(added, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)
    added = cv2.bitwise_or(mask, cv2.bitwise_and(near, smooth))
    pieces, _ = cv2.findContours(added, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return replace(silhouette, outline=np.asarray(max(pieces, key=cv2.contourArea), dtype=np.int32))
