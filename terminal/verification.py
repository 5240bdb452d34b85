"""The hand proves the claim: one watch of the camera at a time, one comparison with one reference. Loads OpenCV."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from canteen.access_decision import HandStatus
from hand_geometry.acquisition import FailureToAcquire, Features, capture_hand
from hand_geometry.capture_device import CaptureDevice, Frame
from hand_geometry.comparison import DEFAULT_THRESHOLD, Threshold, compare, decide
from hand_geometry.errors import FittedNumbersError, ReferenceFormatError
from hand_geometry.quality import QualityReason
from hand_geometry.reference_codec import decode_reference
from templates_store.store import StoredReference
from terminal.devices import HandCapture

_log = logging.getLogger("canteen.terminal.verification")

_LAST_FRAME_S = 1.0


class _Witness:
    """Passes frames through and remembers when the last one was taken: from then on the pupil waits for us."""

    def __init__(self, device: CaptureDevice, now_s: float) -> None:
        self._device = device
        self.last_frame_s = now_s

    def capture(self) -> Frame | None:
        frame = self._device.capture()
        if frame is not None:
            self.last_frame_s = frame.captured_at_s
        return frame

    def close(self) -> None:
        """The device is not ours to close."""


class HandVerification:
    """`HandReader` over a capture device. Its one thread is the camera's only owner."""

    def __init__(
        self, device: CaptureDevice, monotonic: Callable[[], float], threshold: Threshold = DEFAULT_THRESHOLD
    ) -> None:
        self._device, self._monotonic, self._threshold = device, monotonic, threshold
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hand-reader")
        self._cancelled = threading.Event()

    def watch(self, watch: int, timeout_s: float, on_capture: Callable[[HandCapture], None]) -> None:
        self.stop()
        cancelled = self._cancelled = threading.Event()
        looking = self._thread.submit(self._look, watch, timeout_s, cancelled)
        looking.add_done_callback(lambda done: _report(done, watch, self._monotonic(), cancelled, on_capture))

    def stop(self) -> None:
        self._cancelled.set()

    def compare(self, reference: StoredReference, features: Features) -> HandStatus:
        try:
            score = compare(decode_reference(reference.reference), features)
        except (ReferenceFormatError, FittedNumbersError) as error:
            # Made by another version: the pupil takes the card until the station has enrolled the hand again.
            _log.warning("a stored reference cannot be compared: %s", type(error).__name__)
            return HandStatus.NO_REFERENCE
        return HandStatus.MATCHED if decide(score, self._threshold) else HandStatus.NOT_MATCHED

    def sees_the_platen(self) -> bool:
        try:
            return self._thread.submit(self._device.capture).result(timeout=_LAST_FRAME_S) is not None
        except TimeoutError:
            return False

    def close(self) -> None:
        self.stop()
        self._thread.submit(self._device.close)
        self._thread.shutdown(wait=True)

    def _look(self, watch: int, timeout_s: float, cancelled: threading.Event) -> HandCapture:
        witness = _Witness(self._device, self._monotonic())
        seen = capture_hand(witness, timeout_s=timeout_s, monotonic=self._monotonic, cancelled=cancelled.is_set)
        if isinstance(seen, FailureToAcquire):
            return HandCapture(watch, witness.last_frame_s, failure=seen.reason)
        return HandCapture(watch, witness.last_frame_s, features=seen)


def _report(
    done: Future[HandCapture],
    watch: int,
    now_s: float,
    cancelled: threading.Event,
    on_capture: Callable[[HandCapture], None],
) -> None:
    if cancelled.is_set() or done.cancelled():
        return
    error = done.exception()
    if error is None:
        on_capture(done.result())
        return
    # Whatever breaks a camera or a measurement costs one try, not the lane; the type alone is logged, no pixel.
    _log.warning("the hand reader failed: %s", type(error).__name__)
    on_capture(HandCapture(watch, now_s, failure=QualityReason.DEVICE_LOST))
