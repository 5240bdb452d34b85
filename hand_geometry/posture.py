"""Whether pegs guided the fingers or the hand lay freely: the same hand repeats itself far better between pegs."""

from __future__ import annotations

import math
from enum import StrEnum

import cv2
import numpy as np

from hand_geometry.contour import Contour
from hand_geometry.landmarks import Landmarks
from hand_geometry.silhouette import Silhouette
from hand_geometry.working_picture import COARSE

# Five pegs stand on the platen; one may be hidden by the hand and one may have the colour of skin.
FEWEST_PEGS = 3
# A peg's size in px of the coarse grid: smaller is a glint, larger is a sleeve.
LEAST_PEG_AREA_PX2, LARGEST_PEG_AREA_PX2 = 5.0, 375.0
# Pegs stand between palm and fingertips, measured in radii of the palm from its centre; bracelets lie on the other
# side.
PEGS_BEYOND = 0.3
PEGS_WITHIN = 2.6


class Posture(StrEnum):
    """How the fingers came to lie as they do; each has fitted numbers of its own."""

    GUIDED = "guided"
    FREE = "free"


def posture_of(silhouette: Silhouette, contour: Contour, landmarks: Landmarks) -> Posture:
    """Counts things of another colour, of the size of a peg, on the fingers' side of the palm."""
    if silhouette.foreign is None:
        return Posture.FREE
    axis = contour.points[list(landmarks.tips[1:])].mean(axis=0) - landmarks.palm_px
    axis = axis / max(float(np.hypot(*axis)), 1e-9)
    pieces, _ = cv2.findContours(silhouette.foreign, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    (palm_x, palm_y), (axis_x, axis_y) = landmarks.palm_px.tolist(), axis.tolist()
    pegs = 0
    for piece in pieces:
        if not LEAST_PEG_AREA_PX2 <= cv2.contourArea(piece) <= LARGEST_PEG_AREA_PX2:
            continue
        left, top, wide, tall = cv2.boundingRect(piece)
        x, y = COARSE * (left + wide / 2) - palm_x, COARSE * (top + tall / 2) - palm_y
        along = (x * axis_x + y * axis_y) / landmarks.palm_radius_px
        distance = math.hypot(x, y) / landmarks.palm_radius_px
        pegs += along >= PEGS_BEYOND and distance <= PEGS_WITHIN
    return Posture.GUIDED if pegs >= FEWEST_PEGS else Posture.FREE
