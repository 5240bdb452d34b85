"""What hands lie on is told from their pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.findings import find_findings
from hand_geometry.ground import platen_among, platen_in
from hand_geometry.overlay import draw_overlay
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand
from tests.unit.hand_geometry.paper import on_paper


def test_the_rim_shows_the_ground() -> None:
    """Pins the four grounds, each with drawn hands."""
    for identity in range(5):
        hand = synthetic_hand(identity, 0)
        black = np.asarray(np.where(hand.max(axis=2, keepdims=True) > 90, 255, 0), dtype=np.uint8).repeat(3, axis=2)
        grey = cv2.cvtColor(cv2.cvtColor(hand, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        assert platen_in(hand) is Platen.DARK
        assert platen_in(on_paper(identity, 1.0)) is Platen.LIGHT
        assert platen_in(np.asarray(255 - grey, dtype=np.uint8)) is Platen.BACKLIT
        assert platen_in(black) is Platen.SILHOUETTE


def test_most_pictures_decide_and_none_are_dark(tmp_path: Path) -> None:
    """Pins that an odd or broken picture is outvoted, and that a list of nothing readable has an answer."""
    paths = [tmp_path / f"{at}.jpg" for at in range(7)]
    for at, path in enumerate(paths):
        path.write_bytes(encode_jpeg(on_paper(at, 1.0) if at % 3 else synthetic_hand(at, 0)))
    paths[1].write_bytes(b"\xff\xd8 no picture")
    assert platen_among(paths[1:]) is Platen.LIGHT
    assert platen_among([tmp_path / "none.jpg"]) is Platen.DARK
    assert platen_among([]) is Platen.DARK


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.bool_, np.int64, np.complex128])
@pytest.mark.parametrize(
    "shape",
    [(), (9,), (0, 0), (0, 0, 3), (1, 500, 3), (500, 1, 3), (300, 400), (300, 400, 4), (2, 3, 4, 3), (300, 0, 3)],
)
def test_no_array_makes_the_evaluation_raise(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Pins that whatever is no picture is said to be none, by every look at it; NaN where the type has it."""
    image = np.full(shape, np.nan if dtype in (np.float32, np.float64) else 1, dtype=dtype)
    assert platen_in(image) in list(Platen)
    for platen in Platen:
        assert isinstance(acquire(image, platen), FailureToAcquire)
        drawn, reason = draw_overlay(image, platen)
        assert np.dtype(np.uint8) == drawn.dtype
        assert 3 == drawn.ndim
        assert reason is not None
        assert isinstance(find_findings(image, platen), list | tuple)


def test_the_same_picture_however_it_lies_in_memory() -> None:
    """Pins that a picture that is read-only, turned inside out in memory or grey is seen like any other."""
    image = synthetic_hand(3, 0)
    kept = image.copy()
    kept.flags.writeable = False
    for one in (kept, np.asfortranarray(image), np.ascontiguousarray(image[:, ::-1])[:, ::-1]):
        assert platen_in(one) is platen_in(image)
        found, expected = acquire(one), acquire(image)
        assert isinstance(found, Features)
        assert isinstance(expected, Features)
        assert np.array_equal(found.values, expected.values)
    assert platen_in(image[..., 1]) is Platen.DARK
