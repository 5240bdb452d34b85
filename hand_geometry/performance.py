"""Error rates of a comparator (ISO/IEC 19795-1) from scores, with intervals by resampling subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

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
        genuine_files: (g,) the probe's file name; empty where nobody asks which pairs went wrong.
        impostor_files: (i, 2) a file of the reference's owner, the probe's file.
    """

    genuine: NDArray[np.float64]
    genuine_subjects: NDArray[np.str_]
    impostor: NDArray[np.float64]
    impostor_subjects: NDArray[np.str_]
    genuine_files: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    impostor_files: NDArray[np.str_] = field(default_factory=lambda: np.empty((0, 2), dtype=np.str_))


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


def rejects_at(genuine: NDArray[np.float64], impostor: NDArray[np.float64], threshold: float) -> float:
    """Share of genuine trials rejected at a threshold fixed beforehand; the impostors have no say in it."""
    del impostor
    return float(np.mean(~(genuine <= threshold))) if len(genuine) else math.nan


def matches_at(genuine: NDArray[np.float64], impostor: NDArray[np.float64], threshold: float) -> float:
    """Share of impostor trials accepted at a threshold fixed beforehand."""
    del genuine
    return float(np.mean(impostor <= threshold)) if len(impostor) else math.nan


def detection_error_tradeoff(folds: Sequence[TrialScores], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The false non-match rate at each false match rate, mean over folds, each with thresholds of its own."""
    curves = []
    for fold in folds:
        if not len(fold.genuine) or not len(fold.impostor):
            continue
        ordered = np.append(np.sort(fold.impostor), np.inf)
        allowed = np.floor(rates * len(fold.impostor) + 1e-9).astype(np.intp)
        passing = np.searchsorted(np.sort(fold.genuine), ordered[allowed], side="left")
        curves.append(1.0 - passing / len(fold.genuine))
    return np.asarray(np.mean(curves, axis=0) if curves else np.full(len(rates), np.nan), dtype=np.float64)


def rule_of_three(people: int) -> float:
    """Upper 95 % limit of a rate of which no case was seen among so many people (Hanley, Lippman-Hand, 1983)."""
    return min(1.0, 3.0 / people) if people else 1.0


def wilson_interval(share: float, people: int) -> Estimate:
    """A share with its 95 % interval where so many people were seen (E. B. Wilson, 1927): of none or all of them, too.

    What one person shows counts once, however often it was tried, since tries of one person hang together.
    """
    if not people:
        return Estimate(share, 0.0, 1.0)
    square = 1.959964**2 / people
    middle = (share + square / 2.0) / (1.0 + square)
    reach = math.sqrt(share * (1.0 - share) * square + square**2 / 4.0) / (1.0 + square)
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))


@dataclass(frozen=True)
class Estimate:
    """A rate with a 95 % interval."""

    value: float
    low: float
    high: float


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
    value = float(np.nanmean([statistic(fold.genuine, fold.impostor) for fold in folds]))
    drawn = []
    for resampled in subject_resamples(folds, rounds=rounds, seed=seed):
        found = [statistic(one.genuine, one.impostor) for one in resampled]
        if found:
            drawn.append(float(np.mean(found)))
    if not drawn:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def subject_resamples(folds: Sequence[TrialScores], *, rounds: int, seed: int = 0) -> Iterator[list[TrialScores]]:
    """The folds with their people drawn anew; folds left without genuine or impostor trials are left out."""
    people = np.unique(np.concatenate([fold.impostor_subjects.ravel() for fold in folds]))
    generator = np.random.default_rng(seed)
    indexed = [_positions(fold, people) for fold in folds]
    nobody = np.empty(0, dtype=np.str_)
    for _ in range(rounds):
        drawn = np.bincount(generator.choice(len(people), len(people)), minlength=len(people))
        resampled = []
        for fold, (genuine_at, impostor_at) in zip(folds, indexed, strict=True):
            genuine = np.repeat(fold.genuine, drawn[genuine_at])
            impostor = np.repeat(fold.impostor, drawn[impostor_at].prod(axis=1))
            if len(genuine) and len(impostor):
                resampled.append(TrialScores(genuine, nobody, impostor, nobody.reshape(0, 2)))
        yield resampled


def _positions(fold: TrialScores, people: NDArray[np.str_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where in ``people`` the subjects of genuine and impostor trials stand."""
    return np.searchsorted(people, fold.genuine_subjects), np.searchsorted(people, fold.impostor_subjects)
