"""Error rates from scores, against values counted by hand."""

from __future__ import annotations

import math

import numpy as np

from hand_geometry.performance import (
    TrialScores,
    equal_error_rate,
    false_non_match_rate,
    subject_bootstrap,
)

GENUINE = np.array([-5.0, -4.0, -3.0, -1.0])
IMPOSTOR = np.array([-2.0, 0.0, 1.0, 2.0])


def test_equal_error_rate() -> None:
    """Pins one genuine above one impostor: a quarter each; and nothing wrong where they part."""
    assert 0.25 == equal_error_rate(GENUINE, IMPOSTOR)
    assert 0.0 == equal_error_rate(GENUINE, IMPOSTOR + 10.0)
    assert 1.0 == equal_error_rate(GENUINE, IMPOSTOR - 10.0)


def test_failures_count_as_rejects() -> None:
    """Pins that a picture that could not be measured is never accepted, as genuine or impostor."""
    genuine = np.array([-5.0, -4.0, -3.0, np.inf])
    impostor = np.array([np.inf, 0.0, 1.0, 2.0])
    assert 0.25 == false_non_match_rate(genuine, impostor, 0.25)
    assert 0.25 == equal_error_rate(genuine, impostor + 10.0)


def test_false_non_match_rate_at_a_false_match_rate() -> None:
    """Pins the threshold: the loosest that lets at most the given share of impostors through."""
    assert 0.25 == false_non_match_rate(GENUINE, IMPOSTOR, 0.0)
    assert 0.0 == false_non_match_rate(GENUINE, IMPOSTOR, 0.25)
    assert 0.0 == false_non_match_rate(GENUINE, IMPOSTOR, 1.0)


def test_no_trials_have_no_rate() -> None:
    """Pins that nothing measured is not called zero."""
    none = np.array([])
    assert math.isnan(equal_error_rate(none, IMPOSTOR))
    assert math.isnan(false_non_match_rate(GENUINE, none, 0.01))


def test_bootstrap_holds_the_value_and_repeats() -> None:
    """Pins that the interval encloses the estimate and that the same seed gives the same interval."""
    people = np.array([f"{at:02d}" for at in range(20)])
    generator = np.random.default_rng(3)
    scores = TrialScores(
        generator.normal(-4.0, 1.5, 20),
        people,
        generator.normal(0.0, 1.0, 380),
        np.array([(one, other) for one in people for other in people if one != other]),
    )
    first = subject_bootstrap([scores], equal_error_rate)
    assert first.low <= first.value <= first.high
    assert first == subject_bootstrap([scores], equal_error_rate)
    assert first.value == subject_bootstrap([scores, scores], equal_error_rate).value
