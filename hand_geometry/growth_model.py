"""How children's hands grow: how much in a year at each age, and in which direction of the compared space.

The yearly gains are an estimate: median stature by age (CDC growth charts, 2000) times the ratio of hand length to
stature of adults in ANSUR II (Gordon et al., 2014). No survey of children's hands stands behind them.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.measurements import FEATURE_NAMES


class Sex(StrEnum):
    """Only simulations ask: no reference holds it."""

    GIRL = "girl"
    BOY = "boy"


# Gain in hand length in mm in the year that ends at the age.
FIRST_AGE, LAST_AGE = 11, 17
YEARLY_GAIN_MM = {
    Sex.BOY: (5.4, 6.1, 7.7, 8.5, 6.7, 3.9, 2.0),
    Sex.GIRL: (6.7, 8.0, 6.6, 3.6, 1.6, 0.8, 0.4),
}
# Mean hand length of grown people in ANSUR II.
ADULT_LENGTH_MM = {Sex.BOY: 193.3, Sex.GIRL: 181.1}
DAYS_A_YEAR = 365.25


def mean_length_mm(sex: Sex, age_years: float) -> float:
    """Mean hand length at an age; under ten as at ten, from seventeen on grown."""
    gains = YEARLY_GAIN_MM[sex]
    at_ages = ADULT_LENGTH_MM[sex] - np.append(np.cumsum(gains[::-1])[::-1], 0.0)
    return float(np.interp(age_years, np.arange(FIRST_AGE - 1, LAST_AGE + 1), at_ages))


def yearly_growth(sex: Sex, age_years: float) -> float:
    """Growth of the mean hand in the year from this age on, as a difference of logarithms: 0.05 is 5 %."""
    return float(np.log(mean_length_mm(sex, age_years + 1.0) / mean_length_mm(sex, age_years)))


# The fastest year of the table. References hold neither age nor sex, so this bounds everybody.
FASTEST_YEARLY_GROWTH = max(yearly_growth(sex, age) for sex in Sex for age in range(FIRST_AGE - 1, LAST_AGE))


def growth_pattern(*, breadth: float = 1.0) -> NDArray[np.float64]:
    """What growing by one unit of logarithm does to each feature, (n,) float64: ``breadth`` is the share of widths."""
    pattern = []
    for name in FEATURE_NAMES:
        if "_bend_" in name:
            pattern.append(0.0)
        else:
            pattern.append(breadth if "_width_" in name else 1.0)
    return np.array(pattern)


def growth_direction(numbers: FittedNumbers) -> NDArray[np.float64]:
    """The same in the projected space, (k,) float64: every length and width grows alike."""
    return np.asarray(growth_pattern() @ numbers.projection, dtype=np.float64)
