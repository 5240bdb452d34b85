"""From a device to the features of a hand: waits until it lies still, takes several frames, keeps the best."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.capture_device import CaptureDevice
from hand_geometry.findings import find_findings
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.platen import PlatenCalibration
from hand_geometry.quality import SAID_ALONE, Finding, PlacedFinding, QualityReason
from hand_geometry.silhouette import Platen
from hand_geometry.working_picture import is_picture

# Frames are compared at this size: a finger is 6 pixels wide, noise is averaged away.
GLANCE_SIZE = (160, 120)
# Mean difference in grey levels between two glances at a hand at rest; sensor noise gives 0.2, a hand drifting by 1 mm
# gives 1.
STILL_DIFFERENCE = 0.6
# A hand that comes or goes changes the picture by more than this.
MOVING_DIFFERENCE = 3.0
# A device without a picture for this long is lost; a camera skips a frame now and then.
LOST_AFTER_S = 1.0
# What is wrong with a hand is said once it has lain so for a moment: fingers are often closed while the hand comes to
# rest.
REASON_HOLDS_S = 0.7
# Of so many measured frames the best is kept.
FRAMES_AT_REST = 3
# Frames are taken for this long after the hand came to rest; with the last measurement it stays under 300 ms.
REST_S = 0.22
# A frame less sharp than this share of the sharpest is left out.
SHARP_SHARE = 0.8
# A simulated device answers at once; a camera's own frame rate is slower than this.
PAUSE_S = 0.01


@dataclass
class _Watch:
    """What has been seen so far in one wait for a hand."""

    measured: Callable[[NDArray[np.uint8]], Features | FailureToAcquire]
    wrong: Callable[[NDArray[np.uint8]], tuple[PlacedFinding, ...]]
    monotonic: Callable[[], float]
    before: NDArray[np.uint8] | None = None
    rest_since_s: float | None = None
    features: list[Features] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    left_at: PlacedFinding | None = None
    reason: QualityReason = QualityReason.NO_HAND
    reason_since_s: float | None = None
    empty: NDArray[np.uint8] | None = None

    def look(self, image: NDArray[np.uint8], now_s: float) -> Features | FailureToAcquire | None:
        """One more frame: the answer, or None where the wait goes on."""
        before, glance = self.before, _glance(image)
        self.before = glance
        if before is None:
            return None
        difference = float(np.mean(cv2.absdiff(before, glance)))
        if difference <= STILL_DIFFERENCE:
            return self._at_rest(image, now_s, new=difference > 0.0)
        if self.features:
            # The hand leaves early: what was measured while it lay still is good.
            return self.best()
        if difference >= MOVING_DIFFERENCE and float(glance.mean()) < float(before.mean()):
            self.left_at = _where(before, glance)
        # A reason holds only while the hand lies: fingers that were closed on the way say nothing of how it will lie.
        self.rest_since_s = self.reason_since_s = None
        return None

    def _at_rest(self, image: NDArray[np.uint8], now_s: float, *, new: bool) -> Features | FailureToAcquire | None:
        since_s = self.rest_since_s = now_s if self.rest_since_s is None else self.rest_since_s
        acquired = self.measured(image)
        if isinstance(acquired, Features):
            self.features.append(acquired)
            self.sharpness.append(_sharpness(image))
        elif not self.features:
            self.empty = image if acquired.reason is QualityReason.NO_HAND else None
            if acquired.reason is not self.reason or self.reason_since_s is None:
                self.reason, self.reason_since_s = acquired.reason, now_s
            elif self.reason is not QualityReason.NO_HAND and now_s - self.reason_since_s >= REASON_HOLDS_S:
                alone = acquired.reason in SAID_ALONE
                return acquired if alone else FailureToAcquire(acquired.reason, self.wrong(image))
        # The very same picture again says nothing new: a recording, a simulation, or a frozen camera.
        enough = not new or len(self.features) >= FRAMES_AT_REST or self.monotonic() - since_s >= REST_S
        return self.best() if self.features and enough else None

    def best(self) -> Features:
        """The best of what was measured at rest."""
        return _best(self.features, self.sharpness)

    def too_late(self) -> FailureToAcquire:
        """Why nothing was measured in time."""
        if self.reason is QualityReason.NO_HAND and self.left_at is not None:
            return FailureToAcquire(self.reason, (self.left_at,))
        if self.reason is QualityReason.NO_HAND and self.empty is not None:
            # Nobody came; what lies there instead of a hand keeps the next one from being measured.
            dirt = tuple(one for one in self.wrong(self.empty) if one.finding is Finding.DIRTY_PLATEN)
            return FailureToAcquire(self.reason, dirt)
        return FailureToAcquire(self.reason)


def capture_hand(
    device: CaptureDevice,
    *,
    timeout_s: float,
    monotonic: Callable[[], float],
    cancelled: Callable[[], bool],
    platen: Platen = Platen.DARK,
    mirrored: bool | None = None,
    calibration: PlatenCalibration | None = None,
    mask: Mask = NO_MASK,
    pause: Callable[[float], None] = time.sleep,
) -> Features | FailureToAcquire:
    """Waits until a hand lies still, measures several frames and keeps the best, or says why not.

    Args:
        device: Where frames come from.
        timeout_s: How long to wait for a hand.
        monotonic: The clock.
        cancelled: Asked between frames; True ends the wait with CANCELLED.
        platen: What the hand lies on.
        mirrored: Which hand is expected; None takes either.
        calibration: As in ``acquire``.
        mask: Which fingers need not be there.
        pause: Sleeps; tests give one that moves their clock.
    """

    def measured(image: NDArray[np.uint8]) -> Features | FailureToAcquire:
        return acquire(image, platen, mirrored=mirrored, calibration=calibration, mask=mask)

    def wrong(image: NDArray[np.uint8]) -> tuple[PlacedFinding, ...]:
        return find_findings(image, platen, mirrored=mirrored, calibration=calibration, mask=mask)

    started_s = last_picture_s = monotonic()
    watch = _Watch(measured, wrong, monotonic)
    while not cancelled():
        frame = device.capture()
        now_s = monotonic()
        answer: Features | FailureToAcquire | None = None
        # What cannot be measured on this reader, whatever lies there, is no picture of it: another size was set, say.
        if frame is not None and is_picture(frame.image) and (calibration is None or calibration.fits(frame.image)):
            last_picture_s = now_s
            answer = watch.look(frame.image, now_s)
        elif watch.features:
            answer = watch.best()
        elif now_s - last_picture_s >= LOST_AFTER_S:
            answer = FailureToAcquire(QualityReason.DEVICE_LOST)
        if answer is None and now_s - started_s >= timeout_s:
            answer = watch.too_late()
        if answer is not None:
            return answer
        pause(PAUSE_S)
    return FailureToAcquire(QualityReason.CANCELLED)


def _best(features: list[Features], sharpness: list[float]) -> Features:
    """Of the sharp frames, the one nearest to the median of all measurements: no single frame's mishap is kept."""
    sharp = np.array(sharpness) >= SHARP_SHARE * max(sharpness)
    kept = [one for one, good in zip(features, sharp, strict=True) if good]
    if len(kept) < FRAMES_AT_REST:
        return features[int(np.argmax(sharpness))]
    values = np.stack([one.values for one in kept])
    away = np.abs(values - np.median(values, axis=0)).sum(axis=1)
    return kept[int(np.argmin(away))]


def _sharpness(image: NDArray[np.uint8]) -> float:
    """Mean step between neighbouring pixels of every fourth row."""
    rows = image[::4, :, 1] if image.ndim == 3 else image[::4]
    return float(np.mean(cv2.absdiff(np.ascontiguousarray(rows[:, 2:]), np.ascontiguousarray(rows[:, :-2]))))


def _glance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(image, GLANCE_SIZE, interpolation=cv2.INTER_AREA)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, dtype=np.uint8)


def _where(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> PlacedFinding:
    """The middle of what became darker: where the hand was."""
    moments = cv2.moments(cv2.subtract(before, now))
    weight = max(float(moments["m00"]), 1e-9)
    x, y = float(moments["m10"]) / weight / now.shape[1], float(moments["m01"]) / weight / now.shape[0]
    return PlacedFinding(Finding.HAND_LEAVING, min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0))
