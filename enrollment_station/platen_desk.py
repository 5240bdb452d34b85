"""The station's hand reader on its printed sheet: calibrated once, so that a hand passes at every terminal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hand_geometry.image_decoding import decode_image
from hand_geometry.kept_calibration import keep_calibration, load_calibration
from hand_geometry.mirror_set_up import MirrorEdge, check_mirror, mirror_beside, told_before, with_block
from hand_geometry.platen import PlatenCalibration, SheetFault, SheetFinding, calibrate, check_sheet
from hand_geometry.platen_sheet import PAPERS, platen_sheet
from hand_geometry.sheet_dirt import check_ground

FRAMES = 5
"""Pictures of the empty sheet: corners are averaged over them."""
LOWEST_MM, HIGHEST_MM = 50, 3000


@dataclass(slots=True)
class PlatenDesk:
    """What the station's camera learnt of the sheet."""

    path: Path
    measuring: threading.Lock
    """One picture at a time, with the enrolment."""
    calibration: PlatenCalibration | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.calibration = load_calibration(self.path)

    def calibrate(
        self,
        untrusted_images: Sequence[bytes],
        paper: str,
        camera_height_mm: float | None,
        mirror: tuple[MirrorEdge, float] | None = None,
    ) -> PlatenCalibration | SheetFault:
        """Find the sheet in pictures of the empty platen, and keep what was learnt. Raises OSError.

        A mirror is told by the sheet's edge along which it stands, and how far outside of it, in mm.
        """
        with self.measuring:
            frames = [frame for image in untrusted_images if (frame := decode_image(image)) is not None]
            found = calibrate(frames, platen_sheet(paper), camera_height_mm=camera_height_mm)
            if isinstance(found, PlatenCalibration) and mirror is not None:
                found = replace(found, mirror=mirror_beside(PAPERS[paper], *mirror))
            return self._kept(found)

    @property
    def told(self) -> tuple[str, tuple[MirrorEdge, float] | None]:
        """Paper and mirror as they were given, so that a form need not be filled in anew."""
        return (next(iter(PAPERS)), None) if self.calibration is None else told_before(self.calibration)

    def measure_block(self, untrusted_images: Sequence[bytes]) -> PlatenCalibration | SheetFault | None:
        """Find the camera's height, and a mirror's lean, in pictures of the labelled block on the sheet.

        None where the sheet was never measured. Raises OSError.
        """
        with self.measuring:
            if self.calibration is None:
                return None
            frames = [frame for image in untrusted_images if (frame := decode_image(image)) is not None]
            return self._kept(with_block(frames, self.calibration))

    def _kept(self, found: PlatenCalibration | SheetFault) -> PlatenCalibration | SheetFault:
        if isinstance(found, PlatenCalibration):
            keep_calibration(found, self.path)
            self.calibration = found
        return found

    def check(self, untrusted_image: bytes) -> list[SheetFault] | None:
        """What is wrong with the empty platen; None where nothing was ever measured."""
        with self.measuring:
            if self.calibration is None:
                return None
            frame = decode_image(untrusted_image)
            if frame is None:
                return [SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)]
            faults = self.faults(frame) or check_ground(frame, self.calibration)
            return faults + check_mirror(frame, self.calibration)

    def faults(self, frame: NDArray[np.uint8]) -> list[SheetFault]:
        """The same of a picture in memory; the caller measures."""
        return [] if self.calibration is None else check_sheet(frame, self.calibration)

    def is_elsewhere(self, frame: NDArray[np.uint8]) -> bool:
        """Whether the picture is of another camera, or this one has moved: a hand on it would be measured wrong."""
        return any(fault.finding in (SheetFinding.NOT_SEEN, SheetFinding.MOVED) for fault in self.faults(frame))
