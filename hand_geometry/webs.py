"""On white paper shadow and reflected light fill the webs: between two fingers paper is told from skin by tint alone.

Tint is the logarithm of red over green, which light and shadow leave as it is. Between open fingers paper takes on less
than half of theirs; what two fingers that touch reflect into the crevice between them has more than theirs. So has the
web itself: what has less of it behind a valley is paper still, in a shadow, or behind a ring or a place where fingers
touch.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.landmarks import Landmarks
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Silhouette

# Share of the neighbouring fingers' tint at which the border is drawn.
TINT_SHARE = 0.5
# A web is looked at from this share of the shorter finger's length, below its nail, to so many radii behind the valley.
BELOW_NAIL, BEHIND_VALLEY = 0.3, 0.35
# A gap between two fingers is longer than wide by this; a ring is not.
LEAST_GAP_ASPECT = 1.5
# More paper than this within the hand is no speck of light.
LARGEST_ENCLOSED_PX2 = 25
# Behind a true valley lies skin that is lit by skin. What has less than this share of the fingers' tint there, this far
# behind it and to both sides, in radii of the palm, is paper.
LEAST_WEB_SHARE = 0.7
BEHIND, BESIDE = np.linspace(0.04, 0.16, 7), np.linspace(-0.03, 0.03, 5)
# A finger's own tint is taken along this part of its midline.
MIDLINE = np.linspace(0.35, 0.85, 24)
_LOGARITHMS = np.log(np.maximum(np.arange(256), 1)).astype(np.float32)


def with_clear_webs(
    image: NDArray[np.uint8], silhouette: Silhouette, contour: Contour, landmarks: Landmarks
) -> Silhouette | QualityReason:
    """The mask with the three webs between the four fingers drawn anew, by tint."""
    tint = _tint(image, 0.7)
    tips, valleys = contour.points[list(landmarks.tips)], contour.points[list(landmarks.valleys)]
    bases = _bases(valleys)
    mask = silhouette.mask()
    cleared = np.zeros_like(mask)
    for one in (1, 2, 3):
        other = one + 1
        if landmarks.measured_as[one] != one or landmarks.measured_as[other] != other:
            continue
        into_hand = (bases[one] - tips[one]) + (bases[other] - tips[other])
        into_hand *= BEHIND_VALLEY * landmarks.palm_radius_px / max(float(np.hypot(*into_hand)), 1e-9)
        skin = float(np.median([_along(tint, tips[at], bases[at]) for at in (one, other)]))
        shorter = min(float(np.hypot(*(bases[at] - tips[at]))) for at in (one, other))
        starts = [
            tips[at] + (bases[at] - tips[at]) * (1.0 - (1.0 - BELOW_NAIL) * shorter / np.hypot(*(bases[at] - tips[at])))
            for at in (one, other)
        ]
        sides = np.stack([starts[0], bases[one] + into_hand, bases[other] + into_hand, starts[1]])
        corners = np.rint(sides).astype(np.int32)
        web = np.zeros(mask.shape, dtype=np.uint8)
        cv2.fillPoly(web, [corners], 255)
        midlines = np.zeros(mask.shape, dtype=np.uint8)
        cv2.polylines(midlines, [corners[:2], corners[2:]], isClosed=False, color=255, thickness=3)
        paper = ((web > 0) & (tint < TINT_SHARE * skin)).astype(np.uint8)
        mask[(web > 0) & (paper == 0)] = 255
        pieces, _ = cv2.findContours(paper, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for piece in pieces:
            gap = np.zeros(mask.shape, dtype=np.uint8)
            cv2.drawContours(gap, [piece], -1, 255, cv2.FILLED)
            # What reaches a finger's midline, or lies across the fingers, is a ring: left as it was.
            if not cv2.hasNonZero(cv2.bitwise_and(gap, midlines)) and _lies_along(
                np.asarray(piece, dtype=np.int32), into_hand
            ):
                mask[gap > 0] = 0
                cleared[gap > 0] = 255
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    pieces, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.asarray(max(pieces, key=cv2.contourArea), dtype=np.int32)
    drawn = replace(silhouette, outline=outline)
    # Paper that the outline does not reach: the fingers beside it touch further out.
    enclosed = cv2.countNonZero(cv2.bitwise_and(drawn.mask(), cleared))
    return QualityReason.WEB_HIDDEN if enclosed > LARGEST_ENCLOSED_PX2 else drawn


def a_web_is_hidden(image: NDArray[np.uint8], contour: Contour, landmarks: Landmarks) -> bool:
    """Whether paper goes on behind one of the valleys between the four fingers: the web itself is not seen."""
    tint = _tint(image, 1.2)
    tips, valleys = contour.points[list(landmarks.tips)], contour.points[list(landmarks.valleys)]
    bases = _bases(valleys)
    for one in (1, 2, 3):
        pair = (one, one + 1)
        if any(landmarks.measured_as[at] != at for at in pair):
            continue
        back = valleys[one] - tips[list(pair)].mean(axis=0)
        back *= landmarks.palm_radius_px / max(float(np.hypot(*back)), 1e-9)
        side = np.array([-back[1], back[0]])
        places = valleys[one] + BEHIND[:, None, None] * back + BESIDE[:, None] * side
        behind = float(np.median(_at(tint, places), axis=1).mean())
        if behind < LEAST_WEB_SHARE * float(np.median([_along(tint, tips[at], bases[at]) for at in pair])):
            return True
    return False


def _tint(image: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """(H, W) float32: the logarithm of red over green of (H, W, 3) BGR, a little smoothed."""
    smooth = cv2.GaussianBlur(image, (5, 5), sigma)
    _, green, red = (cv2.LUT(channel, _LOGARITHMS) for channel in cv2.split(smooth))
    return np.asarray(red - green, dtype=np.float32)


def _bases(valleys: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2) float64: where each finger's midline ends, from the four valleys; the thumb's at its valley."""
    bases = np.stack([valleys[0], valleys[1], valleys[1:3].mean(axis=0), valleys[2:4].mean(axis=0), valleys[3]])
    # Index and little finger have one valley: their midlines lie half a finger further out.
    bases[1] += (valleys[1] - valleys[2]) / 2.0
    bases[4] += (valleys[3] - valleys[2]) / 2.0
    return bases


def _lies_along(piece: NDArray[np.int32], way: NDArray[np.float64]) -> bool:
    """Whether a piece of paper, border pixels, is longer along the way than across it."""
    points = piece.reshape(-1, 2).astype(np.float64)
    along = way / max(float(np.hypot(*way)), 1e-9)
    across = np.array([-along[1], along[0]])
    return float(np.ptp(points @ along)) >= LEAST_GAP_ASPECT * (float(np.ptp(points @ across)) + 1.0)


def _along(tint: NDArray[np.float32], tip: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """The middle of a finger's tint along its midline."""
    return float(np.median(_at(tint, tip + MIDLINE[:, None] * (base - tip))))


def _at(tint: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """The tint at (…, 2) places in px, those outside the picture at its border."""
    at = np.clip(np.rint(places).astype(np.intp), 0, np.array(tint.shape[::-1]) - 1)
    return np.asarray(tint[at[..., 1], at[..., 0]], dtype=np.float32)
