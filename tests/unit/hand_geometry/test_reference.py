"""Enrolment, its bytes, and the comparison."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hand_geometry.acquisition import Features
from hand_geometry.comparison import DEFAULT_THRESHOLD, NOT_COMPARABLE, ComparisonScore, Threshold, compare, decide
from hand_geometry.errors import FittedNumbersError, ReferenceFormatError, UnlikeReadersError
from hand_geometry.fitted_numbers import numbers_for, read_provenance
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.reference import FailureToEnroll, Reference, make_reference
from hand_geometry.reference_codec import LARGEST_REFERENCE_BYTES, decode_reference, encode_reference
from hand_geometry.scoring import calibrated
from hand_geometry.silhouette import Platen


def enrolled(samples: list[Features]) -> Reference:
    """A reference that must come about."""
    reference = make_reference(samples)
    assert isinstance(reference, Reference), reference
    return reference


def test_one_two_and_three_samples_enroll(people: list[list[Features]]) -> None:
    """Pins that evaluation may enroll on any number of samples, and that no sample is a failure."""
    for count in (1, 2, 3, 4):
        assert count == enrolled(people[0][:count]).sample_count
    assert FailureToEnroll(QualityReason.TOO_FEW_SAMPLES) == make_reference([])


def test_another_persons_sample_is_named(people: list[list[Features]]) -> None:
    """Pins that the odd placement is found, so that only that one is asked again."""
    samples = [people[0][0], people[7][0], people[0][1]]
    assert FailureToEnroll(QualityReason.SAMPLES_DISAGREE, 1) == make_reference(samples)


def test_a_sample_of_the_other_hand_is_named(people: list[list[Features]]) -> None:
    """Pins that left and right are never mixed in one reference."""
    samples = [*people[0][:2], replace(people[0][2], mirrored=True)]
    assert FailureToEnroll(QualityReason.SAMPLES_DISAGREE, 2) == make_reference(samples)


def test_samples_of_two_platens_disagree(people: list[list[Features]]) -> None:
    """Pins that what was measured under other conditions is not averaged."""
    samples = [people[0][0], replace(people[0][1], platen=Platen.SILHOUETTE)]
    assert FailureToEnroll(QualityReason.SAMPLES_DISAGREE) == make_reference(samples)


def test_mm_and_px_are_never_compared(people: list[list[Features]]) -> None:
    """Pins that a reference says in its bytes how it was measured, and that a probe measured otherwise is an error."""
    in_px = people[0][:4]
    in_mm = [replace(sample, in_mm=True) for sample in in_px]
    for samples, other in ((in_px, in_mm), (in_mm, in_px)):
        reference = decode_reference(encode_reference(enrolled(samples[:3])))
        assert decide(compare(reference, samples[3]))
        with pytest.raises(UnlikeReadersError):
            compare(reference, other[3])
        assert FailureToEnroll(QualityReason.SAMPLES_DISAGREE) == make_reference([*samples[:2], other[2]])


def test_bytes_are_few_and_lose_nothing(people: list[list[Features]]) -> None:
    """Pins at most 256 bytes, and scores that quantisation moves by less than a hundredth."""
    for samples in people[:10]:
        reference = enrolled(samples[:3])
        encoded = encode_reference(reference)
        assert len(encoded) <= LARGEST_REFERENCE_BYTES
        again = decode_reference(encoded)
        assert reference.mirrored == again.mirrored
        assert reference.platen == again.platen
        for probe in (samples[3], people[11][0]):
            assert abs(compare(reference, probe).value - compare(again, probe).value) < 0.01
        assert encoded == encode_reference(again)


def test_broken_bytes_are_refused(people: list[list[Features]]) -> None:
    """Pins that a changed, cut or lengthened reference is an error and never a score."""
    encoded = encode_reference(enrolled(people[0][:3]))
    changed = [b"\x02" + encoded[1:], encoded[:2] + b"\x09" + encoded[3:]]
    for untrusted_bytes in [b"", encoded[:-1], encoded + b"\0", encoded * 9, *changed]:
        with pytest.raises(ReferenceFormatError):
            decode_reference(untrusted_bytes)


def test_other_numbers_are_an_error_not_a_score(people: list[list[Features]]) -> None:
    """Pins that a reference of another version of the fitted numbers is never compared as if it were of this one."""
    reference = replace(enrolled(people[0][:3]), numbers_identifier=1)
    with pytest.raises(FittedNumbersError):
        compare(reference, people[0][3])


def test_other_hand_or_platen_never_matches(people: list[list[Features]]) -> None:
    """Pins that what cannot be compared is further than everything."""
    reference = enrolled(people[0][:3])
    assert NOT_COMPARABLE == compare(reference, replace(people[0][3], mirrored=True))
    assert NOT_COMPARABLE == compare(reference, replace(people[0][3], platen=Platen.SILHOUETTE))
    assert not decide(NOT_COMPARABLE)


def test_threshold_says_how_many_strangers_pass() -> None:
    """Pins the direction and the meaning of the score."""
    assert -3.0 == DEFAULT_THRESHOLD.value
    assert decide(ComparisonScore(-3.5))
    assert not decide(ComparisonScore(-2.5))
    assert math.isclose(-2.0, Threshold.at_false_match_rate(0.01).value)
    with pytest.raises(ValueError, match="rate"):
        Threshold.at_false_match_rate(0.0)


def test_calibration_rises_strictly() -> None:
    """Pins that calibrating a score never changes the order of two."""
    for posture in Posture:
        numbers = numbers_for(posture, Platen.DARK)
        assert set(numbers.rates) == {1, 2, 3}
        for count in range(5):
            scores = [calibrated(numbers, raw, count) for raw in np.linspace(-60.0, 200.0, 500)]
            assert all(one < other for one, other in pairwise(scores))


def test_numbers_say_where_they_come_from() -> None:
    """Pins the provenance: which sets, how many people and pictures, and when."""
    provenance = read_provenance()
    assert {"fitted_on", "sets"} <= set(provenance)
    for one in provenance["sets"]:
        assert {"name", "platen", "posture", "subjects", "pictures"} <= set(one)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_no_number_is_neither_enrolled_nor_written(people: list[list[Features]], odd: float) -> None:
    """Pins that a failed measurement never becomes the mean of all people."""
    sample = people[0][0]
    spoiled = replace(sample, values=np.full_like(sample.values, odd))
    assert FailureToEnroll(QualityReason.IMPLAUSIBLE_MEASUREMENT) == make_reference([sample, spoiled, spoiled])
    reference = make_reference([sample])
    assert isinstance(reference, Reference)
    with pytest.raises(ReferenceFormatError):
        encode_reference(replace(reference, values=np.full_like(reference.values, odd)))
