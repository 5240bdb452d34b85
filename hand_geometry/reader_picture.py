"""A calibrated reader's picture: the sheet's markers and the mirror in it are as dark as the platen.

What lies on a marker looks unlike the bare sheet and stays; the hand that the mirror shows is no second hand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.platen import (
    BARE_DIFFERENCE,
    PLATEN_GREY,
    PlatenCalibration,
    marker_boxes,
    mirror_face,
    without_markers,
    without_mirror,
)
from hand_geometry.working_picture import COARSE, RED, WorkingPicture, values_at


def picture_on(calibration: PlatenCalibration, untouched: WorkingPicture) -> WorkingPicture:
    """The picture without what belongs to the reader."""
    if untouched.twice and untouched.shape == calibration.empty.shape[:2]:
        return _ReaderPicture(untouched.source, untouched, calibration)
    return WorkingPicture(without_mirror(without_markers(untouched.bgr, calibration), calibration))


@dataclass(frozen=True, eq=False)
class _ReaderPicture(WorkingPicture):
    """As ``WorkingPicture``, and no more of the camera's picture is read for it than for any other."""

    untouched: WorkingPicture = field(repr=False)
    calibration: PlatenCalibration = field(repr=False)

    @cached_property
    def most(self) -> NDArray[np.uint8]:
        """(H / 2, W / 2) uint8: the grey that the platen has where a bare marker or the mirror is, 255 elsewhere."""
        sheet = _bare_sheet(self.calibration)
        most = sheet.mirror.copy()
        seen = values_at(self.source, sheet.at_px)
        bare = cv2.inRange(cv2.absdiff(seen, sheet.bare), (0, 0, 0), (BARE_DIFFERENCE - 1,) * 3)
        most.ravel()[sheet.places[bare[0] > 0]] = PLATEN_GREY
        return most

    @cached_property
    def coarse(self) -> NDArray[np.uint8]:
        most = cv2.cvtColor(self.most, cv2.COLOR_GRAY2BGRA)
        return np.asarray(cv2.min(self.untouched.coarse, most), dtype=np.uint8)

    @cached_property
    def bgr(self) -> NDArray[np.uint8]:
        return without_mirror(without_markers(self.untouched.bgr, self.calibration), self.calibration)

    @cached_property
    def red(self) -> NDArray[np.uint8]:
        return np.asarray(cv2.extractChannel(self.bgr, RED), dtype=np.uint8)

    def red_at(self, at_px: NDArray[np.float32]) -> NDArray[np.uint8]:
        on_grid = (at_px - np.float32(0.5 * (COARSE - 1))) * np.float32(1.0 / COARSE)
        most = values_at(self.most, on_grid, cv2.INTER_NEAREST)
        return np.asarray(cv2.min(self.untouched.red_at(at_px), most), dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class _BareSheet:
    """What is known beforehand of a reader's pictures.

    Attributes:
        places: (k,) intp, the pixels of the coarse grid in which a marker or its rim is.
        at_px: (1, k, 2) float32, the middle of each in the camera's picture.
        bare: (1, k, 3) uint8 BGR, what it shows where nothing lies on it.
        mirror: (H / 2, W / 2) uint8, the platen's grey in the mirror, 255 elsewhere.
    """

    places: NDArray[np.intp]
    at_px: NDArray[np.float32]
    bare: NDArray[np.uint8]
    mirror: NDArray[np.uint8]


@functools.lru_cache(maxsize=2)
def _bare_sheet(calibration: PlatenCalibration) -> _BareSheet:
    height, width = calibration.empty.shape[:2]
    marked = np.zeros((height, width), dtype=np.bool_)
    for box in marker_boxes(calibration, width):
        marked[box] = True
    rows, columns = np.nonzero(marked[::COARSE, ::COARSE])
    face = mirror_face(calibration, (width, height))
    across = -(-width // COARSE)
    mirror = np.full((-(-height // COARSE), across), 255, dtype=np.uint8)
    if face is not None:
        mirror[face[::COARSE, ::COARSE] > 0] = PLATEN_GREY
    # Between the first two pixels of each row and column lies the mean of four, as in a picture of half the size.
    at_px = (2 * COARSE * np.stack([columns, rows], axis=1) + 0.5).astype(np.float32)
    bare = calibration.empty[COARSE * rows, COARSE * columns]
    places = np.asarray(rows * across + columns, dtype=np.intp)
    return _BareSheet(places, at_px[None], bare[None], mirror)
