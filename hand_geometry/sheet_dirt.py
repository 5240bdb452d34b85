"""Dirt on the sheet between its markers, where the hand lies: the empty platen held against the bare sheet."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.platen import PlatenCalibration, SheetFault, SheetFinding, marker_boxes, mirror_face
from hand_geometry.working_picture import at_working_size, is_picture

# Grey levels by which a spot differs from the bare sheet, once the lamp's own change is taken off, and px of the
# working size that it covers: smaller is grain, a crumb of 3 mm is larger. A napkin covers this share of the picture.
DIRT_GREY, LEAST_DIRT_PX2, COVER_SHARE = 25, 60.0, 0.02


def check_ground(frame: NDArray[np.uint8], calibration: PlatenCalibration) -> list[SheetFault]:
    """The largest thing that was not on the bare sheet, dirt or a cover; nothing where there is none. A hand is one."""
    if not is_picture(frame) or not calibration.fits(frame):
        return []
    now, bare = at_working_size(frame), calibration.empty
    if now.shape != bare.shape:
        now = np.asarray(cv2.resize(now, bare.shape[1::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # In each channel: ketchup is as dark as the sheet in two of them.
    other = cv2.GaussianBlur(now, (5, 5), 1.0).astype(np.int16) - cv2.GaussianBlur(bare, (5, 5), 1.0)
    other -= np.median(other, axis=(0, 1)).astype(np.int16)
    spots = np.asarray(np.abs(other).max(axis=2) > DIRT_GREY, dtype=np.uint8)
    # Markers have limits of their own (``check_sheet``), and so has the mirror (``check_mirror``).
    for box in marker_boxes(calibration, bare.shape[1]):
        spots[box] = 0
    face = mirror_face(calibration, (bare.shape[1], bare.shape[0]))
    if face is not None:
        spots[face > 0] = 0
    count, _, sizes, centres = cv2.connectedComponentsWithStats(spots)
    areas = sizes[1:, cv2.CC_STAT_AREA]
    if count < 2 or float(areas.max()) < LEAST_DIRT_PX2:
        return []
    largest = float(areas.max())
    finding = SheetFinding.COVERED if largest > COVER_SHARE * spots.size else SheetFinding.DIRTY
    x, y = centres[1 + int(areas.argmax())] / np.array([bare.shape[1], bare.shape[0]])
    return [SheetFault(finding, float(x), float(y))]
