"""Where the camera stands over the sheet: its height from a label on a block of known height, its foot from the tilt.

One flat sheet cannot say how high a camera is: twice as high with twice the focal length looks the same. A label lying
higher does: it looks larger than the same label on the sheet would, by height / (height - block).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def height_over(points_mm: NDArray[np.float64], label_mm: NDArray[np.float64], block_mm: float) -> float | None:
    """The lens's height over the sheet in mm.

    Args:
        points_mm: (n, 2) where points of the label are seen, in mm as if they lay on the sheet.
        label_mm: (n, 2) the same points on the label.
        block_mm: How high over the sheet the label lies.

    Returns:
        None where the label does not look larger: it lies on the sheet, or is another.
    """
    seen, printed = points_mm - points_mm.mean(axis=0), label_mm - label_mm.mean(axis=0)
    larger = float(np.sqrt((seen**2).sum() / max(float((printed**2).sum()), 1e-9)))
    return block_mm * larger / (larger - 1.0) if larger > 1.0 + 1e-3 else None


def camera_foot(homography: NDArray[np.float64], height_mm: float) -> NDArray[np.float64]:
    """(2,) mm: the point of the sheet under the lens.

    The homography from mm to lens coordinates is a rotation, a place and one focal length; the focal length is the one
    that puts the lens at its height (Z. Zhang, 2000, for the columns of a homography).
    """
    focal = height_mm * float(np.sqrt(abs(np.linalg.det(homography[:2, :2] / homography[2, 2]))))
    place = np.zeros(3)
    for _ in range(8):
        columns = homography / np.array([[focal], [focal], [1.0]])
        columns = columns * 2.0 / (np.linalg.norm(columns[:, 0]) + np.linalg.norm(columns[:, 1]))
        if columns[2, 2] < 0.0:
            columns = -columns
        rotation = np.column_stack([columns[:, 0], columns[:, 1], np.cross(columns[:, 0], columns[:, 1])])
        place = -np.linalg.solve(rotation, columns[:, 2])
        focal *= height_mm / max(abs(float(place[2])), 1e-6)
    return np.asarray(place[:2], dtype=np.float64)
