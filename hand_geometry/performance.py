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
    """Where the rates of rejected genuine and of accepted impostor trials meet: their mean at the nearest threshold."""
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


def _weighted(scores: TrialScores, weights: dict[str, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Genuine and impostor scores, each as often as its people were drawn."""
    genuine = np.array([weights.get(str(one), 0) for one in scores.genuine_subjects], dtype=np.intp)
    people, at = np.unique(scores.impostor_subjects, return_inverse=True)
    drawn = np.array([weights.get(str(one), 0) for one in people], dtype=np.intp)[at.reshape(-1, 2)]
    return np.repeat(scores.genuine, genuine), np.repeat(scores.impostor, drawn.prod(axis=1))


def subject_bootstrap(
    folds: Sequence[TrialScores],
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    *,
    rounds: int = 200,
    seed: int = 0,
) -> Estimate:
    """The statistic's mean over folds, with its interval when subjects are drawn anew.

    Trials of one person are not independent, so whole people are drawn. Folds are never put together: each has
    thresholds of its own.
    """
    people = np.unique(np.concatenate([fold.impostor_subjects.ravel() for fold in folds]))
    value = float(np.nanmean([statistic(fold.genuine, fold.impostor) for fold in folds]))
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        names, counts = np.unique(generator.choice(people, len(people)), return_counts=True)
        weights = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
        resampled = [_weighted(fold, weights) for fold in folds]
        found = [statistic(genuine, impostor) for genuine, impostor in resampled if len(genuine) and len(impostor)]
        if found:
            drawn.append(float(np.mean(found)))
    if not drawn:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
