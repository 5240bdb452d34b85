"""The hand proves the claim: one watch of the camera at a time, one comparison with one reference. Loads OpenCV."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
from numpy.typing import NDArray

from canteen.access_decision import HandStatus
from hand_geometry.acquisition import FailureToAcquire, acquire
from hand_geometry.capture import capture_hand
from hand_geometry.capture_device import CaptureDevice, Frame
from hand_geometry.comparison import Threshold, compare
from hand_geometry.errors import (
    CameraUnavailableError,
    FittedNumbersError,
    ReferenceFormatError,
    UnlikeReadersError,
)
from hand_geometry.focus import LEAST_FOCUS, focus_share
from hand_geometry.hand_frame import drawn_at
from hand_geometry.held_hand import HeldHand, carried_over, compare_held, decode_held, enrolled_about
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.mirror_set_up import check_mirror
from hand_geometry.platen import PlatenCalibration, SheetFinding, check_sheet, without_markers, without_mirror
from hand_geometry.quality import QualityReason
from hand_geometry.reference_codec import decode_reference, encode_reference
from hand_geometry.sheet_dirt import check_ground
from hand_geometry.working_picture import at_working_size
from templates_store.store import StoredReference
from terminal.camera_thread import CameraThread
from terminal.devices import HandAnswer, HandCapture, HandQuestion, LearntHand, PlatenLook, PlatenState

_log = logging.getLogger("canteen.terminal.verification")

_FRAME_WITHIN_S = 1.0
HANGS_S = 1.8
"""Nobody at the lane is without an answer for two seconds; a whole measurement takes a tenth of that."""
_GUARD_PAUSE_S = 0.1
_CLOSE_S = 3.0
_REOPEN_S = 2.0
_LIFT_S = 1.5
"""A hand that is to be laid anew is given this long to move; one that does not is measured as it lies."""
_MOVED_GREY_LEVELS = 3.0
"""Mean difference over the whole frame: a hand at rest stays under 1, one that is lifted changes it by 10 and more."""
_GLANCE_STEP_PX = 16
_PAUSE_S = 0.03
_COVERED_GREY = 3.0
"""Black cloth under the reader's lamp is not quite black; a covered lens is."""
_BRIGHT_GREY = 110
_A_HAND_AT_LEAST = 0.02
_FLAT_IN_A_ROW = 5
"""So many flat things with no hand between them: the mirror itself no longer shows hands."""
_WHOLE_PICTURE = 0.75
"""No hand covers more of the platen."""


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
        self,
        device: CaptureDevice,
        monotonic: Callable[[], float],
        calibration: PlatenCalibration | None = None,
        *,
        calibration_lost: bool = False,
    ) -> None:
        self._device, self._monotonic, self._calibration = device, monotonic, calibration
        self._calibration_lost = calibration_lost
        self._flat_in_a_row = 0
        self._met_mm = False
        """Whether a reference in mm came up here, where nothing is measured in mm."""
        self._thread = CameraThread()
        self._stirred_s = monotonic()
        """When the camera's thread last came back from a call."""
        self._cancelled = threading.Event()
        self._looking: Future[HandCapture] | None = None

    def watch(
        self,
        watch: int,
        timeout_s: float,
        on_capture: Callable[[HandCapture], None],
        *,
        laid_anew: bool,
        mask: Mask | None = None,
    ) -> None:
        self.stop()
        cancelled = self._cancelled = threading.Event()
        looking = self._looking = self._thread.submit(
            partial(self._look, watch, timeout_s, cancelled, laid_anew, mask or NO_MASK)
        )
        looking.add_done_callback(lambda done: _report(done, watch, self._monotonic(), cancelled, on_capture))
        guard = partial(self._guard, watch, self._monotonic(), looking, cancelled, on_capture)
        threading.Thread(target=guard, name="hand-guard", daemon=True).start()

    def stop(self) -> None:
        self._cancelled.set()

    def compare(self, question: HandQuestion) -> HandAnswer:
        try:
            held = decode_held(question.reference.reference, question.memory)
            compared = compare_held(
                held,
                question.features,
                question.at,
                question.today,
                Threshold.at_false_match_rate(1.0 / question.policy.one_stranger_in),
                enrolled_at=enrolled_about(question.reference.revision, question.at),
                first_try=question.first_try,
            )
        except (ReferenceFormatError, FittedNumbersError) as error:
            # Made by another version: the pupil takes the card until the station has enrolled the hand again.
            _log.warning("a stored reference cannot be compared: %s", type(error).__name__)
            return HandAnswer(HandStatus.NO_REFERENCE)
        except UnlikeReadersError as error:
            # Calibrate this reader, or enrol the hand again: a comparison across would be wrong and look right.
            _log.warning("a stored reference cannot be compared: %s, and this reader measures otherwise", error)
            self._met_mm = self._calibration is None
            return HandAnswer(HandStatus.NO_REFERENCE)
        if compared.matched is None:
            return HandAnswer(HandStatus.NO_REFERENCE)
        if not compared.matched:
            return HandAnswer(HandStatus.NOT_MATCHED, wrong_hand=compared.wrong_hand)
        learnt = None if compared.held is None else _learnt(compared.held, advises=compared.advises_enrollment)
        return HandAnswer(HandStatus.MATCHED, learnt=learnt if question.clock_believed else None)

    def is_compared(self, reference: StoredReference, today: date) -> bool:
        try:
            return decode_held(reference.reference).on(today) is not None
        except ReferenceFormatError:
            return True  # `compare` tells, once a hand has been laid

    def mask_of(self, reference: StoredReference, today: date) -> Mask:
        try:
            compared = decode_held(reference.reference).on(today)
        except ReferenceFormatError:
            return NO_MASK  # `compare` tells
        return NO_MASK if compared is None else compared.mask

    def awaits_enrollment(self, reference: StoredReference, memory: bytes | None) -> bool:
        try:
            held = decode_held(reference.reference, memory)
        except ReferenceFormatError:
            return True  # of another version: nothing else helps
        # Or it was made before this reader was calibrated.
        return held.advised or (self._calibration is not None and held.usual is not None and not held.usual.in_mm)

    def carried_over(self, held: StoredReference, memory: bytes, coming: bytes) -> LearntHand | None:
        try:
            return _learnt(carried_over(decode_held(held.reference, memory), decode_held(coming)))
        except ReferenceFormatError:
            return None

    def warm_up(self) -> None:
        """Wake the camera and go the whole way once with a drawn hand, beside the start and for the first pupil."""
        self._thread.submit(self._capture)
        self._thread.submit(self._compare_a_drawn_hand)

    def look_at_platen(self) -> PlatenLook:
        if self._looking is not None and not self._looking.done():
            hangs = self._monotonic() - self._stirred_s > HANGS_S
            return PlatenLook(PlatenState.NO_PICTURE if hangs else PlatenState.BUSY)
        try:
            frame = self._thread.submit(self._capture).result(timeout=_FRAME_WITHIN_S)
        except TimeoutError:
            frame = None
        except Exception as error:  # noqa: BLE001 - whatever breaks a camera is a finding, as in `_report`
            _log.warning("the camera failed: %s", type(error).__name__)
            frame = None
        if frame is None:
            return PlatenLook(PlatenState.NO_PICTURE)
        if self._calibration_lost:
            return replace(_glanced_at(frame.image), state=PlatenState.CALIBRATION_UNREADABLE)
        if self._met_mm:
            return replace(_glanced_at(frame.image), state=PlatenState.NOT_CALIBRATED)
        look = _looked_at(frame.image, self._calibration)
        blind = look.state is PlatenState.EMPTY and self._flat_in_a_row >= _FLAT_IN_A_ROW
        return replace(look, state=PlatenState.MIRROR_BLIND) if blind else look

    def close(self) -> None:
        self.stop()
        self._thread.submit(self._device.close)
        if not self._thread.close(_CLOSE_S):
            _log.warning("the camera's driver does not return; the program ends without it")

    def _look(
        self, watch: int, timeout_s: float, cancelled: threading.Event, laid_anew: bool, mask: Mask
    ) -> HandCapture:
        self._stirred_s = self._monotonic()
        witness = _Witness(self._device, self._monotonic())
        if laid_anew:
            self._await_movement(cancelled)
        seen = capture_hand(
            witness,
            timeout_s=timeout_s,
            monotonic=self._monotonic,
            cancelled=partial(self._stir, cancelled),
            calibration=self._calibration,
            mask=mask,
        )
        if isinstance(seen, FailureToAcquire):
            self._flat_in_a_row += seen.reason in (QualityReason.FLAT_THING, QualityReason.EVEN_HEIGHT)
            worst = next(iter(seen.places), None)
            place = None if worst is None or worst.on_hand is None else drawn_at(worst.on_hand)
            finding = None if worst is None else worst.finding
            return HandCapture(watch, witness.last_frame_s, failure=seen.reason, finding=finding, place=place)
        self._flat_in_a_row = 0
        return HandCapture(watch, witness.last_frame_s, features=seen)

    def _compare_a_drawn_hand(self) -> None:
        """Loads what OpenCV and the comparison load at their first use (120 ms on the machine it was measured on)."""
        from hand_geometry.reference import Reference, make_reference
        from hand_geometry.synthetic_hand import synthetic_hand

        sample = acquire(synthetic_hand(1, 0))
        self._stirred_s = self._monotonic()
        if isinstance(sample, FailureToAcquire):
            return
        reference = make_reference([sample] * 3)
        if isinstance(reference, Reference):
            compare(decode_reference(encode_reference(reference)), sample)

    def _capture(self) -> Frame | None:
        frame = self._device.capture()
        self._stirred_s = self._monotonic()
        return frame

    def _stir(self, cancelled: threading.Event) -> bool:
        """Asked between two frames: the thread lives."""
        self._stirred_s = self._monotonic()
        return cancelled.is_set()

    def _guard(
        self,
        watch: int,
        since_s: float,
        looking: Future[HandCapture],
        cancelled: threading.Event,
        on_capture: Callable[[HandCapture], None],
    ) -> None:
        """A call into a driver may never return, and no exception says so: then this watch is over, and says why."""
        while not looking.done() and not cancelled.wait(_GUARD_PAUSE_S):
            now_s = self._monotonic()
            if now_s - max(since_s, self._stirred_s) > HANGS_S:
                cancelled.set()
                _log.warning("the hand reader hangs")
                on_capture(HandCapture(watch, now_s, failure=QualityReason.DEVICE_LOST))

    def _await_movement(self, cancelled: threading.Event) -> None:
        """Wait until what lies on the platen has moved: the placement that failed must not be measured again."""
        until_s = self._monotonic() + _LIFT_S
        first: NDArray[np.int16] | None = None
        while not cancelled.is_set() and self._monotonic() < until_s:
            frame = self._capture()
            if frame is None:
                return
            glance = frame.image[::_GLANCE_STEP_PX, ::_GLANCE_STEP_PX].astype(np.int16)
            if first is None or first.shape != glance.shape:
                first = glance
            elif float(np.abs(glance - first).mean()) > _MOVED_GREY_LEVELS:
                return
            cancelled.wait(_PAUSE_S)


