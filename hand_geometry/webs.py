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

from hand_geometry.contour import STEP_PX, Contour
from hand_geometry.landmarks import Landmarks
from hand_geometry.silhouette import Silhouette

# Share of the neighbouring fingers' tint at which the border is drawn.
TINT_SHARE = 0.5
# Deeper in a shadow paper takes on more: the border is half-way between it and the fingers, up to this share. In a
# shadow that grows by this much in a radius of the palm at most, at a web at once.
DEEPEST_SHARE, STEEPEST_SHADOW = 0.8, 2.5
# Where a gap is crossed, as shares of the way from one finger's midline to the other's.
ACROSS = np.linspace(0.15, 0.85, 36)
# A web is looked at from this share of the shorter finger's length, below its nail, to so many radii behind the valley.
BELOW_NAIL, BEHIND_VALLEY = 0.3, 0.35
# A gap between two fingers is longer than wide by this; a ring is not.
LEAST_GAP_ASPECT = 1.5
# Valleys of ``Landmarks`` between two of the four fingers.
WEBS = frozenset({1, 2, 3})
# More paper than this within the hand is no speck of light.
LARGEST_ENCLOSED_PX2 = 25
# Behind a true valley lies skin that is lit by skin. What has less than this share of the fingers' tint there, this far
# behind it and to both sides, in radii of the palm, is paper.
LEAST_WEB_SHARE = 0.7
# A web begins at once: from as far before the valley to the first of that behind it tint rises by this share. A shadow
# grows slowly.
LEAST_STEP = 0.4
# The same of the thumb's side, where tint rises across its border by this share all along the first of it, in radii.
THUMB_WEB = 0
LEAST_THUMB_STEP, BESIDE_THUMB = 0.3, 0.45
# Between fingers that touch further in, no paper is seen before the valley: the gap ends in a crack.
CRACK_SHARE = 0.57
BEHIND, BESIDE = np.linspace(0.04, 0.16, 7), np.linspace(-0.03, 0.03, 5)
# Metal mirrors what is grey: on this part of a line across a finger, from its midline to the web, it has under this
# share of the finger's tint. Bleached skin keeps more. Looked for so far behind the valley, in radii of the palm.
RING_PART, RING_SHARE = 0.3, 0.4
RING_BEHIND, RING_ACROSS = np.linspace(0.0, 0.24, 13), np.linspace(0.25, 0.75, 9)
# A finger's own tint is taken along this part of its midline.
MIDLINE = np.linspace(0.35, 0.85, 24)
_LOGARITHMS = np.log(np.maximum(np.arange(256), 1)).astype(np.float32)


