"""The rates of strangers hold on people not used to fit, and measuring them anew leaves references readable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.discriminant import LabelledSet, Recipe
from hand_geometry.fitted_numbers import NUMBERS_FILE, FittedNumbers, load_numbers, read_provenance, save_numbers
from hand_geometry.posture import Posture
from hand_geometry.scoring import calibrated, raw_score
from hand_geometry.stranger_rates import SAMPLE_COUNTS, fit_numbers

FEATURES = 24


def drawn(people: int, pictures: int, seed: int) -> LabelledSet:
    """People who differ in 24 features, and pictures of each."""
    draw = np.random.default_rng(seed)
    places = draw.normal(0.0, np.linspace(3.0, 1.0, FEATURES), (people, FEATURES))
    values = np.repeat(places, pictures, axis=0) + draw.standard_normal((people * pictures, FEATURES))
    return LabelledSet(values, np.repeat(np.array([f"{at:03d}" for at in range(people)]), pictures))


@pytest.fixture(scope="module")
def fitted() -> FittedNumbers:
    """Numbers of forty people."""
    return fit_numbers([drawn(40, 4, 1)], [], Recipe(0.3, 0.0, 0.0, 16))


def strangers(numbers: FittedNumbers, count: int) -> NDArray[np.float64]:
    """Scores of all pairs of a hundred and fifty new people."""
    fresh = drawn(150, 4, 2)
    projected = numbers.project(fresh.values).reshape(150, 4, -1)
    return np.array(
        [
            calibrated(numbers, float(raw), count)
            for at in range(150)
            for raw in raw_score(numbers, projected[at, :count].mean(axis=0), count, np.delete(projected[:, 0], at, 0))
        ]
    )


@pytest.mark.parametrize("count", SAMPLE_COUNTS)
def test_strangers_pass_as_often_as_said(fitted: FittedNumbers, count: int) -> None:
    """Pins the meaning of a threshold for references of one, two and three pictures, within what forty people tell."""
    scores = strangers(fitted, count)
    assert 0.003 <= np.mean(scores <= -2.0) <= 0.03
    assert np.mean(scores <= -3.0) <= 0.004
    assert 0.05 <= np.mean(scores <= -1.0) <= 0.2


def test_more_pictures_count_as_three(fitted: FittedNumbers) -> None:
    """Pins that no table is lacking, and that numbers without tables are read as they were."""
    assert fitted.rates_for(7) is fitted.rates[3]
    assert fitted.rates_for(0) is fitted.calibration
    assert replace(fitted, rates={}).rates_for(1) is fitted.calibration


def test_new_rates_leave_references_readable(tmp_path: Path) -> None:
    """Pins that the tables do not enter the identifier that references carry."""
    shipped = load_numbers(NUMBERS_FILE)
    moved = {
        posture: replace(numbers, rates={count: table - 0.5 for count, table in numbers.rates.items()})
        for posture, numbers in shipped.items()
    }
    save_numbers(tmp_path / "numbers.npz", moved, read_provenance())
    again = load_numbers(tmp_path / "numbers.npz")
    for posture in Posture:
        assert again[posture].identifier == shipped[posture].identifier
        assert np.allclose(again[posture].rates[3], shipped[posture].rates[3] - 0.5, atol=1e-3)
