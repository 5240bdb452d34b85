"""The mirror beside the platen, in which the same camera sees the hand from its side.

The mirror stands along one edge of the sheet and leans away from the hand. A point before a mirror is seen where its
image behind the mirror lies; the camera's place over the sheet (``platen``) says where in the picture that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SideMirror:
    """How the mirror is built in; it is measured once on the reader.

    Attributes:
        foot_mm: A point of the line on which the mirror stands, in mm on the sheet.
        outward: Unit vector on the sheet, across that line and away from the hand.
        lean_deg: Angle between the sheet, continued outwards, and the mirror: 45 under a camera right above the line,
            more where the camera stands further in, so that it looks level across the platen.
        tall_mm: How far the mirror reaches up along its slope.
    """

    foot_mm: tuple[float, float]
    outward: tuple[float, float]
    lean_deg: float
    tall_mm: float = 60.0

    @property
    def along(self) -> NDArray[np.float64]:
        """(2,) unit vector along the foot line."""
        return np.array([-self.outward[1], self.outward[0]])

    def along_and_away(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points of the sheet as mm along the foot line and mm from it into the platen."""
        relative = points_mm - np.array(self.foot_mm)
        return np.stack([relative @ self.along, -(relative @ np.array(self.outward))], axis=1)

    def image_of(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) mm: where the images behind the mirror lie of points given as ``along_and_away`` and a height."""
        along, outwards, height = points_mm[:, 0], -points_mm[:, 1], points_mm[:, 2]
        slope = np.deg2rad(self.lean_deg)
        cosine, sine = float(np.cos(slope)), float(np.sin(slope))
        up_the_mirror = 2.0 * (outwards * cosine + height * sine)
        flat = np.array(self.foot_mm) + along[:, None] * self.along
        flat = flat + (up_the_mirror * cosine - outwards)[:, None] * np.array(self.outward)
        return np.column_stack([flat, up_the_mirror * sine - height])

    def outline_mm(self, half_width_mm: float) -> NDArray[np.float64]:
        """(n, 3) mm: the border of the mirror itself, so far to both sides of its foot; many, as a lens bends it."""
        slope = np.deg2rad(self.lean_deg)
        foot, outward = np.array(self.foot_mm), np.array(self.outward)
        reach, rise = self.tall_mm * float(np.cos(slope)), self.tall_mm * float(np.sin(slope))
        low = foot + np.linspace(-half_width_mm, half_width_mm, 17)[:, None] * self.along
        high = low[::-1] + reach * outward
        return np.concatenate(
            [np.column_stack([low, np.zeros(len(low))]), np.column_stack([high, np.full(len(high), rise)])]
        )
