"""A hand is measured when it lies still: several frames, the best of them, soon after it came to rest."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

import hand_geometry.simulated_reader as cameras
from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.capture import capture_hand
from hand_geometry.capture_device import Frame
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.simulated_camera import empty_platen
from hand_geometry.synthetic_hand import synthetic_hand

FRAME_S = 1.0 / 15.0


class Stream:
    """A camera of fifteen pictures a second on a clock of its own."""

    def __init__(self, pictures: Iterator[NDArray[np.uint8]]) -> None:
        self.now_s = 50.0
        self.shown = 0
        self._pictures = pictures

    def capture(self) -> Frame | None:
        self.now_s += FRAME_S
        picture = next(self._pictures, None)
        self.shown += picture is not None
        return None if picture is None else Frame(picture, self.now_s)

    def close(self) -> None:
        self._pictures = iter(())

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def captured(stream: Stream, timeout_s: float = 3.0) -> Features | FailureToAcquire:
    return capture_hand(
        stream, timeout_s=timeout_s, monotonic=lambda: stream.now_s, cancelled=lambda: False, pause=stream.wait
    )


def noisy(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    grain = np.random.default_rng(seed).normal(0.0, 2.0, (*image.shape[:2], 1))
    return np.asarray(np.clip(image + grain, 0, 255), dtype=np.uint8)


def laid_after(empty: int) -> Iterator[NDArray[np.uint8]]:
    hand = synthetic_hand(3, 0, noise=False)
    for at in range(empty):
        yield noisy(empty_platen(), at)
    for step in (400, 200, 80):
        yield np.roll(hand, step, axis=1)
    for at in range(40):
        yield noisy(hand, 100 + at)


def test_best_of_several_within_300_ms_of_rest() -> None:
    """Pins that three frames are measured and that the answer comes within 300 ms of the first frame at rest."""
    stream = Stream(laid_after(4))
    assert isinstance(captured(stream), Features)
    # The hand lies from frame 8 on; its second frame is the first at which that can be known.
    assert 8 + 3 == stream.shown
    assert 0.3 > (stream.shown - 8) * FRAME_S


def test_a_blurred_frame_is_not_kept() -> None:
    """Pins that of the frames at rest a blurred one is left out."""
    hand = synthetic_hand(3, 0, noise=False)
    blurred = np.asarray(cv2.GaussianBlur(hand, (0, 0), 2.5), dtype=np.uint8)
    stream = Stream(iter([noisy(hand, 1), noisy(blurred, 2), noisy(hand, 3), noisy(hand, 4)]))
    kept, sharp, soft = captured(stream), acquire(noisy(hand, 3)), acquire(noisy(blurred, 2))
    assert isinstance(kept, Features)
    assert isinstance(sharp, Features)
    assert isinstance(soft, Features)
    assert float(np.abs(kept.values - sharp.values).sum()) < float(np.abs(kept.values - soft.values).sum())


def test_a_hand_that_leaves_early_is_measured_all_the_same() -> None:
    """Pins that one frame at rest is enough when the hand goes."""
    hand = synthetic_hand(3, 0, noise=False)
    stream = Stream(iter([noisy(hand, 1), noisy(hand, 2), noisy(empty_platen(), 3)]))
    assert isinstance(captured(stream), Features)


def test_a_hand_that_never_rests_is_said_to_leave() -> None:
    """Pins that a hand pulled back is told from an empty platen, and where it was."""
    hand = synthetic_hand(3, 0, noise=False)
    frames = [np.roll(hand, step, axis=1) for step in (0, 200)] + [noisy(empty_platen(), at) for at in range(60)]
    seen = captured(Stream(iter(frames)))
    assert FailureToAcquire(QualityReason.NO_HAND) == seen
    assert isinstance(seen, FailureToAcquire)
    assert [Finding.HAND_LEAVING] == [place.finding for place in seen.places]
    assert 0.2 < seen.places[0].x < 1.0


def test_an_empty_platen_is_no_hand() -> None:
    """Pins that nothing is said to leave where nothing was."""
    seen = captured(Stream(noisy(empty_platen(), at) for at in range(60)))
    assert isinstance(seen, FailureToAcquire)
    assert (QualityReason.NO_HAND, ()) == (seen.reason, seen.places)


def test_a_hand_cut_off_is_said_with_its_place() -> None:
    """Pins that the screen can point at where the fingers leave the picture."""
    hand = synthetic_hand(6, 0, noise=False)
    deep = np.full_like(hand, 18)
    deep[:, :1250] = hand[:, 350:]
    deep[300:1000, 1200:] = deep[300:1000, 1199:1200]
    seen = captured(Stream(noisy(deep, at) for at in range(40)))
    assert FailureToAcquire(QualityReason.HAND_CUT_OFF) == seen
    assert isinstance(seen, FailureToAcquire)
    assert Finding.HAND_TOO_FAR_IN is seen.places[0].finding
    assert 0.05 > seen.places[0].x


def test_pictures_of_another_shape_are_a_lost_reader() -> None:
    """Pins that a camera whose pictures cannot be measured is a lost device, not a hand that is laid wrongly."""
    lens = cameras.LOW_AND_STRAIGHT
    stream = Stream(noisy(empty_platen()[:900], at) for at in range(60))
    seen = capture_hand(
        stream,
        timeout_s=3.0,
        monotonic=lambda: stream.now_s,
        cancelled=lambda: False,
        calibration=cameras.calibration_of(lens),
        pause=stream.wait,
    )
    assert FailureToAcquire(QualityReason.DEVICE_LOST) == seen
    assert 20 > stream.shown


def test_dirt_where_no_hand_came_is_said_with_its_place() -> None:
    """Pins that somebody is told to wipe the platen; a clean one is only empty."""
    dirty = empty_platen()
    cv2.circle(dirty, (400, 300), 30, (120, 120, 120), cv2.FILLED)
    seen = captured(Stream(noisy(dirty, at) for at in range(60)))
    assert isinstance(seen, FailureToAcquire)
    assert (QualityReason.NO_HAND, [Finding.DIRTY_PLATEN]) == (seen.reason, [one.finding for one in seen.places])
    assert 0.02 > abs(seen.places[0].x - 0.25)


def test_a_reason_holds_only_while_the_hand_lies() -> None:
    """Pins that a hand that moved since it was seen to be cut off gets its moment again, and is then measured."""
    hand = synthetic_hand(3, 0, noise=False)
    cut_off = np.roll(hand, -420, axis=1)
    cut_off[:, -420:] = hand[:, -1:]

    def laid_again() -> Iterator[NDArray[np.uint8]]:
        for at in range(3):
            yield noisy(cut_off, at)
        for at in range(15):
            yield np.roll(cut_off, 60 * (at % 5), axis=0)
        for at in range(3):
            yield noisy(cut_off, 30 + at)
        yield np.roll(hand, 60, axis=1)
        for at in range(20):
            yield noisy(hand, 60 + at)

    assert isinstance(acquire(cut_off), FailureToAcquire)
    assert isinstance(captured(Stream(laid_again()), 6.0), Features)
