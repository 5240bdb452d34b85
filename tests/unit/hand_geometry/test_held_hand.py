"""What is held of a hand: which reference on which day, what is learnt, and nothing else from any bytes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_geometry.adaptation import start_history
from hand_geometry.comparison import DEFAULT_THRESHOLD
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.growth_model import growth_direction
from hand_geometry.held_hand import (
    HeldComparison,
    HeldHand,
    carried_over,
    compare_held,
    decode_held,
    enrolled_about,
)
from hand_geometry.reference_codec import LARGEST_REFERENCE_BYTES, decode_reference, encode_reference
from tests.unit.hand_geometry.people import NUMBERS, person, probe_at, reference_at, towards

SEPTEMBER = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MINE = reference_at(person(1))
OTHER_HAND = reference_at(person(3), mirrored=True)
UNTIL = date(2026, 10, 1)


def laid(held: HeldHand, place_of: int, day: int = 1, *, mirrored: bool = False) -> HeldComparison:
    """One first try of a person's hand."""
    now = SEPTEMBER + day * DAY
    return compare_held(
        held,
        probe_at(person(place_of), mirrored=mirrored),
        now,
        now.date(),
        DEFAULT_THRESHOLD,
        enrolled_at=SEPTEMBER,
        first_try=True,
    )


def test_a_plain_reference_stays_as_it_is() -> None:
    """Pins that nothing changes on the wire, at rest or for older programs where nothing is to be said."""
    assert encode_reference(MINE) == HeldHand(MINE).encoded()
    assert decode_held(encode_reference(MINE)).usual is not None


def test_the_usual_hand_comes_back_by_itself() -> None:
    """Pins the last day of the other hand, and that the usual one is not compared meanwhile."""
    held = decode_held(HeldHand(MINE, stand_in=OTHER_HAND, until=UNTIL).encoded())
    last = (UNTIL - SEPTEMBER.date()).days
    assert laid(held, 3, last, mirrored=True).matched is True
    meanwhile = laid(held, 1, last)
    assert (False, True) == (meanwhile.matched, meanwhile.wrong_hand)
    assert laid(held, 1, last + 1).matched is True
    assert laid(held, 3, last + 1, mirrored=True).matched is False


def test_a_hand_at_rest_is_not_compared() -> None:
    """Pins the plaster: neither matched nor refused until the day after; a stand-in alone ends in nothing."""
    held = decode_held(HeldHand(MINE, until=UNTIL).encoded())
    last = (UNTIL - SEPTEMBER.date()).days
    assert laid(held, 1, last).matched is None
    assert laid(held, 1, last + 1).matched is True
    alone = decode_held(HeldHand(None, stand_in=OTHER_HAND, until=UNTIL).encoded())
    assert laid(alone, 3, last, mirrored=True).matched is True
    assert laid(alone, 3, last + 1, mirrored=True).matched is None


def test_what_is_learnt_survives_the_bytes_and_a_splint() -> None:
    """Pins growth kept with its anchor in under 256 bytes, and carried over when the station sends the same again."""
    place, held = MINE.values.copy(), HeldHand(MINE)
    for day in range(1, 40):
        now = SEPTEMBER + day * DAY
        probe = probe_at(place + 0.0001 * day * growth_direction(NUMBERS))
        compared = compare_held(held, probe, now, now.date(), DEFAULT_THRESHOLD, enrolled_at=SEPTEMBER, first_try=True)
        assert compared.held is not None
        held = decode_held(compared.held.encoded(), compared.held.remembered())
    assert len(held.encoded()) + len(held.remembered() or b"") <= LARGEST_REFERENCE_BYTES
    assert held.history is not None
    assert held.usual is not None
    assert encode_reference(MINE) == encode_reference(held.history.enrolled)
    assert np.abs(held.usual.values - MINE.values).max() > 0
    splint = decode_held(HeldHand(MINE, stand_in=OTHER_HAND, until=UNTIL).encoded())
    kept = carried_over(held, splint)
    assert kept.usual is not None
    assert np.array_equal(held.usual.values, kept.usual.values)
    assert UNTIL == kept.until
    anew = HeldHand(reference_at(person(1) + 0.5))
    assert carried_over(held, anew) is anew


def test_the_advice_is_given_once() -> None:
    """Pins that rising scores ask for staff one time, not at every meal."""
    held, advised = HeldHand(MINE), 0
    weak = towards(MINE, person(2), DEFAULT_THRESHOLD.value - 0.1)
    for day in range(1, 20):
        now = SEPTEMBER + day * DAY
        compared = compare_held(held, weak, now, now.date(), DEFAULT_THRESHOLD, enrolled_at=SEPTEMBER, first_try=True)
        advised += compared.advises_enrollment
        assert compared.held is not None
        held = decode_held(compared.held.encoded(), compared.held.remembered())
    assert 1 == advised
    assert held.advised
    assert held.usual is not None
    assert encode_reference(MINE) == encode_reference(held.usual)


def test_a_revision_that_is_no_time() -> None:
    """Pins that a number too small, too large or ahead of the clock gives no room to grow."""
    assert SEPTEMBER - DAY == enrolled_about(int((SEPTEMBER - DAY).timestamp()), SEPTEMBER)
    for revision in (1, 2**53, int((SEPTEMBER + DAY).timestamp())):
        assert SEPTEMBER == enrolled_about(revision, SEPTEMBER)


def test_days_that_cannot_be_written() -> None:
    """Pins an error instead of another day."""
    with pytest.raises(ReferenceFormatError):
        HeldHand(MINE, until=date(1999, 1, 1)).encoded()


HELD = HeldHand(MINE, start_history(MINE, SEPTEMBER), OTHER_HAND, UNTIL, advised=True)
WHOLE, MEMORY = HELD.encoded(), HELD.remembered()


@given(st.binary(max_size=900))
def test_no_bytes_raise_anything_else(untrusted: bytes) -> None:
    """Pins the one error for whatever is no held hand."""
    for reference, memory in ((untrusted, None), (WHOLE, untrusted)):
        try:
            decode_held(reference, memory)
        except ReferenceFormatError:
            pass


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_spoiled_bytes(at: int, value: int, length: int) -> None:
    """Pins the same for a byte changed, and for what is cut short."""
    for spoiled in (WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :], WHOLE[:length]):
        try:
            read = decode_held(spoiled)
        except ReferenceFormatError:
            continue
        assert decode_held(read.encoded()).until == read.until


def test_the_parts_are_the_references() -> None:
    """Pins every part's way there and back."""
    read = decode_held(WHOLE, MEMORY)
    assert (WHOLE, MEMORY, True) == (read.encoded(), read.remembered(), read.advised)
    assert read.usual is not None
    assert read.stand_in is not None
    assert np.array_equal(decode_reference(encode_reference(MINE)).values, read.usual.values)
    assert read.stand_in.mirrored
