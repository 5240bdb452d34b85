"""The server may not reach a hand: the figures it shows are those that were measured."""

from __future__ import annotations

import pytest

from canteen.hand_policy import MEALS_A_WEEK, PEOPLE_MEASURED, PUPILS, REJECTS_A_WEEK, HandPolicy, RejectsAWeek
from hand_geometry.policy import CURVES_FILE, ThresholdPolicy, expected_rejects, read_curves


@pytest.mark.parametrize("policy", HandPolicy)
def test_what_a_school_is_told_is_what_was_measured(policy: HandPolicy) -> None:
    """After a new measurement, `canteen/hand_policy.py` is to say it too."""
    measured = expected_rejects(ThresholdPolicy[policy.name])
    assert round(1 / measured.policy.false_match_rate) == policy.one_stranger_in
    later = measured.a_week if measured.a_week_later is None else measured.a_week_later
    strangers_in = None if measured.strangers_in is None else round(measured.strangers_in)
    low, high = round(measured.a_week_low), round(measured.a_week_high)
    assert RejectsAWeek(low, high, round(later), strangers_in) == REJECTS_A_WEEK[policy]
    assert (measured.pupils, measured.meals) == (PUPILS, MEALS_A_WEEK)
    assert read_curves(CURVES_FILE)["guided"]["people"] == PEOPLE_MEASURED
