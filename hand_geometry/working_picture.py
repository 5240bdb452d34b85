"""The camera's picture in the sizes that the stages look at; each is made when it is first asked for.

Everything is tuned at one length of the longer side. A camera's picture of twice that is thinned out instead of
averaged: its outline is smoothed along itself later, and averaging all of its pixels takes longer than measuring.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

# Half of what the camera gives: the outline is found below the pixel anyway, and the way from frame to decision takes a
# third of the time.
WORKING_SIDE_PX = 800
# Lengths are given in pixels of a picture of this side, as the camera takes them.
NOMINAL_SIDE_PX = 1600
# Grids that need no border are at half of the working size once more.
COARSE = 2
RED = 2


@dataclass(frozen=True, eq=False)
class Box:
    """Rows and columns of the coarse grid, from and to."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, eq=False)
class WorkingPicture:
    """One picture.

    Attributes:
        source: (H, W, 3) or (H, W) uint8, as the camera gave it.
    """

    source: NDArray[np.uint8] = field(repr=False)

    @cached_property
    def bgr(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR whose longer side has the working length."""
        image = self.source
        longer = max(image.shape[:2])
        if longer != WORKING_SIDE_PX:
            scale = WORKING_SIDE_PX / longer
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
        if image.ndim == 2:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
        return image

    @cached_property
    def coarse(self) -> NDArray[np.uint8]:
        """(H / 2, W / 2, 3) uint8 BGR, half of the working size."""
        image, method = (self.source, cv2.INTER_NEAREST) if self._twice else (self.bgr, cv2.INTER_AREA)
        rows, columns = self.shape
        small = cv2.resize(image, (-(-columns // COARSE), -(-rows // COARSE)), interpolation=method)
        return np.asarray(small, dtype=np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at the working size."""
        rows, columns = (self.source if self._twice else self.bgr).shape[:2]
        return (rows // 2, columns // 2) if self._twice else (rows, columns)

    def red_in(self, box: Box) -> NDArray[np.uint8]:
        """The red channel at the working size within the box, (rows, columns) uint8."""
        if not self._twice:
            window = self.bgr[COARSE * box.top : COARSE * box.bottom, COARSE * box.left : COARSE * box.right]
            return np.asarray(cv2.extractChannel(window, RED), dtype=np.uint8)
        side = 2 * COARSE
        window = self.source[side * box.top : side * box.bottom, side * box.left : side * box.right]
        return np.ascontiguousarray(window[::2, ::2, RED])

    @cached_property
    def _twice(self) -> bool:
        rows, columns = self.source.shape[:2]
        whole = rows % (2 * COARSE) == 0 and columns % (2 * COARSE) == 0
        return self.source.ndim == 3 and max(rows, columns) == 2 * WORKING_SIDE_PX and whole


def at_working_size(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) BGR whose longer side has the working length."""
    return WorkingPicture(image).bgr
