"""Fingers left out: what is compared, at which threshold, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_geometry.acquisition import Features
from hand_geometry.comparison import NOT_COMPARABLE, compare, decide
from hand_geometry.errors import FittedNumbersError, ReferenceFormatError
from hand_geometry.fitted_numbers import numbers_for
from hand_geometry.landmarks import Finger
from hand_geometry.mask import NO_MASK, Mask, fingers_of
from hand_geometry.masked_numbers import SUPPORTED_MASKS, numbers_under
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.reference import FailureToEnroll, Reference, make_reference
from hand_geometry.reference_codec import LARGEST_REFERENCE_BYTES, decode_reference, encode_reference
from hand_geometry.silhouette import Platen

NUMBERS = numbers_for(Posture.GUIDED, Platen.DARK)
INVERSE = np.linalg.pinv(NUMBERS.projection)
LAST_DAY = date(2026, 12, 18)


def features(seed: int, sample: int = 0) -> Features:
    """One placement of a person drawn from the fitted variances."""
    place = np.random.default_rng(seed).normal(0.0, np.sqrt(NUMBERS.between))
    noise = np.random.default_rng([seed, sample]).standard_normal(NUMBERS.dimensions)
    return Features(NUMBERS.mean + (place + noise) @ INVERSE, FEATURE_NAMES, Platen.DARK, False, Posture.GUIDED)


def with_splint(one: Features, finger: Finger) -> Features:
    """The same hand with one finger half as wide again."""
    wider = np.array([name.startswith(f"{finger.name.lower()}_width") for name in one.names])
    return replace(one, values=one.values + 0.4 * wider)


def enrolled(seed: int, mask: Mask, finger: Finger | None = None) -> Reference:
    """A reference of three placements, which must come about."""
    samples = [features(seed, sample) for sample in range(3)]
    if finger is not None:
        samples = [with_splint(one, finger) for one in samples]
    made = make_reference(samples, mask=mask)
    assert isinstance(made, Reference)
    return made


@pytest.mark.parametrize("finger", Finger)
def test_what_is_left_out_is_not_compared(finger: Finger) -> None:
    """Pins that a finger in a splint rejects without the mask and changes no bit of the score with it."""
    mask = Mask.without([finger])
    masked, whole = enrolled(1, mask), enrolled(1, NO_MASK)
    probe = features(1, 9)
    assert compare(masked, probe) == compare(masked, with_splint(probe, finger))
    assert decide(compare(masked, probe))
    assert not decide(compare(whole, with_splint(probe, finger)))
    assert not decide(compare(masked, features(2, 9)))


def test_samples_must_agree_only_where_compared() -> None:
    """Pins enrolment with a splint that is put on anew before every placement."""
    samples = [features(1, 0), with_splint(features(1, 1), Finger.RING), features(1, 2)]
    assert FailureToEnroll(QualityReason.SAMPLES_DISAGREE, 1) == make_reference(samples)
    assert isinstance(make_reference(samples, mask=Mask.without([Finger.RING])), Reference)


@pytest.mark.parametrize("mask", SUPPORTED_MASKS[:5])
def test_the_threshold_keeps_its_meaning(mask: Mask) -> None:
    """Pins that strangers drawn from the model pass a masked reference no more often than a few in a thousand.

    What the masks do to real people kept apart is measured by ``canteen-evaluate masks``.
    """
    references = [enrolled(seed, mask) for seed in range(20)]
    passed = [decide(compare(one, features(seed, 5))) for one in references for seed in range(100, 200)]
    assert np.mean(passed) <= 0.004
    assert all(decide(compare(one, features(seed, 5))) for seed, one in enumerate(references))


def test_a_mask_ends() -> None:
    """Pins that after the last day, or when nobody says which day it is, the masked reference opens nothing."""
    reference = enrolled(1, Mask.without([Finger.INDEX], last_day=LAST_DAY))
    probe = features(1, 9)
    assert decide(compare(reference, probe, today=LAST_DAY))
    assert NOT_COMPARABLE == compare(reference, probe, today=date(2026, 12, 19))
    assert NOT_COMPARABLE == compare(reference, probe)
    assert decide(compare(enrolled(1, Mask.without([Finger.INDEX])), probe))


def test_masks_come_back_from_their_bytes() -> None:
    """Pins fingers and last day, the size, and that what has no mask is written as before."""
    for mask in (*SUPPORTED_MASKS, Mask.without([Finger.THUMB], last_day=LAST_DAY)):
        encoded = encode_reference(enrolled(1, mask))
        assert 2 == encoded[0]
        assert len(encoded) <= LARGEST_REFERENCE_BYTES
        assert mask == decode_reference(encoded).mask
        assert encoded == encode_reference(decode_reference(encoded))
    assert 1 == encode_reference(enrolled(1, NO_MASK))[0]


def test_a_reference_of_the_first_version_is_still_read() -> None:
    """Pins bytes as they lie in stores today, written out by hand."""
    stored = bytes.fromhex("01 03 00 03 01020304 02 0100 ff80".replace(" ", ""))
    read = decode_reference(stored)
    assert [1.0, -0.5] == list(read.values)
    assert (True, Posture.GUIDED, Platen.DARK, 3, 0x01020304, NO_MASK) == (
        read.mirrored,
        read.posture,
        read.platen,
        read.sample_count,
        read.numbers_identifier,
        read.mask,
    )


def test_masks_that_make_no_sense_are_refused() -> None:
    """Pins the checks in the type and in the reader."""
    with pytest.raises(ValueError, match="at most"):
        Mask.without([Finger.THUMB, Finger.INDEX, Finger.RING])
    with pytest.raises(ValueError, match="hides nothing"):
        Mask(last_day=LAST_DAY)
    with pytest.raises(FittedNumbersError):
        numbers_under(Posture.GUIDED, Platen.DARK, Mask.without([Finger.THUMB, Finger.LITTLE]))
    with pytest.raises(ReferenceFormatError):
        encode_reference(enrolled(1, Mask.without([Finger.THUMB], last_day=date(1999, 1, 1))))
    encoded = encode_reference(enrolled(1, Mask.without([Finger.THUMB])))
    for bits in (0, 0b111, 0b100001):
        with pytest.raises(ReferenceFormatError):
            decode_reference(encoded[:9] + bytes([bits]) + encoded[10:])


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reader(tail: bytes) -> None:
    """Pins that anything behind the version byte is a reference or the package's own error."""
    try:
        decode_reference(b"\x02" + tail)
    except ReferenceFormatError:
        return


def test_bits_name_fingers() -> None:
    """Pins the order of the bits, which lies in stored bytes."""
    assert 0b00110 == Mask.without([Finger.INDEX, Finger.MIDDLE]).bits
    assert frozenset({Finger.THUMB, Finger.LITTLE}) == fingers_of(0b10001)
