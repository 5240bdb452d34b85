"""The side mirror: heights in mm on every reader, what they refuse, and what they add. All people here are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, compare, decide
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.height_numbers import height_numbers
from hand_geometry.height_profile import HEIGHT_STATIONS, HIGHEST_MM, LEAST_RISE, no_hand_from_the_side, rise_of
from hand_geometry.height_simulation import drawn_rises, mirrored_features
from hand_geometry.landmarks import Finger
from hand_geometry.mask import Mask
from hand_geometry.platen import PlatenCalibration
from hand_geometry.presentation_attacks import FOAM_MM, paper_cut_out
from hand_geometry.quality import QualityReason
from hand_geometry.reference import Heights, Reference, make_reference
from hand_geometry.reference_codec import LARGEST_REFERENCE_BYTES, decode_reference, encode_reference
from hand_geometry.simulated_reader import (
    LOW_AND_STRAIGHT,
    OTHER_WITH_MIRROR,
    WITH_MIRROR,
    SimulatedLens,
    calibration_of,
    laid_seen,
    sheet,
)
from hand_geometry.synthetic_people import NO_GRAIN, draw_person, picture_of, ridges_of


def seen(identity: int, sample: int, lens: SimulatedLens = WITH_MIRROR) -> Features:
    """One placement that must be measurable."""
    found = mirrored_features(draw_person(identity), sample, lens)
    assert isinstance(found, Features), (identity, sample, found)
    return found


def laid(high_mm: float) -> Features | FailureToAcquire:
    """White board of that thickness, cut out along the outline of person 1."""
    person = draw_person(1)
    paper = paper_cut_out(picture_of(person, 3, NO_GRAIN))
    assert paper is not None
    ridges = [np.column_stack([one[:, :2], np.full(len(one), high_mm)]) for one in ridges_of(person, 3, NO_GRAIN)]
    return acquire(laid_seen(WITH_MIRROR, paper, [1], ridges), calibration=calibration_of(WITH_MIRROR))


@pytest.fixture(scope="module")
def enrolled() -> Reference:
    """Person 1, three placements on the reader with a mirror."""
    reference = make_reference([seen(1, sample) for sample in range(3)])
    assert isinstance(reference, Reference)
    return reference


def test_the_mirror_lies_where_the_calibration_says() -> None:
    """Pins that points before the mirror are found in the picture within a pixel, from what the camera learnt."""
    points = np.array([[-40.0, 90.0, 0.0], [0.0, 110.0, 20.0], [60.0, 100.0, 45.0]])
    assert WITH_MIRROR.mirror is not None
    learnt = calibration_of(WITH_MIRROR).seen_in_mirror(points, (1600, 1200))
    true = WITH_MIRROR.seen_at(WITH_MIRROR.mirror.image_of(points), sheet())
    assert 1.0 > float(np.abs(learnt - true).max())


@pytest.mark.parametrize("identity", [0, 1, 2])
def test_two_readers_measure_the_same_heights(identity: int) -> None:
    """Pins the side view within a mm across cameras and mirrors, where no finger ends in between."""
    one, other = seen(identity, 0), seen(identity, 0, OTHER_WITH_MIRROR)
    assert one.heights is not None
    assert other.heights is not None
    assert 1.0 > float(np.median(np.abs(np.exp(one.heights) - np.exp(other.heights))))


def test_heights_are_the_drawn_ones() -> None:
    """Pins that the palm's height is measured as it was drawn, within one part in twenty."""
    person = draw_person(1)
    palm = ridges_of(person, 0, NO_GRAIN)[0]
    heights = seen(1, 0).heights
    assert heights is not None
    assert float(np.exp(heights).max()) == pytest.approx(float(palm[:, 2].max()), rel=0.05)


def test_what_is_flat_is_refused_and_needs_no_reference() -> None:
    """Pins the defence against paper and prints, also for pupils enrolled without a mirror."""
    assert FailureToAcquire(QualityReason.FLAT_THING) == laid(0.3)


@pytest.mark.parametrize("thick_mm", [10.0, FOAM_MM, 30.0])
def test_a_board_is_refused_however_thick(thick_mm: float) -> None:
    """Pins that what is everywhere as high is no hand, and that nobody's score is asked."""
    assert FailureToAcquire(QualityReason.EVEN_HEIGHT) == laid(thick_mm)


