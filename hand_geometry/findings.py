"""What is wrong with a placement, and where: for the screen to point at. Asked only when there is time or trouble.

It looks again at stages that ``acquire`` has been through, so that the way to a decision carries nothing of it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour, trace_contour
from hand_geometry.foreign_colours import foreign_colours
from hand_geometry.hand_frame import HandFrame, find_frame
from hand_geometry.landmarks import (
    CLOSED_REACH,
    LEAST_PROMINENCE,
    STUMP_REACH,
    TIP_REACH,
    Landmarks,
    Palm,
    find_palm,
    find_tips,
    peaks,
)
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_landmarks import find_masked_landmarks
from hand_geometry.picture_border import Cut, Way, find_cuts
from hand_geometry.platen import PlatenCalibration, SheetFinding, without_markers
from hand_geometry.quality import Finding, PlacedFinding, QualityReason
from hand_geometry.sheet_dirt import check_ground
from hand_geometry.silhouette import Platen, Silhouette, crevices, find_silhouette
from hand_geometry.working_picture import COARSE, WorkingPicture, is_picture

# Glare is white in all channels over more than this share of the hand.
GLARE_LEVEL, GLARE_SHARE = 250, 0.004
# A sharp border rises within three pixels by more than this share of what it rises within nine.
SHARP_SHARE = 0.5
# Dust and smears on an empty platen, in px of the working size: smaller is grain, larger may be a hand coming.
LEAST_DIRT_PX2, LARGEST_DIRT_PX2 = 60.0, 8000.0
# A sleeve is wider than the wrist, which is narrower than the palm's disc; both taken behind the palm, in its radii.
WRIST_AT, SLEEVE_WIDTH = 1.6, 2.15
# Two fingers that touch are wider than one by more than this.
TWO_FINGERS = 1.5
# Fingers are crossed at so many radii from the palm's centre.
CROSSED_AT = 1.5
# As the first of ``acquire``'s second looks.
SECOND_LOOK_PX = 21
# A ring goes across most of a finger, in radii of the palm, and is longer than wide by this; a peg is neither.
LEAST_RING_LENGTH, LEAST_RING_ASPECT, RING_INSIDE = 0.22, 1.8, 0.7
# Angles seen from the palm, in radians: of the thumb from its neighbour, and between index and little finger.
THUMB_APART, THUMB_FAR_APART, INDEX_TO_LITTLE = 0.4, 1.2, 0.85
# The palm's disc nearer to the wrist's border than this share of its radius: the hand lies too far out.
TOO_FAR_OUT = 1.05


def find_findings(
    image: NDArray[np.uint8],
    platen: Platen = Platen.DARK,
    *,
    mirrored: bool | None = None,
    calibration: PlatenCalibration | None = None,
    mask: Mask = NO_MASK,
) -> tuple[PlacedFinding, ...]:
    """Everything that can be said of a picture as in ``acquire``, the worst first; empty where nothing is wrong."""
    if not is_picture(image) or (calibration is not None and not calibration.fits(image)):
        return ()
    seen = WorkingPicture(image)
    if calibration is not None:
        # The sheet's markers are no dirt, and no part of a hand.
        seen = WorkingPicture(without_markers(seen.bgr, calibration))
    picture, silhouette = seen.bgr, find_silhouette(seen, platen)
    if isinstance(silhouette, QualityReason):
        return _dirt(picture, platen, image, calibration)
    contour, palm = trace_contour(silhouette), find_palm(silhouette)
    landmarks = find_masked_landmarks(palm, contour, mask.left_out)
    if landmarks is QualityReason.NO_HAND:
        # The light of a window on the sheet has an outline, too.
        return _dirt(picture, platen, image, calibration)
    found: list[tuple[Finding, NDArray[np.float64]]] = []
    cuts = find_cuts(contour, palm.centre_px, palm.radius_px, find_tips(palm, contour).found)
    found += _too_far(contour, palm, silhouette, cuts)
    if isinstance(landmarks, Landmarks):
        if mirrored is not None and landmarks.mirrored is not mirrored:
            found.append((Finding.WRONG_HAND, palm.centre_px))
        tips = contour.points[list(landmarks.tips)]
        reaches = np.hypot(*(tips - palm.centre_px).T)
        found += [(Finding.FINGER_MISSING, tip) for tip in tips[reaches < STUMP_REACH * palm.radius_px]]
    elif not found and not cuts:
        found += _fingers(silhouette, contour, palm, mask)
    found += _sleeve(silhouette, contour, palm)
    if platen is Platen.DARK:
        found += _ring(picture, silhouette, palm)
    found += _blur(silhouette, contour)
    found += _glare(picture, silhouette)
    height, width = silhouette.shape
    frame = find_frame(contour, palm) if found else None
    return tuple(_placed(finding, at, width, height, frame) for finding, at in found)


def _placed(
    finding: Finding, at_px: NDArray[np.float64], width: int, height: int, frame: HandFrame | None = None
) -> PlacedFinding:
    x, y = np.clip(at_px / np.array([width, height]), 0.0, 1.0)
    return PlacedFinding(finding, float(x), float(y), None if frame is None else frame.at(at_px))


def _dirt(
    picture: NDArray[np.uint8], platen: Platen, image: NDArray[np.uint8], calibration: PlatenCalibration | None
) -> tuple[PlacedFinding, ...]:
    """Spots on a dark platen without a hand."""
    if platen is not Platen.DARK:
        return ()
    if calibration is not None:
        return _dirt_on_the_sheet(image, calibration)
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (5, 5), 1.0)
    spots = cv2.threshold(grey, float(np.median(grey)) + 30.0, 255, cv2.THRESH_BINARY)[1]
    pieces, _ = cv2.findContours(spots, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    sized = [(cv2.contourArea(piece), piece) for piece in pieces]
    dirty = [(area, piece) for area, piece in sized if LEAST_DIRT_PX2 <= area <= LARGEST_DIRT_PX2]
    if not dirty:
        return ()
    piece = max(dirty, key=lambda one: one[0])[1].reshape(-1, 2)
    return (_placed(Finding.DIRTY_PLATEN, piece.mean(axis=0), grey.shape[1], grey.shape[0]),)


def _dirt_on_the_sheet(image: NDArray[np.uint8], calibration: PlatenCalibration) -> tuple[PlacedFinding, ...]:
    """The same where the bare sheet is known."""
    return tuple(
        PlacedFinding(Finding.DIRTY_PLATEN, fault.x, fault.y)
        for fault in check_ground(image, calibration)
        if fault.finding is SheetFinding.DIRTY
    )


def _too_far(
    contour: Contour, palm: Palm, silhouette: Silhouette, cuts: list[Cut]
) -> list[tuple[Finding, NDArray[np.float64]]]:
    """Fingers over the border before them: too far in; a thumb or the palm over the wrist's border: too far out.

    Of a finger over a border at the hand's side nothing is said here: the reason asks for the middle of the platen.
    """
    found = [(Finding.HAND_TOO_FAR_IN, cut.at_px) for cut in cuts if cut.way is Way.FRONT]
    back = [cut.at_px for cut in cuts if cut.way is Way.BACK]
    frame, (height, width) = find_frame(contour, palm), silhouette.shape
    if frame is not None and contour.on_border.any():
        x, y = palm.centre_px
        wrist = int((np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]) @ frame.toward).argmin())
        if not back and (x, width - 1 - x, y, height - 1 - y)[wrist] < TOO_FAR_OUT * palm.radius_px:
            points = contour.points[contour.on_border]
            sides = np.stack([points[:, 0], width - 1 - points[:, 0], points[:, 1], height - 1 - points[:, 1]], axis=1)
            back = [np.asarray(points[sides.argmin(axis=1) == wrist].mean(axis=0), np.float64)]
    return found + [(Finding.HAND_TOO_FAR_OUT, at_px) for at_px in back]


def _fingers(
    silhouette: Silhouette, contour: Contour, palm: Palm, mask: Mask
) -> list[tuple[Finding, NDArray[np.float64]]]:
    """Where two fingers touch, or where one should be."""
    offset = contour.points - palm.centre_px
    distance = np.sqrt((offset**2).sum(axis=1))
    if float(distance[~contour.on_border].max(initial=0.0)) < CLOSED_REACH * palm.radius_px:
        return []
    tips = [
        index
        for index, _ in peaks(distance, LEAST_PROMINENCE * palm.radius_px)
        if distance[index] >= TIP_REACH * palm.radius_px and not contour.on_border[index]
    ]
    if not tips:
        return []
    block = _widest_crossing(silhouette, palm, contour.points[tips].mean(axis=0) - palm.centre_px)
    if block is not None:
        return [(Finding.FINGERS_TOUCHING, block)]
    # The border itself is not looked at: outside it is dark too.
    side = 2 * silhouette.step_px + 1
    inside = cv2.erode(silhouette.mask(), np.ones((side, side), np.uint8))
    dark = cv2.bitwise_and(crevices(silhouette.soft, silhouette.level), inside)
    rows, columns = np.nonzero(dark)
    beyond = np.hypot(columns - palm.centre_px[0], rows - palm.centre_px[1]) > TIP_REACH * palm.radius_px
    if int(beyond.sum()) > palm.radius_px:
        return [(Finding.FINGERS_TOUCHING, np.array([columns[beyond].mean(), rows[beyond].mean()]))]
    if len(tips) != 4 or mask.left_out:
        return [(Finding.FINGERS_TOUCHING, palm.centre_px)] if len(tips) >= 5 else []
    return [(Finding.FINGER_MISSING, _gap(np.array(tips), contour, palm))]


def _widest_crossing(silhouette: Silhouette, palm: Palm, fingers: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Where a circle round the palm crosses something as wide as two fingers; None where it crosses none."""
    angles = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    mask = silhouette.mask()
    on = palm.centre_px + CROSSED_AT * palm.radius_px * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    columns, rows = np.rint(on).astype(np.intp).T
    inside = (columns >= 0) & (rows >= 0) & (columns < mask.shape[1]) & (rows < mask.shape[0])
    hand = np.zeros(len(angles), dtype=np.bool_)
    hand[inside] = mask[rows[inside], columns[inside]] > 0
    if hand.all() or not hand.any():
        return None
    start = int(np.argmin(hand))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.roll(hand, -start), [False]]).astype(np.int8)))
    ahead = fingers / max(float(np.hypot(fingers[0], fingers[1])), 1e-9)
    crossings = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        middle = float(angles[int((first + last) // 2 + start) % len(angles)])
        direction = np.array([np.cos(middle), np.sin(middle)])
        # The wrist lies behind the palm.
        if float(direction @ ahead) > -0.3 and last - first > 4:
            crossings.append((int(last - first), direction))
    if len(crossings) < 2:
        return None
    widest = max(crossings, key=lambda one: one[0])
    if widest[0] <= TWO_FINGERS * float(np.median([wide for wide, _ in crossings])):
        return None
    return np.asarray(palm.centre_px + CROSSED_AT * palm.radius_px * widest[1], dtype=np.float64)


def _gap(tips: NDArray[np.intp], contour: Contour, palm: Palm) -> NDArray[np.float64]:
    """Where the fifth finger should be: in the wider gap between fingers, or at the end that has none."""
    toward = contour.points[tips] - palm.centre_px
    axis = toward.mean(axis=0)
    turn = float(np.arctan2(axis[1], axis[0]))
    angles = np.arctan2(axis[0] * toward[:, 1] - axis[1] * toward[:, 0], toward @ axis)
    order = np.argsort(angles)
    angles, height = angles[order], (toward @ axis)[order]
    # The thumb is the lower of both ends.
    if height[0] > height[-1]:
        angles = -angles[::-1]
        mirror = -1.0
    else:
        mirror = 1.0
    gaps = np.diff(angles)
    if gaps[0] < THUMB_APART:
        missing = angles[0] - THUMB_APART
    elif gaps[0] > THUMB_FAR_APART:
        missing = angles[1] - 0.5 * (gaps[1] + gaps[2])
    elif gaps[1] + gaps[2] > INDEX_TO_LITTLE:
        at = 1 + int(np.argmax(gaps[1:]))
        missing = 0.5 * (angles[at] + angles[at + 1])
    else:
        missing = angles[3] + 0.5 * (gaps[1] + gaps[2])
    angle = turn + mirror * float(missing)
    return np.asarray(palm.centre_px + 1.6 * palm.radius_px * np.array([np.cos(angle), np.sin(angle)]), np.float64)


def _sleeve(silhouette: Silhouette, contour: Contour, palm: Palm) -> list[tuple[Finding, NDArray[np.float64]]]:
    """Something behind the palm that is wider than a wrist, or of a foreign colour."""
    border = contour.points[contour.on_border]
    relative = contour.points - palm.centre_px
    if len(border):
        back = border.mean(axis=0) - palm.centre_px
    else:
        # A sleeve of another colour ends the hand inside the picture: away from the fingers.
        far = np.hypot(relative[:, 0], relative[:, 1]) > 1.5 * palm.radius_px
        back = -relative[far].mean(axis=0) if far.any() else np.array([1.0, 0.0])
    back = back / max(float(np.hypot(back[0], back[1])), 1e-9)
    along, across = relative @ back, relative @ np.array([-back[1], back[0]])
    at = np.abs(along - WRIST_AT * palm.radius_px) < 0.15 * palm.radius_px
    place = np.asarray(palm.centre_px + WRIST_AT * palm.radius_px * back, dtype=np.float64)
    if at.sum() >= 2 and float(np.ptp(across[at])) > SLEEVE_WIDTH * palm.radius_px:
        return [(Finding.SLEEVE, place)]
    if silhouette.foreign is not None:
        rows, columns = np.nonzero(silhouette.foreign)
        offset = np.stack([columns, rows], axis=1) * COARSE - palm.centre_px
        behind = (offset @ back > palm.radius_px) & (np.abs(offset @ np.array([-back[1], back[0]])) < palm.radius_px)
        if int(behind.sum()) * COARSE**2 > 0.1 * palm.radius_px**2:
            return [(Finding.SLEEVE, np.asarray(offset[behind].mean(axis=0) + palm.centre_px, np.float64))]
    return []


def _ring(picture: NDArray[np.uint8], silhouette: Silhouette, palm: Palm) -> list[tuple[Finding, NDArray[np.float64]]]:
    """Something thin of a foreign colour within the fingers."""
    # A broad ring cuts its finger off at the first look; at the second it belongs to it.
    again = find_silhouette(WorkingPicture(picture), Platen.DARK, lump_px=SECOND_LOOK_PX)
    mask = (again if isinstance(again, Silhouette) else silhouette).mask(COARSE)
    small = cv2.resize(picture, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_AREA)
    thin = foreign_colours(np.asarray(small, np.uint8), silhouette.level, 1)
    pieces, _ = cv2.findContours(thin, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for piece in pieces:
        (x, y), sides, _ = cv2.minAreaRect(piece)
        centre = np.array([x, y]) * COARSE
        far = float(np.hypot(*(centre - palm.centre_px))) > TIP_REACH * palm.radius_px
        long, short = COARSE * (max(sides) + 1.0), COARSE * (min(sides) + 1.0)
        if not far or long <= LEAST_RING_LENGTH * palm.radius_px or long <= LEAST_RING_ASPECT * short:
            continue
        # A peg beside a finger lies mostly outside the hand.
        columns, rows = piece.reshape(-1, 2).T
        if float((mask[rows, columns] > 0).mean()) >= RING_INSIDE:
            found.append((long, centre))
    return [(Finding.RING, max(found, key=lambda one: one[0])[1])] if found else []


def _blur(silhouette: Silhouette, contour: Contour) -> list[tuple[Finding, NDArray[np.float64]]]:
    """The border's steepness all round; blurred where half of it rises too slowly."""
    points = contour.points
    tangent = np.roll(points, -3, axis=0) - np.roll(points, 3, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    at = points[None] + np.array([-4.5, -1.5, 1.5, 4.5])[:, None, None] * outward[None]
    sampled = cv2.remap(
        silhouette.soft, at[..., 0].astype(np.float32), at[..., 1].astype(np.float32), cv2.INTER_LINEAR
    ).astype(np.float64)
    usable = ~contour.hidden & ~contour.on_border
    whole, near = (sampled[0] - sampled[3])[usable], (sampled[1] - sampled[2])[usable]
    if not len(whole):
        return []
    share = near / np.maximum(whole, 1.0)
    if float(np.median(share)) >= SHARP_SHARE:
        return []
    worst = share <= np.quantile(share, 0.25)
    return [(Finding.BLURRED, np.asarray(points[usable][worst].mean(axis=0), dtype=np.float64))]


def _glare(picture: NDArray[np.uint8], silhouette: Silhouette) -> list[tuple[Finding, NDArray[np.float64]]]:
    """White patches on the hand."""
    blue, green, red = cv2.split(picture)
    mask = silhouette.mask()
    white = cv2.threshold(cv2.min(cv2.min(blue, green), red), GLARE_LEVEL - 1, 255, cv2.THRESH_BINARY)[1]
    rows, columns = np.nonzero(cv2.bitwise_and(white, mask))
    if len(rows) <= GLARE_SHARE * cv2.countNonZero(mask):
        return []
    return [(Finding.GLARE, np.array([columns.mean(), rows.mean()]))]
