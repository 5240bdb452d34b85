"""The reference follows the pupil and nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.adaptation import (
    ACROSS_LIMIT,
    LARGEST_GROWTH,
    PASSES_BEFORE_INVITING,
    REFUSALS_BEFORE_INVITING,
    SIZE_SLACK,
    STRONG_MARGIN,
    Adaptation,
    AdaptationHistory,
    AdaptationOutcome,
    adapt,
    decode_history,
    encode_history,
    growth_since,
    start_history,
)
from hand_geometry.comparison import DEFAULT_THRESHOLD, NOT_COMPARABLE, compare, decide
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.fitted_numbers import numbers_for
from hand_geometry.growth_model import (
    FASTEST_YEARLY_GROWTH,
    Sex,
    growth_direction,
    growth_pattern,
    mean_length_mm,
    yearly_growth,
)
from hand_geometry.growth_simulation import simulate_school_year
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.posture import Posture
from hand_geometry.reference import Reference
from hand_geometry.reference_codec import encode_reference
from hand_geometry.silhouette import Platen

SEPTEMBER = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
NUMBERS = numbers_for(Posture.GUIDED, Platen.DARK)
INVERSE = np.linalg.pinv(NUMBERS.projection)
DAY = timedelta(days=1)


def person(seed: int) -> NDArray[np.float64]:
    """A drawn person's place."""
    return np.random.default_rng(seed).normal(0.0, np.sqrt(NUMBERS.between))


def reference_at(place: NDArray[np.float64]) -> Reference:
    """A reference enrolled exactly there."""
    return Reference(place, 3, Platen.DARK, False, Posture.GUIDED, NUMBERS.identifier)


def probe_at(place: NDArray[np.float64]) -> Features:
    """Features that project there."""
    return Features(NUMBERS.mean + place @ INVERSE, FEATURE_NAMES, Platen.DARK, False, Posture.GUIDED)


def shown(
    reference: Reference, probe: Features, now: datetime, history: AdaptationHistory, *, first_try: bool = True
) -> AdaptationOutcome:
    """One pass."""
    return adapt(reference, probe, compare(reference, probe), now, history, first_try=first_try)


def towards(reference: Reference, goal: NDArray[np.float64], score: float) -> Features:
    """The probe on the way to ``goal`` that scores just under ``score``: the best an attacker can shape."""
    near, far = 0.0, 1.0
    for _ in range(30):
        half = (near + far) / 2.0
        probe = probe_at(reference.values + half * (goal - reference.values))
        near, far = (half, far) if compare(reference, probe).value <= score else (near, half)
    return probe_at(reference.values + near * (goal - reference.values))


def test_a_strong_first_try_moves_the_reference_a_little() -> None:
    """Pins the step, the revision, and that the enrolment itself is kept."""
    place = person(1)
    reference = reference_at(place)
    probe = probe_at(place + 0.01 * growth_direction(NUMBERS))
    outcome = shown(reference, probe, SEPTEMBER + DAY, start_history(reference, SEPTEMBER))
    assert Adaptation.UPDATED is outcome.adaptation
    assert 1 == outcome.history.revision
    assert SEPTEMBER + DAY == outcome.history.updated_at
    assert pytest.approx(0.001, abs=1e-4) == growth_since(outcome.reference, outcome.history)
    assert np.array_equal(place, outcome.history.enrolled.values)
    assert not outcome.invites_enrollment


def test_what_does_not_move_it() -> None:
    """Pins later tries, weak matches, a second one the same day, a clock set back, and no match at all."""
    reference = reference_at(person(1))
    history = start_history(reference, SEPTEMBER)
    same, weak = probe_at(reference.values + 0.1), towards(reference, person(2), DEFAULT_THRESHOLD.value)
    updated = shown(reference, same, SEPTEMBER + DAY, history)
    cases = [
        (Adaptation.NOT_FIRST_TRY, shown(reference, same, SEPTEMBER + DAY, history, first_try=False)),
        (Adaptation.WEAK_MATCH, shown(reference, weak, SEPTEMBER + DAY, history)),
        (Adaptation.ALREADY_TODAY, shown(reference, same, SEPTEMBER + DAY + DAY / 2, updated.history)),
        (Adaptation.ALREADY_TODAY, shown(reference, same, SEPTEMBER - DAY, history)),
        (Adaptation.NO_MATCH, shown(reference, probe_at(person(2)), SEPTEMBER + DAY, history)),
        (Adaptation.NO_MATCH, shown(reference, replace(same, mirrored=True), SEPTEMBER + DAY, history)),
    ]
    for expected, outcome in cases:
        assert expected is outcome.adaptation
        assert reference is outcome.reference
    # A caller that passes a better score than the probe has does not move it either.
    lied = adapt(reference, weak, replace(NOT_COMPARABLE, value=-9.0), SEPTEMBER + DAY, history, first_try=True)
    assert Adaptation.WEAK_MATCH is lied.adaptation


