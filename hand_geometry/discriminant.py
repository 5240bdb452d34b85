"""Learns from labelled features what tells people apart; runs when numbers are fitted, never on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.posture import Posture
from hand_geometry.scoring import raw_score

FEWEST_SUBJECTS = 6
# Shares of strangers at which the calibration has its points: enough people stand behind each, so none shows one pair.
CALIBRATION_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CALIBRATION_FOLDS = 10
# A direction in which people differ this little against the noise, in variances, only costs bytes.
LEAST_USEFUL_VARIANCE = 0.05


@dataclass(frozen=True)
class Recipe:
    """How much is borrowed, chosen on subject-disjoint folds.

    Attributes:
        shrinkage: Share of the within-person correlation that is replaced by none at all. There are a hundred
            measurements and a hundred pictures: without it, directions that happened not to vary in the set would count
            for everything.
        within_share: Share of the within-person covariance that comes from hands in the other posture.
        between_share: Share of the between-person covariance that comes from people seen in the other posture. People
            differ alike whatever their hand lies on, and no set alone has enough of them.
        dimensions: At most so many directions are kept.
    """

    shrinkage: float
    within_share: float
    between_share: float
    dimensions: int


RECIPES = {
    # Between pegs a hand repeats itself so well that the noise of free hands would only blur it.
    Posture.GUIDED: Recipe(shrinkage=0.85, within_share=0.0, between_share=0.5, dimensions=48),
    Posture.FREE: Recipe(shrinkage=0.6, within_share=0.3, between_share=0.5, dimensions=48),
}


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Features of one set: ``values`` (m, n) float64 and one subject a row."""

    values: NDArray[np.float64]
    subjects: NDArray[np.str_]

    @property
    def people(self) -> NDArray[np.str_]:
        """The subjects, each once."""
        return np.unique(self.subjects)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(n,) mean over people, each counted once however many pictures there are."""
        centres = [self.values[self.subjects == one].mean(axis=0) for one in self.people]
        return np.asarray(np.mean(centres, axis=0), dtype=np.float64)

    def only(self, compared: NDArray[np.bool_]) -> LabelledSet:
        """Only these of the features."""
        return LabelledSet(self.values[:, compared], self.subjects)

    def of(self, subjects: NDArray[np.str_]) -> LabelledSet:
        """Only the rows of these subjects."""
        chosen = np.isin(self.subjects, subjects)
        return LabelledSet(self.values[chosen], self.subjects[chosen])


@dataclass(frozen=True, eq=False)
class Scatter:
    """Covariances of one or more sets: within one person, between people, and the mean over people."""

    within: NDArray[np.float64]
    between: NDArray[np.float64]
    mean: NDArray[np.float64]


def scatter_of(sets: Sequence[LabelledSet]) -> Scatter:
    """Pools sets, each around its own mean: cameras differ in height, and that is no difference between people."""
    within, between, means = [], [], []
    freedom, subjects = [], []
    for one in sets:
        people, index, counts = np.unique(one.subjects, return_inverse=True, return_counts=True)
        if len(people) < FEWEST_SUBJECTS or len(index) - len(people) < FEWEST_SUBJECTS:
            raise FittedNumbersError(f"{len(people)} subjects with {len(index)} pictures are too few to fit on")
        centres = np.stack([one.values[index == at].mean(axis=0) for at in range(len(people))])
        residuals = one.values - centres[index]
        freedom.append(len(index) - len(people))
        subjects.append(len(people) - 1)
        within.append(residuals.T @ residuals / freedom[-1])
        # The mean of few pictures still holds some of their own variation.
        between.append(np.cov(centres.T) - within[-1] * float(np.mean(1.0 / counts)))
        means.append(centres.mean(axis=0))
    return Scatter(
        np.average(within, axis=0, weights=freedom),
        np.average(between, axis=0, weights=subjects),
        np.average(means, axis=0, weights=subjects),
    )


def fit_discriminant(own: Sequence[LabelledSet], other: Sequence[LabelledSet], recipe: Recipe) -> FittedNumbers:
    """The directions in which people differ most against what varies within a person, as many as are useful."""
    from sklearn.covariance import shrunk_covariance  # imported late: it takes seconds and 100 MiB

    scatter = scatter_of(own)
    within, between = scatter.within, scatter.between
    if other:
        borrowed = scatter_of(other)
        within = (1.0 - recipe.within_share) * within + recipe.within_share * borrowed.within
        between = (1.0 - recipe.between_share) * between + recipe.between_share * borrowed.between
    spread = np.sqrt(np.maximum(np.diag(within), 1e-12))
    correlation = shrunk_covariance(within / np.outer(spread, spread), shrinkage=recipe.shrinkage)
    values, vectors = np.linalg.eigh(correlation)
    whitening = (vectors / np.sqrt(values)) / spread[:, None]
    variance, directions = np.linalg.eigh(whitening.T @ between @ whitening)
    order = np.argsort(variance)[::-1][: recipe.dimensions]
    order = order[variance[order] > LEAST_USEFUL_VARIANCE]
    uncalibrated = np.array([[-30.0, -6.0], [30.0, 0.0]])
    return FittedNumbers(scatter.mean, whitening @ directions[:, order], variance[order], uncalibrated)


def impostor_scores(numbers: FittedNumbers, tested: LabelledSet, enrolled: int) -> NDArray[np.float64]:
    """Raw scores of every other person's pictures against a reference of each person's first pictures."""
    projected = numbers.project(tested.values)
    scores = []
    for person in tested.people:
        own = tested.subjects == person
        samples = projected[own][:enrolled]
        scores.append(raw_score(numbers, samples.mean(axis=0), len(samples), projected[~own]))
    return np.concatenate(scores)


def fit_numbers(
    own: Sequence[LabelledSet], other: Sequence[LabelledSet], recipe: Recipe, *, enrolled: int = 3, seed: int = 0
) -> FittedNumbers:
    """The discriminant of all people, calibrated on impostors among people kept apart from fits on the others."""
    generator = np.random.default_rng(seed)
    collected = []
    for _ in range(CALIBRATION_FOLDS):
        orders = [generator.permutation(one.people) for one in own]
        for first in (True, False):
            halves = [(order[: len(order) // 2], order[len(order) // 2 :]) for order in orders]
            fitted_on = [one.of(half[0 if first else 1]) for one, half in zip(own, halves, strict=True)]
            tested_on = [one.of(half[1 if first else 0]) for one, half in zip(own, halves, strict=True)]
            fold = fit_discriminant(fitted_on, other, recipe)
            collected += [impostor_scores(fold, tested, enrolled) for tested in tested_on]
    quantiles = np.quantile(np.concatenate(collected), CALIBRATION_RATES)
    # Equal quantiles would make the calibration flat, and a flat calibration ties scores that differ.
    quantiles = np.maximum.accumulate(quantiles + 1e-6 * np.arange(len(quantiles)))
    calibration = np.stack([quantiles, np.log10(CALIBRATION_RATES)], axis=1)
    return replace(fit_discriminant(own, other, recipe), calibration=calibration)


def fit_masked(
    own: Sequence[LabelledSet], other: Sequence[LabelledSet], recipe: Recipe, compared: NDArray[np.bool_]
) -> FittedNumbers:
    """As ``fit_numbers`` with only some of the features; the others have no weight in its projection."""
    numbers = fit_numbers([one.only(compared) for one in own], [one.only(compared) for one in other], recipe)
    projection = np.zeros((len(compared), numbers.dimensions))
    projection[compared] = numbers.projection
    mean = np.zeros(len(compared))
    mean[compared] = numbers.mean
    return replace(numbers, mean=mean, projection=projection)
