"""Learns from labelled features what tells people apart; runs when numbers are fitted, never on a terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.scoring import raw_score

# Share of the within-person correlation that is replaced by none at all. A hundred measurements and a hundred pictures:
# without it the directions that happened not to vary in the set would count for everything. Chosen on subject-disjoint
# folds.
SHRINKAGE = 0.5
LARGEST_DIMENSIONS = 32
FEWEST_SUBJECTS = 8
# Quantiles at which impostor scores are kept for the calibration: smooth enough to show no single pair of people.
CALIBRATION_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CALIBRATION_FOLDS = 10


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Features of one set: ``values`` (m, n) float64 and one subject a row."""

    values: NDArray[np.float64]
    subjects: NDArray[np.str_]

    def of(self, subjects: NDArray[np.str_]) -> LabelledSet:
        """Only the rows of these subjects."""
        chosen = np.isin(self.subjects, subjects)
        return LabelledSet(self.values[chosen], self.subjects[chosen])


def fit_discriminant(training: LabelledSet) -> FittedNumbers:
    """Pooled within-person covariance, shrunk; then the directions in which people differ most, as many as are
    useful.
    """
    from sklearn.covariance import shrunk_covariance  # imported late: it takes seconds and 100 MiB

    people = np.unique(training.subjects)
    if len(people) < FEWEST_SUBJECTS:
        raise FittedNumbersError(f"{len(people)} subjects are too few to fit on")
    means = np.stack([training.values[training.subjects == one].mean(axis=0) for one in people])
    counts = np.array([np.sum(training.subjects == one) for one in people])
    residuals = training.values - means[np.searchsorted(people, training.subjects)]
    freedom = len(training.values) - len(people)
    if freedom < FEWEST_SUBJECTS:
        raise FittedNumbersError("too few pictures a subject to fit on")
    within = residuals.T @ residuals / freedom
    spread = np.sqrt(np.maximum(np.diag(within), 1e-12))
    correlation = shrunk_covariance(within / np.outer(spread, spread), shrinkage=SHRINKAGE)
    values, vectors = np.linalg.eigh(correlation)
    whitening = (vectors / np.sqrt(values)) / spread[:, None]
    mean = means.mean(axis=0)
    whitened = (means - mean) @ whitening
    between, directions = np.linalg.eigh(np.cov(whitened.T))
    order = np.argsort(between)[::-1][: min(LARGEST_DIMENSIONS, len(people) - 1)]
    # A mean of few pictures still holds some of their own variation.
    variance = between[order] - float(np.mean(1.0 / counts))
    order, variance = order[variance > 0.0], variance[variance > 0.0]
    linear = np.array([[-30.0, -6.0], [30.0, 0.0]])
    return FittedNumbers(mean, whitening @ directions[:, order], variance, linear)


def impostor_scores(numbers: FittedNumbers, tested: LabelledSet, enrolled: int) -> NDArray[np.float64]:
    """Raw scores of every other person's pictures against a reference of each person's first pictures."""
    projected = numbers.project(tested.values)
    scores = []
    for person in np.unique(tested.subjects):
        own = tested.subjects == person
        samples = projected[own][:enrolled]
        scores.append(raw_score(numbers, samples.mean(axis=0), len(samples), projected[~own]))
    return np.concatenate(scores)


def fit_numbers(training: LabelledSet, *, enrolled: int = 3, seed: int = 0) -> FittedNumbers:
    """The discriminant of all people, calibrated on impostors among people kept apart from fits on the others."""
    people = np.unique(training.subjects)
    generator = np.random.default_rng(seed)
    collected = []
    for _ in range(CALIBRATION_FOLDS):
        order = generator.permutation(people)
        half = len(order) // 2
        for fitted_on, tested_on in ((order[:half], order[half:]), (order[half:], order[:half])):
            fold = fit_discriminant(training.of(fitted_on))
            collected.append(impostor_scores(fold, training.of(tested_on), enrolled))
    quantiles = np.quantile(np.concatenate(collected), CALIBRATION_RATES)
    # Equal quantiles would make the calibration flat, and a flat calibration ties scores that differ.
    quantiles = np.maximum.accumulate(quantiles + 1e-6 * np.arange(len(quantiles)))
    calibration = np.stack([quantiles, np.log10(CALIBRATION_RATES)], axis=1)
    return replace(fit_discriminant(training), calibration=calibration)
