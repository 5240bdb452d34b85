"""Whether the camera sees the bare sheet as sharply as when it was calibrated: a lens is smeared, or turns, slowly."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Below this share of the steepness at calibration: a blur of 2.5 px in 1600. 2 px leave 0.74 to 0.78; a lamp a third
# darker, a noisier sensor or a hand on the sheet 0.95 and more. From 3 px on, markers begin to be lost.
LEAST_FOCUS = 0.7
# The markers' edges are the steepest thing there is: a two-hundredth of the picture.
_EDGES_PERCENT = 99.5


def focus_share(working: NDArray[np.uint8], empty: NDArray[np.uint8]) -> float:
    """How steep the edges in (H, W, 3) or (H, W) uint8 are, as a share of those in the calibration's bare sheet."""
    return _steepness(working) / max(_steepness(empty), 1e-6)


def _steepness(image: NDArray[np.uint8]) -> float:
    """Step between neighbouring pixels at edges, in parts of the picture's own contrast: no matter how bright it is."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    smooth = cv2.GaussianBlur(grey, (3, 3), 0).astype(np.int16)
    dark, bright = np.percentile(smooth, [1.0, 99.0])
    return float(np.percentile(np.abs(np.diff(smooth, axis=1)), _EDGES_PERCENT)) / max(float(bright - dark), 1.0)
