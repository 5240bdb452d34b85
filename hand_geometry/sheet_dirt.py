"""Dirt on the sheet between its markers, where the hand lies: the empty platen held against the bare sheet.

The sheet is nearly black. What lies on it is brighter than the sheet around it, or hides the hands' outlines that are
printed there; light and shadow do neither.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.platen import PlatenCalibration, SheetFault, SheetFinding, marker_boxes, mirror_face
from hand_geometry.working_picture import at_working_size, is_picture

# Grey levels by which a spot is brighter than the sheet around it, and px of the working size that it covers: smaller
# is grain, a crumb of 3 mm is larger. Smaller ones together are dirt, too. A napkin covers this share of the picture.
DIRT_GREY, LEAST_DIRT_PX2, TOGETHER_PX2, COVER_SHARE = 30.0, 60, 180, 0.02
# On a grid of every fourth px: what is wider than this, 90 mm, is light, unless print is hidden under it.
GRID, LIGHT_PX = 4, 65
# Print is thinner than this, and brighter by so many grey levels than what is beside it. It may have moved by a little.
LINE_PX, PRINT_GREY, MOVED_PX = 7, 6, 5
# Print is looked for in windows of 15 mm that have so many of its px. Under a cover nothing is left of its contrast, in
# the deepest shadow more than this share; of a spot that shows so much of it, only the light has changed.
WINDOW_PX, FEWEST_PX, HIDDEN_CONTRAST, LIT_CONTRAST = 41, 20, 0.1, 0.4
# A thing of 25 mm hides so many px of print.
LEAST_HIDDEN_PX = 70


def check_ground(frame: NDArray[np.uint8], calibration: PlatenCalibration) -> list[SheetFault]:
    """The largest thing that was not on the bare sheet, dirt or a cover; nothing where there is none. A hand is one."""
    if not is_picture(frame) or not calibration.fits(frame):
        return []
    now, bare = at_working_size(frame), calibration.empty
    if now.shape != bare.shape:
        now = np.asarray(cv2.resize(now, bare.shape[1::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
    sheet = sheet_alone(calibration, (bare.shape[1], bare.shape[0]))
    ground = sheet & _between_markers(calibration, (bare.shape[1], bare.shape[0]))
    brighter = np.where(ground, _brighter(now, bare, sheet), np.float32(0.0))
    printed = _Print(now, bare, ground)
    spots = _spots(brighter, printed)
    count, _, sizes, centres = cv2.connectedComponentsWithStats(spots)
    areas = sizes[1:, cv2.CC_STAT_AREA]
    largest = int(areas.argmax()) if count > 1 else None
    if largest is not None and areas[largest] > COVER_SHARE * spots.size:
        return [_fault(SheetFinding.COVERED, centres[1 + largest], bare)]
    hidden = printed.hidden_beside(brighter > DIRT_GREY)
    if int(hidden.sum()) >= LEAST_HIDDEN_PX:
        return [_fault(SheetFinding.COVERED, np.argwhere(hidden).mean(axis=0)[::-1], bare)]
    if largest is not None and (areas[largest] >= LEAST_DIRT_PX2 or int(areas.sum()) >= TOGETHER_PX2):
        return [_fault(SheetFinding.DIRTY, centres[1 + largest], bare)]
    return []


def _fault(finding: SheetFinding, at_px: NDArray[np.float64], picture: NDArray[np.uint8]) -> SheetFault:
    x, y = at_px / np.array([picture.shape[1], picture.shape[0]])
    return SheetFault(finding, float(x), float(y))


def sheet_alone(calibration: PlatenCalibration, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool, False at the markers, which have limits of their own (``check_sheet``), as has the mirror."""
    face = mirror_face(calibration, size_px)
    sheet = np.ones(size_px[::-1], dtype=np.bool_) if face is None else face == 0
    for box in marker_boxes(calibration, size_px[0]):
        sheet[box] = False
    return np.asarray(sheet, dtype=np.bool_)