def with_clear_webs(
    image: NDArray[np.uint8],
    silhouette: Silhouette,
    contour: Contour,
    landmarks: Landmarks,
    deep: frozenset[int] = frozenset(),
) -> Silhouette | frozenset[int]:
    """The mask with the three webs between the four fingers drawn anew, by tint; those ``deep`` in a shadow further.

    Or the valleys at which two fingers touch, and behind which paper goes on.
    """
    tint = _tint(image, 0.7)
    tips, valleys = contour.points[list(landmarks.tips)], contour.points[list(landmarks.valleys)]
    bases = _bases(valleys)
    mask = silhouette.mask()
    gaps: list[tuple[int, NDArray[np.uint8], NDArray[np.float64], float]] = []
    for one in sorted(WEBS):
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
        share = _shares(tint / max(skin, 1e-3), sides, into_hand) if one in deep else np.float32(TINT_SHARE)
        paper = ((web > 0) & (tint < share * skin)).astype(np.uint8)
        mask[(web > 0) & (paper == 0)] = 255
        pieces, _ = cv2.findContours(paper, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cleared = np.zeros_like(mask)
        for piece in pieces:
            gap = np.zeros(mask.shape, dtype=np.uint8)
            cv2.drawContours(gap, [piece], -1, 255, cv2.FILLED)
            # What reaches a finger's midline, or lies across the fingers, is a ring: left as it was.
            if not cv2.hasNonZero(cv2.bitwise_and(gap, midlines)) and _lies_along(
                np.asarray(piece, dtype=np.int32), into_hand
            ):
                mask[gap > 0] = 0
                cleared[gap > 0] = 255
        gaps.append((one, cleared, into_hand, TINT_SHARE * skin))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    pieces, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.asarray(max(pieces, key=cv2.contourArea), dtype=np.int32)
    drawn = replace(silhouette, outline=outline)
    whole = drawn.mask()
    touching = frozenset(
        one for one, gap, way, level in gaps if _enclosed(gap, whole, tint < level, way) > LARGEST_ENCLOSED_PX2
    )
    return touching or drawn


def hidden_webs(
    image: NDArray[np.uint8], contour: Contour, landmarks: Landmarks, deep: frozenset[int] = frozenset()
) -> frozenset[int]:
    """The valleys behind which paper goes on, so that the web itself is not seen. ``deep`` as drawn."""
    hidden = set()
    tint = _tint(image, 1.2)
    tips, valleys = contour.points[list(landmarks.tips)], contour.points[list(landmarks.valleys)]
    bases = _bases(valleys)
    for one in sorted(WEBS):
        pair = (one, one + 1)
        if any(landmarks.measured_as[at] != at for at in pair):
            continue
        back = valleys[one] - tips[list(pair)].mean(axis=0)
        back *= landmarks.palm_radius_px / max(float(np.hypot(*back)), 1e-9)
        side = np.array([-back[1], back[0]])
        places = valleys[one] + BEHIND[:, None, None] * back + BESIDE[:, None] * side
        behind = np.median(_at(tint, places), axis=1)
        before = float(np.median(_at(tint, valleys[one] - BEHIND[0] * back + BESIDE[:, None] * side)))
        skin = float(np.median([_along(tint, tips[at], bases[at]) for at in pair]))
        is_crack = one not in deep and before > CRACK_SHARE * skin
        slow = not is_crack and float(behind[0]) - before < LEAST_STEP * skin
        ringed = any(_at_a_ring(tint, valleys[one], tips[at], bases[at], landmarks.palm_radius_px) for at in pair)
        if slow or ringed or float(behind.mean()) < LEAST_WEB_SHARE * skin:
            hidden.add(one)
    if landmarks.measured_as[0] == 0 and _beside_thumb(tint, contour, landmarks) < LEAST_THUMB_STEP * np.median(
        [_along(tint, tips[at], bases[at]) for at in (1, 2)]
    ):
        hidden.add(THUMB_WEB)
    return frozenset(hidden)


def _at_a_ring(
    tint: NDArray[np.float32],
    valley: NDArray[np.float64],
    tip: NDArray[np.float64],
    base: NDArray[np.float64],
    radius: float,
) -> bool:
    """Whether metal lies on one of a web's fingers behind what was taken for the web: the web is behind the ring."""
    way = (base - tip) / max(float(np.hypot(*(base - tip))), 1e-9)
    midline = tip + float((valley - tip) @ way) * way
    places = midline + radius * RING_BEHIND[:, None, None] * way + RING_ACROSS[:, None] * (valley - midline)
    return float(np.quantile(_at(tint, places), RING_PART, axis=1).min()) < RING_SHARE * _along(tint, tip, base)


def _beside_thumb(tint: NDArray[np.float32], contour: Contour, landmarks: Landmarks) -> float:
    """By how much tint rises across the border of the thumb's side next to its valley, on three quarters of it."""
    count, radius = len(contour.points), landmarks.palm_radius_px
    at = landmarks.valleys[0] - landmarks.step * np.arange(round(BESIDE_THUMB * radius / STEP_PX))
    ahead = contour.points[(at + 4) % count] - contour.points[(at - 4) % count]
    ahead *= BEHIND[0] * radius / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    # Clockwise on the screen: the hand is on the right of the way.
    inward, points = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1), contour.points[at % count]
    return float(np.quantile(_at(tint, points + inward) - _at(tint, points - inward), 0.25))


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


def _enclosed(
    gap: NDArray[np.uint8], whole: NDArray[np.uint8], paper: NDArray[np.bool_], into_hand: NDArray[np.float64]
) -> int:
    """Pixels of a gap behind the end of what the outline reaches of it: the fingers beside it touch further out.

    What looks like paper beside an open gap is skin, bleached by the light.
    """
    rows, columns = np.nonzero(gap)
    depth = columns * into_hand[0] + rows * into_hand[1]
    within = whole[rows, columns] > 0
    end = depth[~within].max(initial=-np.inf)
    return int((within & paper[rows, columns] & (depth > end)).sum())


def _shares(
    tint: NDArray[np.float32], sides: NDArray[np.float64], into_hand: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(H, W) float32: the share of the fingers' tint at which the border is drawn, at each depth of the gap.

    ``tint`` is in shares of that of the fingers; ``sides`` are the corners of the web, along one midline and back along
    the other.
    """
    radius = float(np.hypot(*into_hand)) / BEHIND_VALLEY
    way = into_hand / max(float(np.hypot(*into_hand)), 1e-9)
    depths = sides @ way
    first, last = max(depths[0], depths[3]), min(depths[1], depths[2])
    rows = np.arange(first, last)
    share = np.full(len(rows) + 2, TINT_SHARE, dtype=np.float32)
    if len(rows) and depths[1] > depths[0] and depths[2] > depths[3]:
        one = sides[0] + ((rows - depths[0]) / (depths[1] - depths[0]))[:, None] * (sides[1] - sides[0])
        other = sides[3] + ((rows - depths[3]) / (depths[2] - depths[3]))[:, None] * (sides[2] - sides[3])
        at = one[:, None] + ACROSS[:, None] * (other - one)[:, None]
        x, y = np.moveaxis(at.astype(np.float32), -1, 0)
        seen = cv2.remap(tint, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        paper = 0.0
        for row, low in enumerate(np.partition(seen, 2, axis=1)[:, 2].tolist()):
            paper = min(max(paper, low), paper + STEEPEST_SHADOW / radius)
            here = min(max((paper + 1.0) / 2.0, TINT_SHARE), DEEPEST_SHARE)
            if low > here:
                break
            share[row + 1] = here
    columns, lines = np.arange(tint.shape[1]), np.arange(tint.shape[0])
    depth = lines[:, None] * way[1] + (columns * way[0] - first + 1.5)
    return np.asarray(share[np.clip(depth, 0, len(share) - 1).astype(np.intp)], dtype=np.float32)


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
