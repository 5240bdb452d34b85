"""How high the hand is along its length, measured in the side mirror; what lies flat on the platen has no height."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.landmarks import Finger, Landmarks
from hand_geometry.platen import PlatenCalibration
from hand_geometry.quality import QualityReason
from hand_geometry.working_picture import RED, WorkingPicture

# Where heights are taken, in parts of the way from the middle finger's tip to the palm's centre.
HEIGHT_STATIONS = tuple(round(0.1 + 0.1 * at, 1) for at in range(12))
HEIGHT_STEP_MM = 0.5
HIGHEST_MM = 60.0
# Each height is the median of so many beside each other.
BESIDE_MM = (-2.0, -1.0, 0.0, 1.0, 2.0)
# What is bright over less than this is dust or a scratch on the mirror.
LEAST_RUN = 4
# A finger of a child of eleven is some 10 mm high; paper, a print or a card lies under this.
FLAT_MM = 5.0
LEAST_HEIGHT_MM = 0.5
# A palm is about twice as high as fingers. The third lowest and the third highest of twelve heights differ at least by
# this factor on anything that is a hand; those of a board, cut as it may be, are one.
LEAST_RISE = 1.3
BARRING = 2


def measure_heights(
    picture: WorkingPicture,
    level: float,
    straight: Contour,
    landmarks: Landmarks,
    calibration: PlatenCalibration,
) -> NDArray[np.float64] | None:
    """(12,) float64: heights over the sheet in mm at ``HEIGHT_STATIONS``; None on a reader without a mirror.

    Args:
        picture: As the camera gave it, with the mirror.
        level: The grey value of the hand's border.
        straight: The outline as the nominal camera would see it.
        landmarks: Of that outline.
        calibration: The reader's.
    """
    mirror = calibration.mirror
    if mirror is None or calibration.camera_height_mm is None:
        return None
    size = (picture.shape[1], picture.shape[0])
    outline = mirror.along_and_away(calibration.from_nominal(straight.points, size))
    palm = mirror.along_and_away(calibration.from_nominal(landmarks.palm_px[None], size))[0]
    tip = outline[landmarks.tips[Finger.MIDDLE]]
    stations = tip[0] + np.array(HEIGHT_STATIONS) * (palm[0] - tip[0])
    # The rays run nearly level: it is enough to know where the hand's middle lies there.
    away = np.array([_middle(outline, one, float(palm[1])) for one in stations])
    heights = np.arange(0.0, HIGHEST_MM, HEIGHT_STEP_MM)
    along = stations[:, None] + np.array(BESIDE_MM)
    rays = np.stack(
        np.broadcast_arrays(along[:, :, None], away[:, None, None], heights[None, None, :]), axis=-1
    ).reshape(-1, 3)
    source = picture.source if picture.source.ndim == 3 else picture.bgr
    at = calibration.seen_in_mirror(rays, (source.shape[1], source.shape[0])).astype(np.float32)
    seen = red_at(source, at).reshape(len(stations), len(BESIDE_MM), len(heights))
    return np.asarray(np.median(_tops(seen, level), axis=1), dtype=np.float64)


def no_hand_from_the_side(heights_mm: NDArray[np.float64]) -> QualityReason | None:
    """Why such heights are no hand's, or None: paper and prints do not rise, a board does everywhere."""
    if float(np.median(heights_mm)) < FLAT_MM:
        return QualityReason.FLAT_THING
    return QualityReason.EVEN_HEIGHT if rise_of(heights_mm) < LEAST_RISE else None


def rise_of(heights_mm: NDArray[np.float64]) -> float:
    """By what factor high parts are higher than low ones, barring the outermost of both."""
    ordered = np.sort(np.maximum(heights_mm, LEAST_HEIGHT_MM))
    return float(ordered[-1 - BARRING] / ordered[BARRING])


def height_features(heights_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their logarithms: a difference is a ratio."""
    return np.asarray(np.log(np.maximum(heights_mm, LEAST_HEIGHT_MM)), dtype=np.float64)


def _middle(outline: NDArray[np.float64], station_mm: float, otherwise_mm: float) -> float:
    near = outline[np.abs(outline[:, 0] - station_mm) < 3.0, 1]
    return float(0.5 * (near.min() + near.max())) if len(near) else otherwise_mm


def red_at(source: NDArray[np.uint8], at: NDArray[np.float32]) -> NDArray[np.float64]:
    """Red at (n, 2) px; 0 outside of the picture."""
    seen = cv2.remap(source, at[None], None, cv2.INTER_LINEAR, borderValue=0)  # type: ignore[call-overload]  # one map
    return np.asarray(seen[0, :, RED], dtype=np.float64)


def _tops(seen: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """(m, b, h) grey values over height to (m, b) heights of the uppermost border, 0 where there is none."""
    bright = seen >= level
    solid = bright.copy()
    for below in range(1, LEAST_RUN):
        solid[:, :, below:] &= bright[:, :, :-below]
    solid[:, :, : LEAST_RUN - 1] = False
    count = seen.shape[2]
    top = count - 1 - np.argmax(solid[:, :, ::-1], axis=2)
    above = np.minimum(top + 1, count - 1)
    inner = np.take_along_axis(seen, top[:, :, None], axis=2)[:, :, 0]
    outer = np.take_along_axis(seen, above[:, :, None], axis=2)[:, :, 0]
    part = np.clip((inner - level) / np.maximum(inner - outer, 1.0), 0.0, 1.0)
    return np.where(solid.any(axis=2), (top + part) * HEIGHT_STEP_MM, 0.0)