def _between_markers(calibration: PlatenCalibration, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool, True where hands lie."""
    corners = calibration.corners_px * (size_px[0] / calibration.size_px[0])
    centres = corners[~np.isnan(corners).any(axis=(1, 2))].mean(axis=1)
    between = np.zeros(size_px[::-1], dtype=np.uint8)
    cv2.fillConvexPoly(between, cv2.convexHull(np.rint(centres).astype(np.int32)), 1)
    return np.asarray(between > 0, dtype=np.bool_)


def _brighter(now: NDArray[np.uint8], bare: NDArray[np.uint8], sheet: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) float32: by how many grey levels the sheet outshines what is around it, more than on the bare sheet."""
    # In each channel: ketchup is as dark as the sheet in two of them.
    other = cv2.GaussianBlur(now, (5, 5), 1.0).astype(np.float32) - cv2.GaussianBlur(bare, (5, 5), 1.0)
    size, window = (bare.shape[1] // GRID, bare.shape[0] // GRID), (LIGHT_PX, LIGHT_PX)
    known = cv2.resize(sheet.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    coarse = cv2.resize(other * sheet[..., None], size, interpolation=cv2.INTER_AREA)
    around = cv2.blur(coarse, window) / np.maximum(cv2.blur(known, window), 1e-3)[..., None]
    # Light does not end where the sheet does, nor the picture.
    beyond = cv2.copyMakeBorder(coarse + (1.0 - known) * around, *4 * (LIGHT_PX,), cv2.BORDER_REPLICATE)
    light = cv2.morphologyEx(beyond, cv2.MORPH_OPEN, np.ones(window, np.uint8))
    light = light[LIGHT_PX:-LIGHT_PX, LIGHT_PX:-LIGHT_PX]
    other -= cv2.resize(light, bare.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(other.max(axis=2), dtype=np.float32)


def _spots(brighter: NDArray[np.float32], printed: _Print) -> NDArray[np.uint8]:
    """(H, W) uint8, 1 where something lies."""
    limit = DIRT_GREY
    while True:
        # The rim of a printed line that moved by a pixel is no spot.
        spots = cv2.morphologyEx((brighter > limit).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, labels, sizes, _ = cv2.connectedComponentsWithStats(spots)
        large = [one for one in range(1, count) if sizes[one, cv2.CC_STAT_AREA] >= LEAST_DIRT_PX2]
        lit = [one for one in large if printed.shows_in(labels == one)]
        if not lit:
            return np.asarray(spots, dtype=np.uint8)
        # Beside a shadow, the light falls in more places than where print shows it to be light.
        limit = max(float(brighter[labels == one].max()) for one in lit)


class _Print:
    """The outlines that are printed on the sheet, in a picture of it."""

    def __init__(self, now: NDArray[np.uint8], bare: NDArray[np.uint8], ground: NDArray[np.bool_]) -> None:
        thin = _thin_and_bright(bare)
        self._line = (thin > PRINT_GREY) & ground
        self._beside = ground & ~_grown(thin > PRINT_GREY)
        self._now, self._bare = _dilated(_thin_and_bright(now)), _dilated(thin)

    def shows_in(self, place: NDArray[np.bool_]) -> bool:
        """Whether print is seen through what changed there: then it is light."""
        # Not at its rim, where a crumb is thin and bright itself.
        inside = cv2.erode(place.astype(np.uint8), np.ones((2 * LINE_PX + 1, 2 * LINE_PX + 1), np.uint8)) > 0
        line, beside = self._line & inside, self._beside & inside
        if int(line.sum()) < FEWEST_PX or int(beside.sum()) < FEWEST_PX:
            return False
        now, bare = (float(one[line].mean()) - float(one[beside].mean()) for one in (self._now, self._bare))
        return now > LIT_CONTRAST * bare

    def hidden_beside(self, spots: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W) bool, True on lines that are not seen, and that no spot hides."""
        line, beside = self._line & ~_grown(spots), self._beside & ~_grown(spots)
        lines, besides = _window_sums(line), _window_sums(beside)
        enough = (lines >= FEWEST_PX) & (besides >= FEWEST_PX)

        def contrast(seen: NDArray[np.uint8]) -> NDArray[np.float32]:
            on, off = _window_sums(seen * line), _window_sums(seen * beside)
            return np.asarray(on / np.maximum(lines, 1.0) - off / np.maximum(besides, 1.0), np.float32)

        return np.asarray(line & enough & (contrast(self._now) < HIDDEN_CONTRAST * contrast(self._bare)))


def _thin_and_bright(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8: by how much thin things are brighter than what is beside them."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (3, 3), 0)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((LINE_PX, LINE_PX), np.uint8)), dtype=np.uint8)


def _dilated(thin: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Print is where it was, or a little beside."""
    return np.asarray(cv2.dilate(thin, np.ones((MOVED_PX, MOVED_PX), np.uint8)), dtype=np.uint8)


def _grown(places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With what thin things blur into."""
    return np.asarray(cv2.dilate(places.astype(np.uint8), np.ones((LINE_PX, LINE_PX), np.uint8)) > 0, dtype=np.bool_)


def _window_sums(values: NDArray[np.generic]) -> NDArray[np.float32]:
    summed = cv2.boxFilter(values.astype(np.float32), -1, (WINDOW_PX, WINDOW_PX), normalize=False)
    return np.asarray(summed, dtype=np.float32)
