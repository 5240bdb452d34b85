"""Figures: percentiles are samples that were seen, the JSON line is the last one and has its five fields."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.figures import Better, Figure, Report, median, percentile, print_report

SAMPLES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=200)


@given(SAMPLES, st.floats(min_value=0.001, max_value=1.0))
def test_percentile_is_the_smallest_sample_that_covers_the_share(samples: list[float], share: float) -> None:
    """Nearest rank: at least `share` of all lie at or below it, and fewer below it."""
    value = percentile(samples, share)
    assert value in samples
    assert sum(sample <= value for sample in samples) >= share * len(samples)
    assert sum(sample < value for sample in samples) < share * len(samples)


def test_known_percentiles() -> None:
    """With up to 100 samples the 99th percentile is the worst one."""
    assert 50.0 == median([float(value) for value in range(1, 101)])
    assert 99.0 == percentile([float(value) for value in range(1, 101)], 0.99)
    assert 60.0 == percentile([float(value) for value in range(1, 61)], 0.99)


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_no_percentile_of_nothing(samples: list[float], share: float) -> None:
    """Nothing was measured: there is no figure for it."""
    with pytest.raises(ValueError, match="percentile"):
        percentile(samples, share)


def test_goal_depends_on_direction() -> None:
    """A goal is an upper bound for what should be low, a lower one for what should be high."""
    assert Figure("a", "a", 1.0, "s", 1.0).reaches_goal
    assert not Figure("a", "a", 1.1, "s", 1.0).reaches_goal
    assert Figure("a", "a", 1.1, "s", 1.0, Better.HIGHER).reaches_goal
    assert not Figure("a", "a", 0.9, "s", 1.0, Better.HIGHER).reaches_goal


def test_last_line_is_the_json_list() -> None:
    """Programs read the last line alone, however narrow the table is."""
    output = io.StringIO()
    figures = (Figure("x.y", "une mesure", 1.23456, "ratio", 2.0), Figure("z", "autre", 7.0, "s", 9.0, Better.HIGHER))
    print_report(Report("titre", figures, ("une remarque [entre crochets]",)), Console(file=output, width=40))
    lines = output.getvalue().splitlines()
    assert [
        {"figure": "x.y", "value": 1.235, "unit": "ratio", "goal": 2.0, "better": "lower"},
        {"figure": "z", "value": 7.0, "unit": "s", "goal": 9.0, "better": "higher"},
    ] == json.loads(lines[-1])
    assert "[entre crochets]" in output.getvalue()
