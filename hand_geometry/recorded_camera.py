"""Recorded frames in place of a camera, for tests: a folder of pictures in order of their names, or a video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.capture_device import Frame, refuse_in_production
from hand_geometry.image_decoding import read_image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


class RecordedCamera:
    """Gives each recorded frame once, then None, as a camera that was unplugged."""

    def __init__(self, source: Path, *, production: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Takes a folder or a video file; refused in production."""
        refuse_in_production("a recording", production=production)
        self._monotonic = monotonic
        self._frames = _pictures(source) if source.is_dir() else _video(source)

    def capture(self) -> Frame | None:
        """The next frame; None after the last one and for a picture that cannot be read."""
        image = next(self._frames, None)
        return None if image is None else Frame(image, self._monotonic())

    def close(self) -> None:
        """Forgets the remaining frames."""
        self._frames = iter(())


def _pictures(folder: Path) -> Iterator[NDArray[np.uint8] | None]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            yield read_image(path)


def _video(path: Path) -> Iterator[NDArray[np.uint8] | None]:
    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            read, image = capture.read()
            if not read:
                return
            yield np.asarray(image, dtype=np.uint8)
    finally:
        capture.release()