def test_a_thousand_tries_just_under_the_threshold_move_nothing() -> None:
    """Pins the attack: every try matches, one a day for three years, and not one byte of the reference changes."""
    reference = reference_at(person(3))
    before, history = encode_reference(reference), start_history(reference, SEPTEMBER)
    probe = towards(reference, person(4), DEFAULT_THRESHOLD.value)
    assert decide(compare(reference, probe))
    for day in range(1, 1001):
        outcome = shown(reference, probe, SEPTEMBER + day * DAY, history)
        reference, history = outcome.reference, outcome.history
    assert before == encode_reference(reference)
    assert 0 == history.revision
    # And somebody is told: such scores are those of a hand that has to be enrolled anew.
    assert outcome.invites_enrollment


@pytest.mark.parametrize("stranger", range(4, 9))
def test_who_can_shape_a_hand_at_will_still_stays_near_the_enrolment(stranger: int) -> None:
    """Pins the bound: strong matches bent towards a stranger, a thousand days on end, do not let him in."""
    reference = reference_at(person(3))
    history, goal = start_history(reference, SEPTEMBER), person(stranger)
    assert not decide(compare(reference, probe_at(goal)))
    for day in range(1, 1001):
        probe = towards(reference, goal, DEFAULT_THRESHOLD.value - STRONG_MARGIN)
        outcome = shown(reference, probe, SEPTEMBER + day * DAY, history)
        reference, history = outcome.reference, outcome.history
        if outcome.adaptation is Adaptation.BEYOND_GROWTH and history.refusals >= REFUSALS_BEFORE_INVITING:
            break
    assert outcome.invites_enrollment
    direction = growth_direction(NUMBERS)
    grown = growth_since(reference, history)
    assert -SIZE_SLACK <= grown <= LARGEST_GROWTH
    assert np.linalg.norm(reference.values - person(3) - grown * direction) <= ACROSS_LIMIT
    assert not decide(compare(reference, probe_at(goal)))


def test_faster_than_any_child_is_refused() -> None:
    """Pins that a month cannot hold a year's growth, and that a year can."""
    reference = reference_at(person(5))
    grown = probe_at(reference.values + 0.05 * growth_direction(NUMBERS))
    for days, expected in ((30, Adaptation.BEYOND_GROWTH), (365, Adaptation.UPDATED)):
        now, history = SEPTEMBER + days * DAY, start_history(reference, SEPTEMBER)
        nearly = replace(reference, values=reference.values + 0.03 * growth_direction(NUMBERS))
        assert expected is shown(nearly, grown, now, history).adaptation


def test_rising_scores_invite_before_the_first_reject() -> None:
    """Pins the invitation while every pass still matches."""
    reference = reference_at(person(6))
    history, invited_after = start_history(reference, SEPTEMBER), 0
    for step in range(400):
        probe = probe_at(reference.values + 0.0004 * step * growth_direction(NUMBERS))
        if not decide(compare(reference, probe)):
            break
        # A shared reader where updates are switched off: only the scores are kept.
        outcome = shown(reference, probe, SEPTEMBER + step * DAY, history, first_try=False)
        history = outcome.history
        if outcome.invites_enrollment and not invited_after:
            invited_after = step
    assert PASSES_BEFORE_INVITING < invited_after < step - 3


def test_a_school_year_of_growth() -> None:
    """Pins the bound on rejects with updates, that without them grown hands are rejected, and the seed."""
    followed, fixed = simulate_school_year(150, seed=1), simulate_school_year(150, updates=False, seed=1)
    assert followed.end.value <= 1.5 * max(followed.start.value, 0.005)
    assert fixed.end.value > 3.0 * followed.end.value
    assert fixed.ratio.low < fixed.end.value / fixed.start.value < fixed.ratio.high
    assert followed.ratio.high < fixed.ratio.low
    assert followed.stranger_rate <= 0.002
    assert followed == simulate_school_year(150, seed=1)


def test_the_table_of_growth() -> None:
    """Pins lengths at 17 to grown people's, the fastest year, and that bends do not grow."""
    assert 193.3 == mean_length_mm(Sex.BOY, 17)
    assert 181.1 == mean_length_mm(Sex.GIRL, 30)
    assert pytest.approx(8.5) == mean_length_mm(Sex.BOY, 14) - mean_length_mm(Sex.BOY, 13)
    assert 0.0 == yearly_growth(Sex.GIRL, 17)
    assert 0.045 < FASTEST_YEARLY_GROWTH < 0.055
    pattern = growth_pattern(breadth=0.5)
    assert {0.0, 0.5, 1.0} == set(pattern)
    assert 0.0 == pattern[FEATURE_NAMES.index("index_bend_10")]


def test_a_history_comes_back_from_its_bytes() -> None:
    """Pins every field, and that reference and history together are small."""
    reference = reference_at(np.round(person(7)))
    history = AdaptationHistory(reference, SEPTEMBER, SEPTEMBER + DAY, 17, -4.5, 20, 2)
    encoded = encode_history(history)
    assert len(encoded) + len(encode_reference(reference)) <= 256
    again = decode_history(encoded)
    assert encoded == encode_history(again)
    for name in ("enrolled_at", "updated_at", "revision", "usual_score", "matches", "refusals"):
        assert getattr(history, name) == getattr(again, name), name
    fresh = decode_history(encode_history(start_history(reference, SEPTEMBER)))
    assert (None, None) == (fresh.updated_at, fresh.usual_score)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader_of_histories(untrusted_bytes: bytes) -> None:
    """Pins that outside bytes are a history or the package's own error."""
    try:
        decode_history(untrusted_bytes)
    except ReferenceFormatError:
        return
