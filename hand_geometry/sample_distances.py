"""How far synthetic people are from real ones: Kolmogorov-Smirnov distances of every measurement's distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features, acquire
from hand_geometry.discriminant import LabelledSet, scatter_of
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.synthetic_people import SPREAD_FILE, Person, draw_person, picture_of, save_spread

GROUPS = ("length", "width", "bend", "valley")


def largest_gap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The two-sample Kolmogorov-Smirnov distance, 0 (alike) to 1 (apart)."""
    both = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(part), both, side="right") / len(part) for part in (one, other)]
    return float(np.max(np.abs(shares[0] - shares[1])))


def chance_level(one: int, other: int) -> float:
    """Two samples of one population lie further apart than this in one case of twenty (Smirnov, 1948)."""
    return 1.36 * float(np.sqrt((one + other) / (one * other)))


@dataclass(frozen=True)
class Distances:
    """Of one group of measurements: the median and the largest distance, and the share beyond chance."""

    group: str
    median: float
    largest: float
    beyond_chance: float


def distances(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> list[Distances]:
    """Of (people, n) means a person, one row a group; the cameras' heights are part of the difference."""
    level = chance_level(len(real), len(synthetic))
    found = []
    for group in GROUPS:
        chosen = [at for at, name in enumerate(FEATURE_NAMES) if group in name]
        gaps = np.array([largest_gap(real[:, at], synthetic[:, at]) for at in chosen])
        found.append(Distances(group, float(np.median(gaps)), float(gaps.max()), float(np.mean(gaps > level))))
    return found


def person_means(measured: LabelledSet) -> NDArray[np.float64]:
    """(people, n)."""
    return np.stack([measured.values[measured.subjects == one].mean(axis=0) for one in measured.people])


def measured_people(draw: Callable[[int], Person], people: int) -> tuple[NDArray[np.float64], int]:
    """What is measured of one picture each, (measured, n), and how many could not be."""
    found = [acquire(picture_of(draw(identity), 0)) for identity in range(people)]
    values = [one.values for one in found if isinstance(one, Features)]
    return np.stack(values) if values else np.empty((0, len(FEATURE_NAMES))), people - len(values)


@dataclass(frozen=True, eq=False)
class Spread:
    """Axes over all people, nobody's own numbers: ``mean`` (n,), ``factor`` (n, k) how people differ, ``pose`` (n, k)
    how one person's bends do between placements.
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]
    pose: NDArray[np.float64]


def spread_of(measured: LabelledSet, *, dimensions: int = 30) -> Spread:
    """What people are drawn from."""
    scatter = scatter_of([measured])
    bends = np.array(["_bend_" in name for name in FEATURE_NAMES])
    return Spread(scatter.mean, _axes(scatter.between, dimensions), _axes(scatter.within * np.outer(bends, bends), 10))


def _axes(covariance: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """(n, dimensions): the directions that explain most, of measurements in units of their own spread: bends are small
    numbers beside lengths.
    """
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    units = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(units, units))
    order = np.argsort(values)[::-1][:dimensions]
    return np.asarray(scale[:, None] * vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0)), dtype=np.float64)


def fit_spread(measured: LabelledSet, *, rounds: int = 3, people: int = 20) -> int:
    """Writes the numbers of ``synthetic_people`` anew; returns how many drawn people could not be measured.

    What an outline measures differs a little from what was asked (webs are rounded, fingertips are): the mean
    difference is found by drawing and measuring, and taken off.
    """
    spread = spread_of(measured)
    offset = np.zeros_like(spread.mean)
    described = {
        "subjects": len(measured.people),
        "pictures": len(measured.subjects),
        "directions": spread.factor.shape[1],
    }
    failed = people
    for _ in range(rounds):
        save_spread(SPREAD_FILE, spread.mean, spread.factor, spread.pose, offset, described)
        asked = [draw_person(identity) for identity in range(people)]
        found = [acquire(picture_of(person, 0)) for person in asked]
        gaps = [
            one.values - person.values for one, person in zip(found, asked, strict=True) if isinstance(one, Features)
        ]
        failed = people - len(gaps)
        if gaps:
            offset = offset + np.mean(gaps, axis=0)
    save_spread(SPREAD_FILE, spread.mean, spread.factor, spread.pose, offset, described)
    return failed
