"""What a reader meets that is no difference between hands: the drawn hand is still measured, and still its owner's."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare, decide
from hand_geometry.image_decoding import decode_image
from hand_geometry.reference import Reference, make_reference
from hand_geometry.synthetic_hand import encode_jpeg
from hand_geometry.synthetic_people import Look, draw_person, picture_of, ridges_of

Picture = NDArray[np.uint8]
PERSON, PROBE = 4, 3


def noisy(image: Picture) -> Picture:
    grain = np.random.default_rng(1).normal(0.0, 8.0, image.shape)
    return np.asarray(np.clip(image + grain, 0, 255), dtype=np.uint8)


def blurred(image: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), dtype=np.uint8)


def brighter(image: Picture, factor: float = 1.1) -> Picture:
    return np.asarray(np.clip(image * factor, 0, 255), dtype=np.uint8)


def darker(image: Picture) -> Picture:
    return brighter(image, 0.9)


def turned(image: Picture, degrees: float = 5.0) -> Picture:
    matrix = cv2.getRotationMatrix2D((800.0, 640.0), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (1600, 1200), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def turned_back(image: Picture) -> Picture:
    return turned(image, -5.0)


def jpeg_70(image: Picture) -> Picture:
    decoded = decode_image(encode_jpeg(image, 70))
    assert decoded is not None
    return decoded


def other_pegs(image: Picture) -> Picture:
    """Blue pegs become magenta, yellow ones cyan: hues turned wherever the picture is as gaudy as a peg."""
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), dtype=np.uint8)
    gaudy = (hsv[..., 1] > 150) & (hsv[..., 2] > 80)
    hsv[..., 0][gaudy] = (hsv[..., 0][gaudy].astype(int) + 40) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), dtype=np.uint8)


def polished(image: Picture) -> Picture:
    """Dark red nails that reach 2 mm beyond the fingertips: all that is seen of them from the palm's side."""
    nails = np.zeros(image.shape[:2], dtype=np.uint8)
    for ridge in ridges_of(draw_person(PERSON), PROBE)[1:]:
        (x, y), along = ridge[-1, :2], ridge[-1, :2] - ridge[-12, :2]
        x, y = np.array([x, y]) - 8.0 * along / np.hypot(*along)
        cv2.circle(nails, (round(float(x)), round(float(y))), 20, 255, cv2.FILLED, cv2.LINE_AA)
    drawn = image.copy()
    drawn[(nails > 0) & (image[..., 2] < 60)] = (40, 20, 150)
    return drawn


KINDS: dict[str, Callable[[Picture], Picture]] = {
    one.__name__: one for one in (noisy, blurred, brighter, darker, turned, turned_back, jpeg_70, other_pegs, polished)
}
LOOKS = {
    "ring": Look(ring=3),
    "sleeve": Look(sleeve_bgr=(150.0, 60.0, 40.0)),
    "grey_sleeve": Look(sleeve_bgr=(120.0, 120.0, 120.0)),
    "bracelet": Look(sleeve_bgr=(40.0, 180.0, 60.0), sleeve_mm=-30.0),
    "pale": Look(skin=0.0),
    "dark": Look(skin=1.0),
    "warm_lamp": Look(colour_cast=(0.85, 1.0, 1.05)),
    "cold_lamp": Look(colour_cast=(1.15, 1.0, 0.92)),
}


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Three plain placements."""
    samples = [acquire(picture_of(draw_person(PERSON), sample)) for sample in range(3)]
    made = make_reference([one for one in samples if isinstance(one, Features)])
    assert isinstance(made, Reference)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_hand_in_another_picture(kind: str, reference: Reference) -> None:
    """Pins acquisition and match under noise, blur, exposure, turns, compression and other colours."""
    plain = picture_of(draw_person(PERSON), PROBE)
    spoiled = KINDS[kind](plain)
    assert not np.array_equal(plain, spoiled)
    found = acquire(spoiled)
    assert isinstance(found, Features), (kind, found)
    assert decide(compare(reference, found))


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_hand_looking_otherwise(look: str, reference: Reference) -> None:
    """Pins the same for what is worn, for skin of every tone, and for lamps."""
    found = acquire(picture_of(draw_person(PERSON), PROBE, LOOKS[look]))
    assert isinstance(found, Features), (look, found)
    assert decide(compare(reference, found))