def _learnt(held: HeldHand, *, advises: bool = False) -> LearntHand | None:
    memory = held.remembered()
    return None if memory is None else LearntHand(held.encoded(), memory, advises)


_SHEET_STATES = {
    SheetFinding.NOT_SEEN: PlatenState.SHEET_NOT_SEEN,
    SheetFinding.MOVED: PlatenState.SHEET_MOVED,
    SheetFinding.COVERED: PlatenState.SHEET_COVERED,
    SheetFinding.DIRTY: PlatenState.SHEET_DIRTY,
    SheetFinding.MIRROR_DIRTY: PlatenState.MIRROR_DIRTY,
}
"""The worst first."""
_LOOKS_LIKE_BLUR = {SheetFinding.DIRTY, SheetFinding.MIRROR_DIRTY}
"""Wiping the sheet would not help."""


def _looked_at(image: NDArray[np.uint8], calibration: PlatenCalibration | None) -> PlatenLook:
    """A glance, and where the sheet is known, the sheet held against what was measured."""
    if calibration is None:
        return _glanced_at(image)
    if not calibration.fits(image):
        # The camera gives pictures of another shape than when the sheet was measured.
        look = replace(_glanced_at(image), calibrated=True)
        return look if look.state is PlatenState.TOO_DARK else replace(look, state=PlatenState.SHEET_NOT_SEEN)
    working = at_working_size(image)
    platen = without_mirror(without_markers(working, calibration), calibration)
    look = replace(_glanced_at(platen), calibrated=True, heights=calibration.measures_heights)
    if look.state is PlatenState.TOO_DARK:
        return look
    look = replace(look, focus=round(focus_share(working, calibration.empty), 2))
    found = check_sheet(image, calibration)
    # A hand lies on the sheet and is seen in the mirror, and is no dirt; a tray or a cloth is no hand.
    if look.state is PlatenState.EMPTY or not _is_a_hand(image, platen, calibration):
        look = replace(look, state=PlatenState.EMPTY)
        sharp = look.focus is not None and look.focus >= LEAST_FOCUS
        found = found or (check_ground(image, calibration) if sharp else [])
        found = found + check_mirror(image, calibration)
    faults = {fault.finding: fault for fault in found}
    if look.focus is not None and look.focus < LEAST_FOCUS and not faults.keys() - _LOOKS_LIKE_BLUR:
        return replace(look, state=PlatenState.BLURRED)
    for finding, state in _SHEET_STATES.items():
        if finding in faults:
            return replace(look, state=state, place=(faults[finding].x, faults[finding].y))
    return look


