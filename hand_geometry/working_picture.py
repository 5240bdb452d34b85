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

from hand_geometry.white_ground import with_white_paper

# Half of what the camera gives: the outline is found below the pixel anyway, and the way from frame to decision takes a
# third of the time.
WORKING_SIDE_PX = 800
# Lengths are given in pixels of a picture of this side, as the camera takes them.
NOMINAL_SIDE_PX = 1600
# Grids that need no border are at half of the working size once more.
COARSE = 2
RED = 2
# A picture too small or too narrow to hold a hand that could be measured.
SMALLEST_SIDE_PX = 160
LONGEST_ASPECT = 3.0


def is_picture(image: NDArray[np.generic]) -> bool:
    """Whether an array can be looked at: (H, W, 3) or (H, W) uint8, neither tiny nor a strip."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        return False
    shorter, longer = sorted(image.shape[:2])
    return bool(shorter >= SMALLEST_SIDE_PX and longer <= LONGEST_ASPECT * shorter)


@dataclass(frozen=True, eq=False)
class WorkingPicture:
    """One picture.

    Attributes:
        source: (H, W, 3) or (H, W) uint8, as the camera gave it.
    """

    source: NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        """However it lies in memory, the same pixels give the same measurements."""
        object.__setattr__(self, "source", np.ascontiguousarray(self.source))

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
    def on_white(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, ``bgr`` as if its brighter part, the paper, were white."""
        return with_white_paper(self.bgr)

    @cached_property
    def coarse(self) -> NDArray[np.uint8]:
        """(H / 2, W / 2, 4) uint8, half of the working size: BGR and a byte that means nothing."""
        rows, columns = self.shape
        if not self.twice:
            small = cv2.resize(self.bgr, (-(-columns // COARSE), -(-rows // COARSE)), interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2BGRA), dtype=np.uint8)
        # Every fourth pixel of every fourth row, read with the next one's blue as one word: in half of the time.
        across, down = 2 * COARSE * 3, 2 * COARSE * self.source.strides[0]
        words = np.ndarray((rows // COARSE, columns // COARSE), np.uint32, self.source, strides=(down, across))
        return np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, 4)

    @cached_property
    def coarse_red(self) -> NDArray[np.uint8]:
        """(H / 2, W / 2) uint8, the red channel of ``coarse``."""
        return np.asarray(cv2.extractChannel(self.coarse, RED), dtype=np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at the working size."""
        rows, columns = (self.source if self.twice else self.bgr).shape[:2]
        return (rows // 2, columns // 2) if self.twice else (rows, columns)

    @cached_property
    def red(self) -> NDArray[np.uint8]:
        """(H, W) uint8, the red channel."""
        if self.twice:
            return np.ascontiguousarray(self.source[::2, ::2, RED])
        return np.asarray(cv2.extractChannel(self.bgr, RED), dtype=np.uint8)

    def red_at(self, at_px: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Red at (M, N, 2) float32 places, x and y in px at the working size; no other pixel is touched."""
        values = values_at(self.source, at_px * np.float32(2.0)) if self.twice else values_at(self.bgr, at_px)
        return np.asarray(cv2.extractChannel(values, RED), dtype=np.uint8)

    @cached_property
    def twice(self) -> bool:
        """Whether ``source`` has the camera's size, twice the working one."""
        rows, columns = self.source.shape[:2]
        whole = rows % (2 * COARSE) == 0 and columns % (2 * COARSE) == 0
        right_size = max(rows, columns) == 2 * WORKING_SIDE_PX and whole
        return right_size and self.source.ndim == 3


def at_working_size(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) BGR whose longer side has the working length."""
    return WorkingPicture(image).bgr


def values_at(
    image: NDArray[np.uint8], at_px: NDArray[np.float32], method: int = cv2.INTER_LINEAR
) -> NDArray[np.uint8]:
    """The picture at (M, N, 2) float32 places, x and y in its px; its border goes on outside."""
    # One map of two channels, which OpenCV's types leave out.
    values = cv2.remap(image, at_px, None, method, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(values, dtype=np.uint8)
