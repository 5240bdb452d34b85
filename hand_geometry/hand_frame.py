"""Where something is on a hand, whichever way it lies in the picture: for screens that point at a drawn hand.

No picture is shown to anybody: a place is told by two numbers on a hand that is always drawn alike, fingers up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.landmarks import LEAST_PROMINENCE, TIP_REACH, Palm, peaks
from hand_geometry.quality import OnHand

# The drawn hand in a square of side 1: its palm's middle and radius, thumb to the left.
DRAWN_CENTRE, DRAWN_RADIUS = (0.52, 0.73), 0.2
EDGE = 0.08
# No thumb among some 50 real hands points more than 0.3 radii back from the palm's middle, however far it is spread;
# corners of wrists that were taken for one, at least 0.8.
BEHIND = 0.5


@dataclass(frozen=True)
class HandFrame:
    """A hand's own directions in a picture.

    Attributes:
        centre_px: (2,) the palm's middle.
        radius_px: The palm's.
        toward: (2,) unit vector from the palm to the fingers.
        thumb_right: Whether the thumb is to the right when the picture is turned so that the fingers point up.
    """

    centre_px: NDArray[np.float64]
    radius_px: float
    toward: NDArray[np.float64]
    thumb_right: bool

    def at(self, place_px: NDArray[np.float64]) -> OnHand:
        """Where a place of the picture is on the hand."""
        x, y = (place_px - self.centre_px) / max(self.radius_px, 1.0)
        tx, ty = self.toward
        return OnHand(float(-ty * x + tx * y), float(tx * x + ty * y), self.thumb_right)


def find_frame(contour: Contour, palm: Palm) -> HandFrame | None:
    """The frame of an outline, also of one that could not be measured; None where nothing points anywhere."""
    offset = contour.points - palm.centre_px
    distance = np.sqrt((offset**2).sum(axis=1))
    tips = np.array(
        [
            offset[index]
            for index, _ in peaks(distance, LEAST_PROMINENCE * palm.radius_px)
            if distance[index] >= TIP_REACH * palm.radius_px and not contour.on_border[index]
        ]
    ).reshape(-1, 2)
    if len(tips) > 2:  # a wrist's corner or a sleeve's may stand out as far as a thumb
        ahead = tips @ (tips.mean(axis=0) / max(float(np.hypot(*tips.mean(axis=0))), 1e-6))
        tips = tips[ahead > -BEHIND * palm.radius_px]
    toward = tips.mean(axis=0) if len(tips) else -offset[contour.on_border].sum(axis=0)
    length = float(np.hypot(*toward))
    if length < 1e-6:
        return None
    toward = toward / length
    frame = HandFrame(palm.centre_px, palm.radius_px, np.asarray(toward, dtype=np.float64), thumb_right=False)
    if len(tips) < 2:
        return frame
    # The thumb is the lower of both ends, as in ``findings``.
    places = [frame.at(tip + palm.centre_px) for tip in tips]
    left, right = min(places, key=lambda one: one.across), max(places, key=lambda one: one.across)
    return HandFrame(palm.centre_px, palm.radius_px, frame.toward, thumb_right=right.along < left.along)


def drawn_at(place: OnHand) -> tuple[float, float]:
    """Where to point on the drawn hand, x to the right and y downwards, both in 0..1; its thumb is left."""
    across = -place.across if place.thumb_right else place.across
    x, y = DRAWN_CENTRE[0] + across * DRAWN_RADIUS, DRAWN_CENTRE[1] - place.along * DRAWN_RADIUS
    return min(max(x, EDGE), 1.0 - EDGE), min(max(y, EDGE), 1.0 - EDGE)
