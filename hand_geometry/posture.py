"""Whether pegs guided the fingers or the hand lay freely: the same hand repeats itself far better between pegs."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.foreign_colours import Pieces
from hand_geometry.landmarks import Landmarks
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


def posture_of(
    pieces: Pieces,
    contour: Contour,
    landmarks: Landmarks,
    straightened: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Posture:
    """Counts things of another colour, of the size of a peg, on the fingers' side of the palm.

    Args:
        pieces: Their outlines on the coarse grid.
        contour: The hand's.
        landmarks: Of the hand.
        straightened: From px of the picture to those of the hand, where they differ.
    """
    sized = [one for one in pieces if LEAST_PEG_AREA_PX2 <= cv2.contourArea(one) <= LARGEST_PEG_AREA_PX2]
    if len(sized) < FEWEST_PEGS:
        return Posture.FREE
    boxes = [cv2.boundingRect(one) for one in sized]
    centres = np.array([(COARSE * (left + wide / 2), COARSE * (top + tall / 2)) for left, top, wide, tall in boxes])
    if straightened is not None:
        centres = straightened(centres)
    (palm_x, palm_y), tips = landmarks.palm_px.tolist(), contour.points.take(landmarks.tips[1:], axis=0).tolist()
    axis_x, axis_y = (sum(tip[at] for tip in tips) / len(tips) - palm for at, palm in ((0, palm_x), (1, palm_y)))
    length = max(math.hypot(axis_x, axis_y), 1e-9)
    axis_x, axis_y = axis_x / length, axis_y / length
    pegs = 0
    for centre_x, centre_y in centres.tolist():
        x, y = centre_x - palm_x, centre_y - palm_y
        along = (x * axis_x + y * axis_y) / landmarks.palm_radius_px
        distance = math.hypot(x, y) / landmarks.palm_radius_px
        pegs += along >= PEGS_BEYOND and distance <= PEGS_WITHIN
    return Posture.GUIDED if pegs >= FEWEST_PEGS else Posture.FREE