def test_a_hand_rises_far_more_than_a_board() -> None:
    """Pins the room on both sides of the bound, on grown people and children."""
    for identity in range(4):
        heights = mirrored_features(draw_person(identity, age_years=11.0 if identity % 2 else None), 0)
        assert isinstance(heights, Features)
        assert heights.heights is not None
        assert 1.3 * LEAST_RISE < rise_of(np.exp(heights.heights))


def test_what_is_drawn_rises_as_it_is_measured() -> None:
    """Pins the quick way to many placements: as through lens and mirror within a fifth, and never near the bound."""
    rises = drawn_rises(12)
    assert 1.3 * LEAST_RISE < float(rises.min())
    measured = mirrored_features(draw_person(1), 0)
    assert isinstance(measured, Features)
    assert measured.heights is not None
    assert 0.2 > abs(float(np.log(rises[3] / rise_of(np.exp(measured.heights)))))


@given(arrays(np.float64, len(HEIGHT_STATIONS), elements=st.floats(0.0, HIGHEST_MM)))
def test_heights_are_judged_whatever_they_are(heights: NDArray[np.float64]) -> None:
    """Pins that no profile raises anything, and that its order does not matter."""
    found = no_hand_from_the_side(heights)
    assert found in (None, QualityReason.FLAT_THING, QualityReason.EVEN_HEIGHT)
    assert found is no_hand_from_the_side(heights[::-1])


def test_heights_only_count_against(enrolled: Reference) -> None:
    """Pins that no height makes anybody nearer than the outline alone: the rates of the outline stay upper bounds."""
    for identity in (1, 2, 3):
        probe = seen(identity, 3)
        alone = compare(enrolled, replace(probe, heights=None)).value
        assert compare(enrolled, probe).value >= alone
        assert compare(enrolled, replace(probe, heights=np.full(len(HEIGHT_STATIONS), np.log(20.0)))).value > alone
    assert decide(compare(enrolled, seen(1, 3)), DEFAULT_THRESHOLD)


def test_without_heights_on_either_side_the_outline_decides(enrolled: Reference) -> None:
    """Pins that references and readers with and without a mirror mix."""
    probe = seen(1, 3)
    plain = compare(replace(enrolled, heights=None), replace(probe, heights=None))
    assert plain == compare(replace(enrolled, heights=None), probe) == compare(enrolled, replace(probe, heights=None))
    assert enrolled.heights is not None
    other_numbers = replace(enrolled, heights=Heights(enrolled.heights.values, 1))
    assert plain == compare(other_numbers, probe)


def test_a_reader_without_a_mirror_has_no_heights() -> None:
    """Pins that a calibrated camera alone measures as before."""
    image = laid_seen(LOW_AND_STRAIGHT, picture_of(draw_person(1), 0, NO_GRAIN), [1])
    found = acquire(image, calibration=calibration_of(LOW_AND_STRAIGHT))
    assert isinstance(found, Features)
    assert found.heights is None


def test_heights_are_stored_in_few_bytes(enrolled: Reference) -> None:
    """Pins size, version and that nothing is lost but the last bits."""
    encoded = encode_reference(enrolled)
    assert LARGEST_REFERENCE_BYTES >= len(encoded)
    assert 3 == encoded[0]
    read = decode_reference(encoded)
    assert read.heights is not None
    assert enrolled.heights is not None
    assert height_numbers().identifier == read.heights.numbers_identifier
    assert 1 / 256 > float(np.abs(read.heights.values - enrolled.heights.values).max())
    assert encoded == encode_reference(read)
    for cut in range(len(encoded)):
        with pytest.raises(ReferenceFormatError):
            decode_reference(encoded[:cut])


def test_fingers_left_out_leave_the_heights_out() -> None:
    """Pins that a splint, which is high, is not held against a pupil."""
    reference = make_reference([seen(1, sample) for sample in range(3)], mask=Mask.without([Finger.RING]))
    assert isinstance(reference, Reference)
    assert reference.heights is None


def test_any_picture_gives_a_value() -> None:
    """Pins that a reader with a mirror raises nothing, whatever it sees."""
    calibration: PlatenCalibration = calibration_of(WITH_MIRROR)
    draw = np.random.default_rng(5)
    pictures: list[NDArray[np.uint8]] = [
        draw.integers(0, 256, (1200, 1600, 3), dtype=np.uint8),
        np.full((1200, 1600, 3), 255, np.uint8),
        draw.integers(0, 256, (600, 800), dtype=np.uint8),
    ]
    for picture in pictures:
        assert isinstance(acquire(picture, calibration=calibration), (Features, FailureToAcquire))
