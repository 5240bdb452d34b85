"""What was measured, drawn over the picture: outline, axes, widths, valleys, and what was taken for foreign."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Seen, looked_at
from hand_geometry.measurements import BEND_STATIONS, WIDTH_STATIONS, FingerShape
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen
from hand_geometry.working_picture import SMALLEST_SIDE_PX, WorkingPicture, is_picture

OUTLINE_BGR = (255, 255, 0)
HIDDEN_BGR = (0, 0, 255)
FOREIGN_BGR = (255, 0, 255)
WIDTH_BGR = (0, 200, 255)
VALLEY_BGR = (0, 0, 255)
DIMMED = 0.6
# The picture is drawn this many times as large as the hand is measured at.
LARGER = 2


def draw_overlay(image: NDArray[np.uint8], platen: Platen) -> tuple[NDArray[np.uint8], QualityReason | None]:
    """The dimmed picture at twice the working size with the measurements on it, and the reason where there are none.

    What is no picture that could show a hand gives a small black one.
    """
    if not is_picture(image):
        return np.zeros((SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, 3), dtype=np.uint8), QualityReason.UNREADABLE_IMAGE
    picture = WorkingPicture(image)
    height, width = picture.shape
    seen = looked_at(picture, platen)
    whole = cv2.resize(image, (LARGER * width, LARGER * height), interpolation=cv2.INTER_AREA)
    drawn = np.asarray(whole if whole.ndim == 3 else cv2.cvtColor(whole, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    drawn = (drawn * DIMMED).astype(np.uint8)
    if not isinstance(seen, Seen):
        return drawn, seen.reason
    if seen.silhouette.foreign is not None:
        foreign = cv2.resize(seen.silhouette.foreign, drawn.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        drawn[foreign > 0] = FOREIGN_BGR
    cv2.polylines(drawn, [_enlarged(seen.contour.points)], True, OUTLINE_BGR, 2, cv2.LINE_AA)
    for x, y in _enlarged(seen.contour.points[seen.contour.hidden]):
        cv2.circle(drawn, (int(x), int(y)), 1, HIDDEN_BGR, cv2.FILLED)
    for finger in seen.shape.fingers:
        _draw_finger(drawn, finger, 1.0 if seen.features.mirrored else -1.0)
    for x, y in _enlarged(seen.shape.valleys_px):
        cv2.circle(drawn, (int(x), int(y)), 6, VALLEY_BGR, 2)
    return drawn, None


def _enlarged(points_px: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points of the working size in the larger picture."""
    return np.asarray(np.rint(LARGER * points_px + (LARGER - 1) / 2), dtype=np.int32)


def _draw_finger(drawn: NDArray[np.uint8], finger: FingerShape, sign: float) -> None:
    """Every width across the finger's bent midline."""
    normal = sign * np.array([-finger.axis[1], finger.axis[0]])
    for station, width in zip(WIDTH_STATIONS, finger.widths_px, strict=True):
        bend = float(np.interp(station, BEND_STATIONS, finger.bends_px))
        middle = finger.tip_px + finger.axis * station * finger.length_px + normal * bend
        ends = [_enlarged(middle + side * normal * width / 2.0) for side in (1.0, -1.0)]
        cv2.line(drawn, (int(ends[0][0]), int(ends[0][1])), (int(ends[1][0]), int(ends[1][1])), WIDTH_BGR, 1)
