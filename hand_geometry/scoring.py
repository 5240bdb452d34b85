"""The arithmetic of a comparison: how much likelier one hand than two, and how rare a stranger so near is.

The model is probabilistic linear discriminant analysis with two Gaussians (S. Ioffe, ECCV 2006): people differ with the
variances ``between``, pictures of one person with variance one. The score is the negated logarithm of the likelihood
ratio.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from hand_geometry.fitted_numbers import FittedNumbers


def raw_score(
    numbers: FittedNumbers, reference: NDArray[np.float64], sample_count: int, probe: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Negated log likelihood ratio of (…, k) probes to a (k,) reference, the mean of ``sample_count`` samples."""
    expected, near, far, constant = _weights(numbers, sample_count)
    beside = probe - expected * reference
    return np.asarray((beside * beside) @ near - (probe * probe) @ far + constant, dtype=np.float64)


# As many as a terminal meets: a handful of postures and platens, each with few counts of samples.
@functools.lru_cache(maxsize=32)
def _weights(
    numbers: FittedNumbers, sample_count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """What a reference is multiplied with, (k,), what squares are, of one hand and of two, (k,) each, and the rest."""
    between = numbers.between
    posterior = between / (sample_count * between + 1.0)
    constant = float(np.log((posterior + 1.0) / (between + 1.0)).sum())
    return sample_count * posterior, 0.5 / (posterior + 1.0), 0.5 / (between + 1.0), 0.5 * constant


def nearest_score(numbers: FittedNumbers, sample_count: int) -> float:
    """The raw score of a probe exactly where it is expected, for a hand like the mean of all: about the lowest."""
    posterior = numbers.between / (sample_count * numbers.between + 1.0)
    return float(0.5 * np.log((posterior + 1.0) / (numbers.between + 1.0)).sum())


def calibrated(numbers: FittedNumbers, raw: NDArray[np.float64] | float, sample_count: int) -> float:
    """log10 of the share of strangers that come as near: -3 is one in a thousand. Rises strictly with the raw score.

    ``sample_count`` is that of the reference: the mean of three pictures lies nearer to its owner, and so to strangers
    in other numbers, than one picture does.
    """
    table = numbers.rates_for(sample_count)
    value = float(raw)
    at, rate = table[:, 0], table[:, 1]
    if value <= at[0]:
        slope = (rate[1] - rate[0]) / (at[1] - at[0])
        return float(rate[0] + slope * (value - at[0]))
    if value >= at[-1]:
        slope = (rate[-1] - rate[-2]) / (at[-1] - at[-2])
        return float(rate[-1] + slope * (value - at[-1]))
    return float(np.interp(value, at, rate))
