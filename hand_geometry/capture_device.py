"""The port through which a hand is seen: one frame at a time, and nothing kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import SimulatedDeviceInProductionError


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the platen.

    Attributes:
        image: (H, W, 3) uint8, BGR. Never logged, never written.
        captured_at_s: When, on the monotonic clock.
    """

    image: NDArray[np.uint8] = field(repr=False)
    captured_at_s: float


class CaptureDevice(Protocol):
    """Something that looks at the platen."""

    def capture(self) -> Frame | None:
        """One frame, taken now; None where the device gave none, as when it is lost. A later call may succeed again."""

    def close(self) -> None:
        """Lets go of the device; harmless when called twice."""


def refuse_in_production(device: str, *, production: bool) -> None:
    """Stops a simulated or recorded device on a terminal in service."""
    if production:
        raise SimulatedDeviceInProductionError(f"{device} is not a camera and is refused in production")
