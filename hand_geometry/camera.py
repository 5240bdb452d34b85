"""A real camera over Video4Linux, or anything else that OpenCV opens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import cv2
import numpy as np

from hand_geometry.capture_device import Frame
from hand_geometry.errors import CameraUnavailableError

WIDTH_PX, HEIGHT_PX = 1600, 1200
# Pictures that the driver may have kept from before the call; they are thrown away, so that a frame is of now.
STALE_FRAMES = 1

_log = logging.getLogger("canteen.hand_geometry.camera")


class Camera:
    """A camera that is opened when made, and opened again after it was unplugged."""

    def __init__(self, source: int | str = 0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Opens the camera.

        Raises:
            CameraUnavailableError: There is none; a terminal without its camera does not start.
        """
        self._source = source
        self._monotonic = monotonic
        self._capture: cv2.VideoCapture | None = self._open()
        if self._capture is None:
            raise CameraUnavailableError("the camera cannot be opened")

    def _open(self) -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture(self._source)
        if not capture.isOpened():
            capture.release()
            return None
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, WIDTH_PX)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT_PX)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def capture(self) -> Frame | None:
        """One frame, or None when the camera gives none; the next call then opens it again."""
        if self._capture is None:
            self._capture = self._open()
            if self._capture is None:
                return None
            _log.info("the camera is back")
        for _ in range(STALE_FRAMES):
            self._capture.grab()
        read, image = self._capture.read()
        if not read or image is None:
            _log.warning("the camera gave no picture")
            self.close()
            return None
        return Frame(np.asarray(image, dtype=np.uint8), self._monotonic())

    def close(self) -> None:
        """Releases the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
