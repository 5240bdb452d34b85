"""What a school's threshold means."""

from __future__ import annotations

from pathlib import Path

import pytest

from hand_geometry.comparison import DEFAULT_THRESHOLD
from hand_geometry.errors import FittedNumbersError
from hand_geometry.evaluate import EXIT_OK, main
from hand_geometry.fitted_numbers import read_provenance
from hand_geometry.policy import CURVES_FILE, ThresholdPolicy, expected_rejects, read_curves
from hand_geometry.posture import Posture


def test_the_usual_policy_is_the_default_threshold() -> None:
    """Pins the three choices to their thresholds."""
    assert DEFAULT_THRESHOLD == ThresholdPolicy.USUAL.threshold
    assert [-2.0, -3.0, -4.0] == [policy.threshold.value for policy in ThresholdPolicy]


@pytest.mark.parametrize("posture", Posture)
def test_a_stricter_school_rejects_more(posture: Posture) -> None:
    """Pins the order, that the interval holds the figure, and that nothing seen is never sold as nothing."""
    weeks = [expected_rejects(policy, posture=posture) for policy in ThresholdPolicy]
    assert [2400, 2400, 2400] == [one.meals for one in weeks]
    assert sorted(one.a_week for one in weeks) == [one.a_week for one in weeks]
    for one in weeks:
        assert one.a_week_low <= one.a_week <= one.a_week_high
        assert one.a_week_high > 0.0
    half = expected_rejects(ThresholdPolicy.STRICT, posture=posture, pupils=300)
    assert pytest.approx(weeks[2].a_week / 2) == half.a_week


def test_curves_say_where_they_come_from() -> None:
    """Pins the provenance, and that the sets are those the shipped numbers were fitted on."""
    fitted = {one["name"] for one in read_provenance()["sets"]}
    for curve in read_curves(CURVES_FILE).values():
        assert {"set", "people", "pictures", "measured_on", "protocol", "folds"} <= set(curve)
        assert curve["set"] in fitted


def test_what_a_head_of_school_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """Pins both languages, and the command."""
    expected = expected_rejects(ThresholdPolicy.USUAL)
    assert "0,1 % (un inconnu sur 1000)" in expected.sentence()
    assert "600 pupils and 2400 meals" in expected.sentence("en")
    assert EXIT_OK == main(["policy", "--pupils", "250", "--language", "en"])
    assert "250 pupils" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2, "curves": {}}', '{"format": 1}'])
def test_curves_that_cannot_be_read_are_an_error(tmp_path: Path, content: str) -> None:
    """Pins the package's own error."""
    broken = tmp_path / "curves.json"
    broken.write_text(content)
    with pytest.raises(FittedNumbersError):
        read_curves(broken)
