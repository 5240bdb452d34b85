"""Error rates of a comparator (ISO/IEC 19795-1) from scores, with intervals by resampling subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FALSE_MATCH_RATES = (0.01, 0.001)


@dataclass(frozen=True, eq=False)
class TrialScores:
    """Scores of trials, lower is closer; a failure to acquire or enroll is +inf, so it counts as a reject.

    Attributes:
        genuine: (g,) float64.
        genuine_subjects: (g,) whose hand it was.
        impostor: (i,) float64.
        impostor_subjects: (i, 2) whose reference, whose probe.
    """

    genuine: NDArray[np.float64]
    genuine_subjects: NDArray[np.str_]
    impostor: NDArray[np.float64]
    impostor_subjects: NDArray[np.str_]


def equal_error_rate(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> float:
    """Where the shares of rejected genuine and of accepted impostor trials meet; the mean of both at the nearest
    threshold.
    """
    if not len(genuine) or not len(impostor):
        return math.nan
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.concatenate([[-np.inf], thresholds[np.isfinite(thresholds)]])
    rejected = 1.0 - np.searchsorted(np.sort(genuine), thresholds, side="right") / len(genuine)
    accepted = np.searchsorted(np.sort(impostor), thresholds, side="right") / len(impostor)
    nearest = int(np.argmin(np.abs(rejected - accepted)))
    return float((rejected[nearest] + accepted[nearest]) / 2.0)


def false_non_match_rate(genuine: NDArray[np.float64], impostor: NDArray[np.float64], false_match_rate: float) -> float:
    """Share of genuine trials rejected at the loosest threshold that accepts at most this share of the impostors."""
    if not len(genuine) or not len(impostor):
        return math.nan
    allowed = math.floor(false_match_rate * len(impostor) + 1e-9)
    ordered = np.sort(impostor)
    # Strictly under the first impostor that must not pass.
    limit = ordered[allowed] if allowed < len(ordered) else np.inf
    return float(np.mean(~(genuine < limit)))


@dataclass(frozen=True)
class Estimate:
    """A rate with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % [{100 * self.low:.2f}, {100 * self.high:.2f}]"


def subject_bootstrap(
    scores: TrialScores,
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    *,
    rounds: int = 200,
    seed: int = 0,
) -> Estimate:
    """The statistic with its interval when subjects, not trials, are drawn anew: trials of one person are not
    independent.
    """
    people, genuine_at = np.unique(scores.genuine_subjects, return_inverse=True)
    reference_at = np.searchsorted(people, scores.impostor_subjects[:, 0])
    probe_at = np.searchsorted(people, scores.impostor_subjects[:, 1])
    known = np.isin(scores.impostor_subjects, people).all(axis=1)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        weight = np.bincount(generator.integers(0, len(people), len(people)), minlength=len(people))
        genuine = np.repeat(scores.genuine, weight[genuine_at])
        times = weight[reference_at[known]] * weight[probe_at[known]]
        impostor = np.repeat(scores.impostor[known], times)
        if len(genuine) and len(impostor):
            drawn.append(statistic(genuine, impostor))
    value = statistic(scores.genuine, scores.impostor)
    if not drawn:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def merge(parts: Sequence[TrialScores]) -> TrialScores:
    """Puts the trials of several folds together."""
    return TrialScores(
        np.concatenate([part.genuine for part in parts]),
        np.concatenate([part.genuine_subjects for part in parts]),
        np.concatenate([part.impostor for part in parts]),
        np.concatenate([part.impostor_subjects for part in parts]),
    )
