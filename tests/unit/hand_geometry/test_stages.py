"""The stages by themselves: colours, posture, plausibility, and clothes and pegs that must not matter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, compare
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.plausibility import implausible
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.reference import Reference, make_reference
from hand_geometry.silhouette import Platen, Silhouette, find_silhouette
from hand_geometry.synthetic_hand import synthetic_hand
from hand_geometry.working_picture import WorkingPicture

COLOURS_BGR = {"red": (40, 30, 230), "orange": (20, 120, 250), "purple": (200, 40, 160), "green": (60, 200, 60)}


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """One placement of one synthetic person."""
    return synthetic_hand(6, 0)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The same person, enrolled on three other placements."""
    samples = [one for sample in (1, 2, 3) if isinstance(one := acquire(synthetic_hand(6, sample)), Features)]
    made = make_reference(samples)
    assert isinstance(made, Reference)
    return made


def score(reference: Reference, image: NDArray[np.uint8]) -> float:
    """The score of a picture that must be measurable."""
    acquired = acquire(image)
    assert not isinstance(acquired, FailureToAcquire), acquired
    return compare(reference, acquired).value


def pegs_of(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the pegs are."""
    silhouette = find_silhouette(WorkingPicture(image), Platen.DARK)
    assert isinstance(silhouette, Silhouette)
    assert silhouette.foreign is not None
    whole = cv2.resize(silhouette.foreign, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.dilate(whole, np.ones((9, 9), np.uint8)) > 0, dtype=np.bool_)


@pytest.mark.parametrize("colour", COLOURS_BGR)
def test_colour_of_the_pegs_does_not_matter(colour: str, picture: NDArray[np.uint8], reference: Reference) -> None:
    """Pins that a reader may have pegs of any bright colour, even of skin's own hue."""
    image = picture.copy()
    image[pegs_of(picture)] = COLOURS_BGR[colour]
    acquired = acquire(image)
    assert isinstance(acquired, Features)
    assert Posture.GUIDED is acquired.posture
    assert score(reference, image) < DEFAULT_THRESHOLD.value


@pytest.mark.parametrize("sleeve", [(225, 225, 225), (120, 120, 125), (40, 40, 200), (110, 140, 200), (45, 40, 40)])
def test_sleeves_do_not_matter(sleeve: tuple[int, int, int], picture: NDArray[np.uint8], reference: Reference) -> None:
    """Pins that a sleeve over the wrist, wider than it and of any shade, changes no decision."""
    image = picture.copy()
    image[250:1050, 1400:] = sleeve
    assert score(reference, image) < DEFAULT_THRESHOLD.value


@pytest.mark.parametrize("factors", [(0.5, 0.5, 0.5), (0.45, 0.5, 0.62), (1.1, 1.0, 0.85), (1.2, 1.2, 1.2)])
def test_skin_and_light_do_not_matter(
    factors: tuple[float, float, float], picture: NDArray[np.uint8], reference: Reference
) -> None:
    """Pins that darker skin, less light and a colour cast change no decision."""
    image = np.clip(picture * np.array(factors), 0, 255).astype(np.uint8)
    assert score(reference, image) < DEFAULT_THRESHOLD.value


def test_a_ring_does_not_matter(picture: NDArray[np.uint8], reference: Reference) -> None:
    """Pins that a ring, which is thinner than a peg, is not cut out of the finger it sits on."""
    image = picture.copy()
    hand = image[:, :, 2] > 90
    rows = np.nonzero(hand[:, 640])[0]
    parts = np.split(rows, np.nonzero(np.diff(rows) > 3)[0] + 1)
    finger = max(parts, key=len)
    image[finger[0] - 2 : finger[-1] + 3, 640:650] = (60, 190, 230)
    assert score(reference, image) < DEFAULT_THRESHOLD.value


def test_a_hand_without_pegs_lies_freely(picture: NDArray[np.uint8]) -> None:
    """Pins that the posture is seen, not configured: without pegs the numbers for free hands apply."""
    image = picture.copy()
    image[pegs_of(picture)] = (20, 19, 18)
    acquired = acquire(image)
    assert isinstance(acquired, Features)
    assert Posture.FREE is acquired.posture


def test_a_grey_camera_measures_too(picture: NDArray[np.uint8]) -> None:
    """Pins that colour is a help and no need: an infrared camera has none."""
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    grey[pegs_of(picture)] = 19
    assert isinstance(acquire(grey), Features)


def changed(values: NDArray[np.float64], start: str, by: float) -> NDArray[np.float64]:
    """The values with every measurement of that name changed."""
    moved = values.copy()
    moved[[name.startswith(start) for name in FEATURE_NAMES]] += by
    return moved


def test_what_no_hand_has_is_refused(picture: NDArray[np.uint8]) -> None:
    """Pins reasons: a finger too short for its width ends at a web of shadow, other proportions are no hand's."""
    acquired = acquire(picture)
    assert isinstance(acquired, Features)
    values = acquired.values
    assert implausible(values) is None
    assert QualityReason.FINGERS_CLOSED == implausible(changed(values, "ring_length", -0.6))
    assert QualityReason.FINGERS_CLOSED == implausible(changed(values, "middle_length_0", 0.4))
    assert QualityReason.FINGERS_CLOSED == implausible(changed(values, "thumb_length", -1.0))
    assert QualityReason.IMPLAUSIBLE_MEASUREMENT == implausible(changed(values, "index_length", 0.5))
    assert QualityReason.IMPLAUSIBLE_MEASUREMENT == implausible(changed(values, "valley_im", 1.2))
    assert QualityReason.IMPLAUSIBLE_MEASUREMENT == implausible(changed(values, "thumb_bend", np.nan))


def test_size_is_kept(picture: NDArray[np.uint8]) -> None:
    """Pins that a hand is never rescaled: one a tenth larger is another hand."""
    small = cv2.resize(picture, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    smaller = np.full_like(picture, 19)
    smaller[60 : 60 + small.shape[0], 1600 - small.shape[1] :] = small
    one, other = acquire(picture), acquire(smaller)
    assert isinstance(one, Features)
    assert isinstance(other, Features)
    at = FEATURE_NAMES.index("middle_length_0")
    assert abs(np.log(0.9) - (other.values[at] - one.values[at])) < 0.01
    reference = make_reference([one])
    assert isinstance(reference, Reference)
    assert compare(reference, other).value > DEFAULT_THRESHOLD.value


def test_clutter_at_a_fingertip_is_cut_off(picture: NDArray[np.uint8]) -> None:
    """Pins that something that reaches in from the border and touches a finger by a neck does not spoil the hand."""
    hand = np.asarray(cv2.medianBlur((picture[:, :, 2] > 90).astype(np.uint8) * 255, 5), dtype=np.uint8)
    plain = acquire(hand, Platen.SILHOUETTE)
    assert isinstance(plain, Features)
    columns = np.nonzero(hand.any(axis=0))[0]
    tip = int(columns[0])
    row = int(np.nonzero(hand[:, tip + 4])[0].mean())
    cluttered = hand.copy()
    cv2.rectangle(cluttered, (0, row - 110), (tip - 30, row + 90), 255, cv2.FILLED)
    cv2.rectangle(cluttered, (tip - 30, row - 22), (tip + 10, row + 22), 255, cv2.FILLED)
    again = acquire(cluttered, Platen.SILHOUETTE)
    assert isinstance(again, Features)
    lengths = [name.endswith("_length_0") for name in FEATURE_NAMES]
    assert float(np.abs(plain.values - again.values)[lengths].max()) < 0.03


def test_a_finger_that_leaves_the_picture_is_no_clutter(picture: NDArray[np.uint8]) -> None:
    """Pins that a cut finger is never measured as a whole one."""
    image = np.full_like(picture, 19)
    shift = int(np.nonzero((picture[:, :, 2] > 90).any(axis=0))[0][0]) + 60
    image[:, : 1600 - shift] = picture[:, shift:]
    assert FailureToAcquire(QualityReason.HAND_CUT_OFF) == acquire(image)
