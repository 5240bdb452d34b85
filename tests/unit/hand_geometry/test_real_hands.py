"""On real hands, where a folder of them is at hand; none is kept in the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hand_geometry.acquisition import FailureToAcquire
from hand_geometry.fit import acquire_set, cross_validate
from hand_geometry.performance import equal_error_rate, subject_bootstrap
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen

FOLDER = os.environ.get("CANTEEN_HANDS", "")
ON_WHITE = os.environ.get("CANTEEN_HANDS_ON_WHITE", "")


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="CANTEEN_HANDS names no folder of right palms between pegs with an index.csv")
def test_people_kept_apart_are_told_apart() -> None:
    """Pins, on people whom the numbers were not fitted on: equal error rate, failures to acquire, and the posture."""
    measured = acquire_set(Path(FOLDER))
    assert (Platen.DARK, Posture.GUIDED) == (measured.platen, measured.posture)
    assert measured.failures <= 0.03 * len(measured.images)
    rate = subject_bootstrap(cross_validate(measured, seeds=1), equal_error_rate, rounds=20)
    assert rate.value <= 0.015


@pytest.mark.slow
@pytest.mark.skipif(not ON_WHITE, reason="CANTEEN_HANDS_ON_WHITE names no folder of backs of hands on white paper")
def test_on_white_a_refusal_says_what_a_pupil_can_do() -> None:
    """Pins that of hands on white, open and closed, open ones are measured or, as all others, told what to do."""
    measured = acquire_set(Path(ON_WHITE))
    assert Platen.LIGHT is measured.platen
    acquired = measured.acquired
    reasons = [one.reason for one in acquired if isinstance(one, FailureToAcquire)]
    acted_on = {QualityReason.FINGERS_CLOSED, QualityReason.WEB_HIDDEN, QualityReason.HAND_CUT_OFF}
    assert acted_on == set(reasons)
    assert len(acquired) - len(reasons) >= 0.1 * len(acquired)
    assert reasons.count(QualityReason.FINGERS_CLOSED) <= 0.6 * len(acquired)
    assert 0.2 * len(acquired) <= reasons.count(QualityReason.WEB_HIDDEN) <= 0.3 * len(acquired)
    assert reasons.count(QualityReason.HAND_CUT_OFF) <= 0.04 * len(acquired)
