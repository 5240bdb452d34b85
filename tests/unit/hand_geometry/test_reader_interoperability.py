"""Two simulated readers exchange their people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hand_geometry.evaluate import EXIT_OK, main
from hand_geometry.reader_interoperability import exchange


def test_a_ratio_is_across_over_same() -> None:
    """Pins which trials count as same and as across, and that a failure to acquire is a reject of either."""
    scores = np.full((50, 2, 2, 2), -9.0)
    scores[:10, 0, 0, 0] = np.inf
    scores[:10, 1, 0, 0] = scores[:10, 0, 1, 1] = 0.0
    found = exchange(scores, -3.0)
    assert (0.05, 0.1) == pytest.approx((found.same, found.across))
    assert (2.0, 2.0, 2.0) == pytest.approx((found.ratio.value, found.ratio.low, found.ratio.high))
    nobody = exchange(scores, np.inf)
    assert (0.0, 0.0) == (nobody.same, nobody.across)
    assert math.isnan(nobody.ratio.value)


@pytest.mark.slow
def test_the_command_tells_both_rates(capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that a calibrated reader takes the other's people at a threshold in use, and that others do not."""
    assert EXIT_OK == main(["readers", "--people", "1"])
    told = capsys.readouterr().out
    assert "1 people, 0 more could not be enrolled" in told
    assert "at the threshold of 0.1%: 0.00% on the same reader, 0.00% across" in told
    assert "without calibration, 100.0% are refused across" in told
