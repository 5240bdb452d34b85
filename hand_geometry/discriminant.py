"""Learns from labelled features what tells people apart; runs when numbers are fitted, never on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.language import _
from hand_geometry.posture import Posture

FEWEST_SUBJECTS = 6
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
            raise FittedNumbersError(
                _("{people} personnes et {pictures} images : trop peu pour apprendre").format(
                    people=len(people), pictures=len(index)
                )
            )
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
