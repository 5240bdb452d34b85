"""Measurements belong to the hand: they do not move with its place, its turn, its mirror image or a little noise."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, compare
from hand_geometry.reference import Reference, make_reference
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import CLOTH_BGR, synthetic_hand

PEOPLE = 4
# Logarithms of lengths: 2 % of a width of 80 px is 1.6 px. Bends are parts of a length and move less.
LARGEST_SHIFT = 0.02

SLOW = settings(max_examples=12, deadline=None)


@cache
def picture(identity: int) -> NDArray[np.uint8]:
    """A hand with room around it, so that it can be moved and turned."""
    wide = np.full((1200, 1600, 3), CLOTH_BGR, dtype=np.uint8)
    small = cv2.resize(synthetic_hand(identity, 0), None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    wide[150 : 150 + small.shape[0], 200 : 200 + small.shape[1]] = small
    return wide


def features_of(image: NDArray[np.uint8]) -> Features:
    """The features of a picture that must be measurable."""
    acquired = acquire(image)
    assert not isinstance(acquired, FailureToAcquire), acquired
    return acquired


@cache
def measured(identity: int) -> Features:
    """The features of the picture as it is."""
    return features_of(picture(identity))


def moved(image: NDArray[np.uint8], degrees: float, right_px: float, down_px: float) -> NDArray[np.uint8]:
    """The picture turned about its middle and shifted, on cloth."""
    matrix = cv2.getRotationMatrix2D((800.0, 600.0), degrees, 1.0)
    matrix[:, 2] += np.array([right_px, down_px])
    return np.asarray(
        cv2.warpAffine(image, matrix, (1600, 1200), flags=cv2.INTER_CUBIC, borderValue=CLOTH_BGR), dtype=np.uint8
    )


def shift(one: Features, other: Features) -> float:
    """Largest change of any measurement."""
    return float(np.abs(one.values - other.values).max())


@SLOW
@given(
    identity=st.integers(0, PEOPLE - 1),
    right_px=st.floats(-90.0, 90.0),
    down_px=st.floats(-90.0, 90.0),
)
def test_translation(identity: int, right_px: float, down_px: float) -> None:
    """Pins that it does not matter where on the platen the hand lies."""
    assert shift(measured(identity), features_of(moved(picture(identity), 0.0, right_px, down_px))) < LARGEST_SHIFT


@SLOW
@given(identity=st.integers(0, PEOPLE - 1), degrees=st.floats(-25.0, 25.0))
def test_rotation(identity: int, degrees: float) -> None:
    """Pins that it does not matter how the hand is turned."""
    assert shift(measured(identity), features_of(moved(picture(identity), degrees, 0.0, 0.0))) < LARGEST_SHIFT


@SLOW
@given(identity=st.integers(0, PEOPLE - 1), upright=st.booleans())
def test_mirror(identity: int, upright: bool) -> None:
    """Pins that a mirrored hand has the same measurements and is known as the other hand."""
    image = picture(identity)
    mirrored = features_of(np.ascontiguousarray(image[::-1] if upright else image[:, ::-1]))
    assert shift(measured(identity), mirrored) < LARGEST_SHIFT
    assert mirrored.mirrored is not measured(identity).mirrored


@SLOW
@given(
    identity=st.integers(0, PEOPLE - 1),
    seed=st.integers(0, 2**31 - 1),
    sigma=st.floats(0.5, 6.0),
    gain=st.floats(0.85, 1.1),
)
def test_noise_and_light(identity: int, seed: int, sigma: float, gain: float) -> None:
    """Pins that grain of the sensor and a weaker or stronger lamp change no decision and hardly a measurement."""
    noise = np.random.default_rng(seed).normal(0.0, sigma, (1200, 1600, 1))
    noisy = np.clip(picture(identity) * gain + noise, 0, 255).astype(np.uint8)
    again = features_of(noisy)
    assert shift(measured(identity), again) < 2 * LARGEST_SHIFT
    reference = make_reference([measured(identity)])
    assert isinstance(reference, Reference)
    assert compare(reference, again).value < DEFAULT_THRESHOLD.value


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    height=st.integers(160, 400),
    width=st.integers(160, 400),
    grains=st.integers(1, 40),
    platen=st.sampled_from(list(Platen)),
    colour=st.booleans(),
)
def test_any_pixels_give_a_value(seed: int, height: int, width: int, grains: int, platen: Platen, colour: bool) -> None:
    """Pins that no picture raises: blobs of every size, in colour or grey, are measured or refused on every platen."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (grains, grains, 3) if colour else (grains, grains)).astype(np.uint8)
    image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    assert isinstance(acquire(image, platen), Features | FailureToAcquire)


@settings(max_examples=25, deadline=None)
@given(
    identity=st.integers(0, PEOPLE - 1),
    x=st.integers(200, 1400),
    y=st.integers(150, 1050),
    width=st.integers(5, 700),
    height=st.integers(5, 500),
    grey=st.integers(0, 255),
    platen=st.sampled_from(list(Platen)),
)
def test_a_hand_partly_covered_gives_a_value(
    identity: int, x: int, y: int, width: int, height: int, grey: int, platen: Platen
) -> None:
    """Pins that a hand with a block of any shade over it is measured or refused, never an error."""
    image = picture(identity).copy()
    cv2.rectangle(image, (x, y), (x + width, y + height), (grey, grey, grey), cv2.FILLED)
    assert isinstance(acquire(image, platen), Features | FailureToAcquire)