def _is_a_hand(image: NDArray[np.uint8], platen: NDArray[np.uint8], calibration: PlatenCalibration) -> bool:
    """Whether what lies there may be one: it can be measured, or reaches over the border of (H, W, 3) ``platen``."""
    seen = acquire(image, calibration=calibration)
    border = np.concatenate([platen[0], platen[-1], platen[:, 0], platen[:, -1]])[:, 2]
    return not isinstance(seen, FailureToAcquire) or (
        seen.reason is not QualityReason.NO_HAND and bool((border > _BRIGHT_GREY).any())
    )


def _glanced_at(image: NDArray[np.uint8]) -> PlatenLook:
    """What (H, W, 3) BGR or (H, W) uint8 shows of a dark platen; skin of every tone is bright in red."""
    grey = (image[:, :, 2] if image.ndim == 3 else image)[:: _GLANCE_STEP_PX // 4, :: _GLANCE_STEP_PX // 4]
    mean = float(grey.mean())
    sharpness = float(np.abs(np.diff(grey.astype(np.int16), axis=1)).mean())
    bright = float((grey > _BRIGHT_GREY).mean())
    if mean < _COVERED_GREY:
        state = PlatenState.TOO_DARK
    elif bright > _WHOLE_PICTURE:
        state = PlatenState.TOO_LIGHT
    else:
        state = PlatenState.EMPTY if bright < _A_HAND_AT_LEAST else PlatenState.SOMETHING_LIES
    size_px = f"{image.shape[1]}x{image.shape[0]}"
    return PlatenLook(state, round(mean, 1), round(sharpness, 2), size_px)


class LateCamera:
    """A camera that may be missing when the terminal starts: cards are served, and it is opened when it is there."""

    def __init__(self, open_camera: Callable[[], CaptureDevice], monotonic: Callable[[], float]) -> None:
        self._open_camera, self._monotonic = open_camera, monotonic
        self._camera: CaptureDevice | None = None
        self._not_before_s = 0.0

    def capture(self) -> Frame | None:
        if self._camera is None:
            now_s = self._monotonic()
            if now_s < self._not_before_s:
                return None
            try:
                self._camera = self._open_camera()
            except CameraUnavailableError as error:
                _log.warning("%s", error)
                self._not_before_s = now_s + _REOPEN_S
                return None
        return self._camera.capture()

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


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
