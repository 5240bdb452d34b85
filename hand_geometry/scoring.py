"""The arithmetic of a comparison: how much likelier one hand than two, and how rare a stranger so near is.

The model is probabilistic linear discriminant analysis with two Gaussians (S. Ioffe, ECCV 2006): people differ with the
variances ``between``, pictures of one person with variance one. The score is the negated logarithm of the likelihood
ratio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hand_geometry.fitted_numbers import FittedNumbers


def raw_score(
    numbers: FittedNumbers, reference: NDArray[np.float64], sample_count: int, probe: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Negated log likelihood ratio of (…, k) probes to a (k,) reference, the mean of ``sample_count`` samples."""
    between = numbers.between
    posterior = between / (sample_count * between + 1.0)
    expected = sample_count * posterior * reference
    terms = (
        (probe - expected) ** 2 / (posterior + 1.0)
        - probe**2 / (between + 1.0)
        + np.log((posterior + 1.0) / (between + 1.0))
    )
    return np.asarray(0.5 * terms.sum(axis=-1), dtype=np.float64)


def calibrated(numbers: FittedNumbers, raw: NDArray[np.float64] | float) -> float:
    """log10 of the share of strangers that come as near: -3 is one in a thousand. Rises strictly with the raw score."""
    table = numbers.calibration
    value = float(raw)
    at, rate = table[:, 0], table[:, 1]
    if value <= at[0]:
        slope = (rate[1] - rate[0]) / (at[1] - at[0])
        return float(rate[0] + slope * (value - at[0]))
    if value >= at[-1]:
        slope = (rate[-1] - rate[-2]) / (at[-1] - at[-2])
        return float(rate[-1] + slope * (value - at[-1]))
    return float(np.interp(value, at, rate))
