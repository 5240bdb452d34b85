"""Grey levels that part a picture in two."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def otsu_level(grey: NDArray[np.uint8]) -> float:
    """The grey value that parts an (H, W) uint8 picture best into two (N. Otsu, 1979)."""
    return float(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])
