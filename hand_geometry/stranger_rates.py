"""How rare a stranger so near is: measured on people of whom neither was used to fit what compares them.

People are split into groups; for each two groups the numbers are fitted on all others, and the people of one are held
against those of the other. So every two people of different groups are compared once, by numbers that saw neither.
Runs when numbers are fitted, never on a terminal.

Among fifty people there are a thousand pairs: what one in a thousand scores is what one pair scores, and the next fifty
people have a nearer one. So the tail is not read off. People lie in many directions about a reference, and the share of
them within a distance rises as a power of it, as volumes do; the power is taken where dozens of pairs stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hand_geometry.discriminant import LabelledSet, Recipe, fit_discriminant
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.scoring import nearest_score, raw_score

GROUPS = 6
# With how many enrolment pictures; a reference of more is held to be as exact as one of the last.
SAMPLE_COUNTS = (1, 2, 3)
# Read off, from here up.
READ_RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# By the power law, which is fitted between the two rates.
TAIL_RATES = (0.0001, 0.0003, 0.001, 0.002)
TAIL_FITTED_ON = (0.005, 0.01, 0.02, 0.05)


def fit_numbers(own: Sequence[LabelledSet], other: Sequence[LabelledSet], recipe: Recipe) -> FittedNumbers:
    """The discriminant of all people, with the rates of strangers among people kept apart."""
    numbers = fit_discriminant(own, other, recipe)
    rates = cross_fitted_rates(numbers, own, other, recipe)
    return replace(numbers, calibration=rates[max(rates)], rates=rates)


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


def cross_fitted_rates(
    numbers: FittedNumbers,
    own: Sequence[LabelledSet],
    other: Sequence[LabelledSet],
    recipe: Recipe,
    *,
    seed: int = 0,
) -> Mapping[int, NDArray[np.float64]]:
    """By number of enrolment pictures, (m, 2): raw score against log10 of the share of strangers as near, rising.

    ``numbers`` were fitted on all people of ``own``: the tables are for them, and are measured on others fitted alike.
    """
    generator = np.random.default_rng(seed)
    groups = [np.array_split(generator.permutation(one.people), GROUPS) for one in own]
    collected: dict[int, list[NDArray[np.float64]]] = {count: [] for count in SAMPLE_COUNTS}
    for first, second in combinations(range(GROUPS), 2):
        kept = [
            one.of(np.setdiff1d(one.people, np.concatenate([split[first], split[second]])))
            for one, split in zip(own, groups, strict=True)
        ]
        fold = fit_discriminant(kept, other, recipe)
        for one, split in zip(own, groups, strict=True):
            there, here = one.of(split[first]), one.of(split[second])
            for count in SAMPLE_COUNTS:
                near = nearest_score(fold, count)
                collected[count] += [
                    _scores(fold, enrolled, laid, count) - near for enrolled, laid in ((there, here), (here, there))
                ]
    return {
        count: _table(np.concatenate(found), nearest_score(numbers, count))
        for count, found in collected.items()
        if sum(map(len, found))
    }


def _scores(numbers: FittedNumbers, enrolled: LabelledSet, laid: LabelledSet, count: int) -> NDArray[np.float64]:
    """Raw scores of all pictures laid against a reference of each enrolled person's first pictures."""
    references, probes = numbers.project(enrolled.values), numbers.project(laid.values)
    scores = [np.empty(0)]
    for person in enrolled.people:
        samples = references[enrolled.subjects == person][:count]
        if len(samples) == count:
            scores.append(raw_score(numbers, samples.mean(axis=0), count, probes))
    return np.concatenate(scores)


def _table(above: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The table of scores that lie this much above the nearest there can be."""
    fitted = np.log10(np.maximum(np.quantile(above, TAIL_FITTED_ON), 1e-6))
    slope, start = np.polyfit(np.log10(TAIL_FITTED_ON), fitted, 1)
    # Never flatter than the scores would be in a hundred directions, or the tail would tie what differs.
    tail = 10.0 ** (start + max(slope, 0.02) * np.log10(TAIL_RATES))
    scores = np.concatenate([tail, np.quantile(above, READ_RATES)])
    scores = np.maximum.accumulate(scores) + 1e-6 * np.arange(len(scores))
    return np.stack([scores + floor, np.log10([*TAIL_RATES, *READ_RATES])], axis=1)
