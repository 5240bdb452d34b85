"""The reader's calibration, measured once from the printed sheet. Loads OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from canteen.errors import CanteenError
from hand_geometry.capture_device import CaptureDevice
from hand_geometry.mirror_set_up import MirrorEdge, mirror_beside, with_block
from hand_geometry.platen import PlatenCalibration, SheetFinding, calibrate
from hand_geometry.platen_sheet import PAPERS, platen_sheet

_FRAMES = 8
_SETTLE_S = 1.0
"""A camera needs a moment for its exposure."""
_WITHIN_S = 5.0


class SheetNotFound(CanteenError):
    """The sheet was not found well enough; the finding says why."""

    def __init__(self, finding: SheetFinding) -> None:
        super().__init__(finding.value)
        self.finding = finding


class NoPictures(CanteenError):
    """The camera gave no pictures: it is missing, or the terminal that runs is using it."""


def measure(
    device: CaptureDevice,
    paper: str,
    camera_height_mm: float | None,
    mirror: tuple[MirrorEdge, float] | None = None,
) -> PlatenCalibration:
    """Look at the empty platen and find the sheet; a mirror is told by its edge and how far outside of it it stands.

    Raises:
        NoPictures, SheetNotFound: nothing can be kept.
    """
    found = calibrate(_pictures(device), platen_sheet(paper), camera_height_mm=camera_height_mm)
    if not isinstance(found, PlatenCalibration):
        raise SheetNotFound(found.finding)
    return found if mirror is None else replace(found, mirror=mirror_beside(PAPERS[paper], *mirror))


def measure_height(device: CaptureDevice, calibration: PlatenCalibration) -> PlatenCalibration:
    """Look at the label on its block, which lies anywhere on the sheet, and find how high the camera is.

    On a reader with a mirror it also says how the mirror leans.

    Raises:
        NoPictures, SheetNotFound: the calibration stays as it was.
    """
    found = with_block(_pictures(device), calibration)
    if not isinstance(found, PlatenCalibration):
        raise SheetNotFound(found.finding)
    return found


def _pictures(
    device: CaptureDevice,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[NDArray[np.uint8]]:
    frames: list[NDArray[np.uint8]] = []
    started_s = monotonic()
    while len(frames) < _FRAMES and monotonic() - started_s < _WITHIN_S:
        frame = device.capture()
        if frame is not None and monotonic() - started_s >= _SETTLE_S:
            frames.append(frame.image)
        sleep(0.05)
    if not frames:
        raise NoPictures("no pictures")
    return frames
