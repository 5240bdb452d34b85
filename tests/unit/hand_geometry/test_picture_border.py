"""A hand that the picture's border cuts is refused as cut off, whichever way it lies, and the screen says which way."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Platen, Seen, acquire, looked_at
from hand_geometry.findings import find_findings
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.synthetic_people import draw_person, picture_of
from hand_geometry.working_picture import WorkingPicture

SIZE = (1600, 1200)
# A fingertip is beyond the border from a millimetre on.
BEYOND_PX = 6.0


@cache
def _whole(identity: int, *, left: bool) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64], bool]:
    """A picture, its five fingertips and the palm's middle in px, and whether it looks like a left hand's palm."""
    image = picture_of(draw_person(identity, age_years=12.0 if identity % 2 else None), 0)
    image = np.ascontiguousarray(image[::-1]) if left else image
    seen = looked_at(WorkingPicture(image), Platen.DARK)
    assert isinstance(seen, Seen)
    tips = 2.0 * np.array(seen.shape.tips_px)
    return image, tips, 2.0 * seen.shape.valleys_px.mean(axis=0), seen.features.mirrored


def _laid(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    moved = cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("identity", [2, 3])
def test_a_fingertip_beyond_the_border(identity: int, left: bool) -> None:
    """Pins that such a hand is never measured nor called the other hand, and nearly never called closed."""
    image, tips, middle, mirrored = _whole(identity, left=left)
    draw = np.random.default_rng([identity, left])
    cut = told = 0
    for _ in range(40):
        matrix = np.array(cv2.getRotationMatrix2D((799.5, 599.5), draw.uniform(-40.0, 40.0), 1.0), dtype=np.float64)
        matrix[:, 2] += draw.uniform(-1.0, 1.0, 2) * (700.0, 540.0)
        at, palm = tips @ matrix[:, :2].T + matrix[:, 2], matrix[:, :2] @ middle + matrix[:, 2]
        beyond = np.concatenate([-at, at - np.array(SIZE) + 1.0]).max()
        if beyond < BEYOND_PX or not (100.0 < palm[0] < 1500.0 and 100.0 < palm[1] < 1100.0):
            continue
        seen = acquire(_laid(image, matrix), mirrored=mirrored)
        assert isinstance(seen, FailureToAcquire)
        assert seen.reason is not QualityReason.WRONG_HAND
        cut, told = cut + 1, told + (seen.reason is QualityReason.HAND_CUT_OFF)
    assert cut >= 10
    assert told >= 0.95 * cut


@pytest.mark.parametrize(("finger", "expected"), [(2, Finding.HAND_TOO_FAR_IN), (0, None), (4, None)])
def test_which_way(finger: int, expected: Finding | None) -> None:
    """Pins that nobody is told to draw back a hand whose little finger or thumb hangs over the side."""
    image, tips, *_ = _whole(2, left=False)
    # Fingers point left and the thumb up.
    x, y = tips[finger] + {2: (30.0, 0.0), 0: (0.0, 30.0), 4: (0.0, -1229.0)}[finger]
    picture = _laid(image, np.array([[1.0, 0.0, -x * (finger == 2)], [0.0, 1.0, -y * (finger != 2)]]))
    assert FailureToAcquire(QualityReason.HAND_CUT_OFF) == acquire(picture)
    found = {one.finding for one in find_findings(picture)}
    assert not found & {Finding.FINGERS_TOUCHING, Finding.FINGER_MISSING}
    assert found & {Finding.HAND_TOO_FAR_IN, Finding.HAND_TOO_FAR_OUT} == ({expected} if expected else set())


@pytest.mark.parametrize("left", [False, True])
def test_a_thumb_over_the_wrists_border(left: bool) -> None:
    """Pins that a thumb spread so far that it lies along the wrist's border is missed, not the gaps between fingers."""
    picture = np.zeros((1200, 1600), dtype=np.uint8)
    cv2.rectangle(picture, (700, 960), (900, 1199), 255, cv2.FILLED)
    cv2.circle(picture, (800, 960), 190, 255, cv2.FILLED)
    for base, tip in ((690, (480, 480)), (765, (700, 380)), (840, (930, 420)), (910, (1140, 560))):
        cv2.line(picture, (base, 850), tip, 255, 72)
    cv2.line(picture, (720, 1020), (340, 1165), 255, 80)
    picture = np.ascontiguousarray(picture[:, ::-1]) if left else picture
    assert FailureToAcquire(QualityReason.HAND_CUT_OFF) == acquire(picture, Platen.SILHOUETTE)
    found = find_findings(picture, Platen.SILHOUETTE)
    assert Finding.HAND_TOO_FAR_OUT in {one.finding for one in found}
    lifted = np.roll(picture, -60, axis=0)
    lifted[-60:] = lifted[-61]
    assert not isinstance(acquire(lifted, Platen.SILHOUETTE), FailureToAcquire)
