"""The hand reader over a real capture loop: synthetic hands on the simulated camera, and cameras that misbehave."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from canteen.access_decision import HandStatus
from canteen.hand_policy import HandPolicy
from hand_geometry.acquisition import Features, acquire
from hand_geometry.capture_device import Frame
from hand_geometry.errors import CameraUnavailableError
from hand_geometry.landmarks import Finger
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.reference import Reference, make_reference
from hand_geometry.reference_codec import decode_reference, encode_reference
from hand_geometry.simulated_camera import FrameServer, SimulatedCamera
from hand_geometry.synthetic_hand import encode_jpeg
from hand_geometry.synthetic_people import Look, draw_person, picture_of
from templates_store.store import StoredReference
from terminal.devices import HandCapture, HandQuestion, PlatenState
from terminal.verification import HandVerification, LateCamera
from tests.unit.terminal.lane import CONSENT, NOON, pupil_id
from tests.unit.terminal.test_program import picture, reference_bytes

Reader = tuple[HandVerification, FrameServer, "queue.Queue[HandCapture]"]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    server = FrameServer(tmp_path / "camera.sock")
    server.start()
    verification = HandVerification(SimulatedCamera(tmp_path / "camera.sock", production=False), time.monotonic)
    yield verification, server, queue.Queue()
    verification.close()
    server.stop()


def test_own_and_other_hand(reader: Reader) -> None:
    """A match, a mismatch, and bytes that are no reference, from captures of the same loop."""
    verification, server, captures = reader
    reference = StoredReference(pupil_id(1), 1, CONSENT, reference_bytes(1))
    for identity, expected in ((1, HandStatus.MATCHED), (2, HandStatus.NOT_MATCHED)):
        server.lay(picture(identity, 7))
        verification.watch(identity, 3.0, captures.put, laid_anew=False)
        capture = captures.get(timeout=3)
        assert capture.watch == identity
        assert capture.features is not None
        question = HandQuestion(
            reference, capture.features, NOON, NOON.date(), HandPolicy.USUAL, first_try=True, clock_believed=True
        )
        assert expected is verification.compare(question).status
        damaged = StoredReference(pupil_id(1), 1, CONSENT, b"of another version")
        assert HandStatus.NO_REFERENCE is verification.compare(replace(question, reference=damaged)).status


def test_px_and_mm_are_told_not_compared(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    """A hand enrolled in mm at an uncalibrated reader: the card, a word in the log, and the doctor says what to do."""
    verification, server, captures = reader
    server.lay(picture(1, 7))
    verification.watch(1, 3.0, captures.put, laid_anew=False)
    features = captures.get(timeout=3).features
    assert features is not None
    in_mm = encode_reference(replace(decode_reference(reference_bytes(1)), in_mm=True))
    reference = StoredReference(pupil_id(1), 1, CONSENT, in_mm)
    question = HandQuestion(
        reference, features, NOON, NOON.date(), HandPolicy.USUAL, first_try=True, clock_believed=True
    )
    server.lift()
    assert PlatenState.EMPTY is verification.look_at_platen().state
    assert HandStatus.NO_REFERENCE is verification.compare(question).status
    assert "made in mm" in caplog.text
    assert PlatenState.NOT_CALIBRATED is verification.look_at_platen().state
    assert not verification.awaits_enrollment(reference, None)


def test_a_hand_without_a_finger_under_its_mask(reader: Reader) -> None:
    """With the mask of its reference it is measured and matches; without it the place of the missing finger is said."""
    verification, server, captures = reader
    person, look, mask = draw_person(3), Look(missing=(int(Finger.RING),)), Mask.without([Finger.RING])
    samples = [acquire(picture_of(person, sample, look), mask=mask) for sample in range(3)]
    made = make_reference([one for one in samples if isinstance(one, Features)], mask=mask)
    assert isinstance(made, Reference)
    reference = StoredReference(pupil_id(1), 1, CONSENT, encode_reference(made))
    assert mask == verification.mask_of(reference, NOON.date())
    assert NO_MASK == verification.mask_of(StoredReference(pupil_id(1), 1, CONSENT, b"?"), NOON.date())
    server.lay(encode_jpeg(picture_of(person, 7, look)))
    verification.watch(1, 5.0, captures.put, laid_anew=False)
    capture = captures.get(timeout=5)
    assert (Finding.FINGER_MISSING, True) == (capture.finding, capture.place is not None)
    verification.watch(2, 5.0, captures.put, laid_anew=False, mask=mask)
    capture = captures.get(timeout=5)
    assert capture.features is not None
    question = HandQuestion(
        reference, capture.features, NOON, NOON.date(), HandPolicy.USUAL, first_try=True, clock_believed=True
    )
    assert HandStatus.MATCHED is verification.compare(question).status


def test_stopped_watch_says_nothing(reader: Reader) -> None:
    """A hand laid after the pupil took the card is not reported."""
    verification, server, captures = reader
    verification.watch(1, 5.0, captures.put, laid_anew=False)
    verification.stop()
    server.lay(picture(1, 7))
    verification.watch(2, 5.0, captures.put, laid_anew=False)
    assert 2 == captures.get(timeout=3).watch
    assert captures.empty()


def test_laid_anew_waits_for_the_hand_to_move(reader: Reader) -> None:
    """The placement that failed is not measured again while it lies still; a new one is, at once."""
    verification, server, captures = reader
    server.lay(picture(2, 7))
    started_s = time.monotonic()
    verification.watch(1, 5.0, captures.put, laid_anew=True)
    captures.get(timeout=4)
    assert time.monotonic() - started_s > 1.4
    verification.watch(2, 5.0, captures.put, laid_anew=True)
    time.sleep(0.3)
    server.lift()
    time.sleep(0.2)
    server.lay(picture(1, 7))
    assert captures.get(timeout=5).features is not None


def test_empty_platen_and_lost_camera(reader: Reader) -> None:
    """No hand in time, and a camera that is gone, each by its reason."""
    verification, server, captures = reader
    verification.watch(1, 0.3, captures.put, laid_anew=False)
    assert QualityReason.NO_HAND is captures.get(timeout=3).failure
    assert PlatenState.EMPTY is verification.look_at_platen().state
    server.stop()
    verification.watch(2, 5.0, captures.put, laid_anew=False)
    assert QualityReason.DEVICE_LOST is captures.get(timeout=4).failure


class BrokenCamera:
    """A driver with a bug."""

    def capture(self) -> Frame | None:
        raise ZeroDivisionError("pixel values")

    def close(self) -> None:
        """Nothing is held."""


def test_a_bug_in_the_driver_costs_one_try(caplog: pytest.LogCaptureFixture) -> None:
    """It is a lost device to the lane, named in the log without its message."""
    verification = HandVerification(BrokenCamera(), time.monotonic)
    captures: queue.Queue[HandCapture] = queue.Queue()
    verification.watch(1, 1.0, captures.put, laid_anew=False)
    assert QualityReason.DEVICE_LOST is captures.get(timeout=3).failure
    verification.close()
    assert "ZeroDivisionError" in caplog.text
    assert "pixel values" not in caplog.text


class EmptyPlaten:
    """A camera that works."""

    def capture(self) -> Frame | None:
        return Frame(np.zeros((120, 160, 3), np.uint8), 0.0)

    def close(self) -> None:
        """Nothing is held."""


def test_camera_that_comes_late() -> None:
    """Missing at the start, asked for again no more often than every two seconds, and there when it is there."""
    now_s, plugged, asked = [10.0], [False], [0]

    def open_camera() -> EmptyPlaten:
        asked[0] += 1
        if not plugged[0]:
            raise CameraUnavailableError("the camera cannot be opened")
        return EmptyPlaten()

    camera = LateCamera(open_camera, lambda: now_s[0])
    assert [None, None] == [camera.capture(), camera.capture()]
    assert [1] == asked
    plugged[0] = True
    now_s[0] += 2.1
    assert camera.capture() is not None
    camera.close()


class HangingCamera:
    """A driver that does not return, until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def capture(self) -> Frame | None:
        self.let_go.wait(20)
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def test_hanging_driver_is_told_within_two_seconds() -> None:
    """Every pupil gets an answer, the doctor too, and the program's end does not wait for the driver."""
    camera = HangingCamera()
    verification = HandVerification(camera, time.monotonic)
    captures: queue.Queue[HandCapture] = queue.Queue()
    for watch in (1, 2):
        started_s = time.monotonic()
        verification.watch(watch, 9.0, captures.put, laid_anew=watch > 1)
        capture = captures.get(timeout=5)
        assert (watch, QualityReason.DEVICE_LOST) == (capture.watch, capture.failure)
        assert time.monotonic() - started_s < 2.3
    assert PlatenState.NO_PICTURE is verification.look_at_platen().state
    camera.let_go.set()
    verification.close()
    assert captures.empty()
