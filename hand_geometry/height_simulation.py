"""Heights of simulated people in simulated side mirrors: to fit the numbers for heights, and to say what they bring.

No set of real hands shows a side, so nothing here is an accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.discriminant import LabelledSet, Recipe, fit_discriminant
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.height_numbers import HEIGHT_NUMBERS_FILE, save_height_numbers
from hand_geometry.height_profile import HEIGHT_STATIONS, rise_of
from hand_geometry.landmarks import Finger
from hand_geometry.quality import QualityReason
from hand_geometry.scoring import raw_score
from hand_geometry.simulated_reader import WITH_MIRROR, SimulatedLens, calibration_of, laid_seen
from hand_geometry.synthetic_people import NO_GRAIN, Person, draw_person, picture_of, ridges_of

RECIPE = Recipe(shrinkage=0.3, within_share=0.0, between_share=0.0, dimensions=6)
PLACEMENTS = 3
# Where the palm's centre lies between both ends of its drawn ridge.
PALM_CENTRE = 0.54
# Three placements each are enough to say that none in a thousand and a half is refused.
DRAWN_PEOPLE = 500
# Of placements of the right hand, kept apart from the fit, this share adds nothing to the score.
FREE_SHARE = 0.995
# How much more than drawn ones real placements scatter is not known. This much is assumed on top, in logarithms: of the
# whole hand, and of each height by itself.
UNKNOWN_SCATTER = 0.04


@dataclass(frozen=True)
class HeightFigures:
    """What heights alone would tell apart, in simulation.

    Attributes:
        people, placements: How many were measured.
        failures: Placements that could not be measured.
        even: How many of these were refused because they rise nowhere.
        least_rise: The smallest ``rise_of`` among those measured.
        right_hands_charged: Share of right hands to which something is added.
        strangers_charged: Share of strangers to which something is added.
        strangers_median: What is added to half of them, at least.
    """

    people: int
    placements: int
    failures: int
    even: int
    least_rise: float
    right_hands_charged: float
    strangers_charged: float
    strangers_median: float


def mirrored_picture(person: Person, sample: int, lens: SimulatedLens = WITH_MIRROR) -> NDArray[np.uint8]:
    """One placement on a reader with a side mirror, (1200, 1600, 3) uint8 BGR."""
    laid, ridges = picture_of(person, sample, NO_GRAIN), ridges_of(person, sample, NO_GRAIN)
    return laid_seen(lens, laid, [person.identity, sample], ridges)


def mirrored_features(person: Person, sample: int, lens: SimulatedLens = WITH_MIRROR) -> Features | FailureToAcquire:
    """The same, measured."""
    return acquire(mirrored_picture(person, sample, lens), calibration=calibration_of(lens))


def drawn_rises(people: int) -> NDArray[np.float64]:
    """(3 * people,) ``rise_of`` what is drawn of each placement, seen straight from its side: without a picture, so
    that there can be enough of them to state a rate.
    """
    return np.array([_rise(ridges_of(_person(at), sample)) for at in range(people) for sample in range(PLACEMENTS)])


def _rise(ridges: list[NDArray[np.float64]]) -> float:
    palm, middle = ridges[0], ridges[1 + Finger.MIDDLE]
    tip, centre = float(middle[-1, 0]), float(np.interp(PALM_CENTRE, [0.0, 1.0], palm[[0, -1], 0]))
    stations = tip + np.array(HEIGHT_STATIONS) * (centre - tip)
    ordered = [ridge[ridge[:, 0].argsort()] for ridge in ridges]
    return rise_of(np.max([np.interp(stations, one[:, 0], one[:, 2], 0.0, 0.0) for one in ordered], axis=0))


def _person(identity: int) -> Person:
    """Every other one is a child."""
    return draw_person(identity, age_years=None if identity % 2 else 11.0 + identity % 5)


def fit_heights(people: int, out: Path = HEIGHT_NUMBERS_FILE) -> HeightFigures:
    """Draws people, half of them grown and half of them children, fits on all, and allows what halves show."""
    values, subjects, refused = _measured(people)
    # As measured: what is assumed on top is no part of it.
    least_rise = min(rise_of(np.exp(one)) for one in values)
    values = _scattered(values)
    labelled = LabelledSet(values, subjects)
    genuine, strangers = _held_out(labelled)
    allowance = float(np.quantile(genuine, FREE_SHARE))
    described = {
        "fitted_on": datetime.now(UTC).date().isoformat(),
        "sets": [{"name": "simulated people", "subjects": people, "pictures": len(values)}],
        "free_share": FREE_SHARE,
        "unknown_scatter": UNKNOWN_SCATTER,
    }
    save_height_numbers(out, fit_discriminant([labelled], [], RECIPE), allowance, described)
    added = np.maximum(strangers - allowance, 0.0)
    return HeightFigures(
        people,
        len(values),
        len(refused),
        refused.count(QualityReason.EVEN_HEIGHT),
        least_rise,
        float(np.mean(genuine > allowance)),
        float(np.mean(added > 0.0)),
        float(np.median(added)),
    )


def _measured(people: int) -> tuple[NDArray[np.float64], NDArray[np.str_], list[QualityReason]]:
    """Heights, whose they are, and why the other placements have none."""
    values: list[NDArray[np.float64]] = []
    subjects: list[str] = []
    refused: list[QualityReason] = []
    for identity in range(people):
        person = _person(identity)
        for sample in range(PLACEMENTS):
            found = mirrored_features(person, sample)
            if isinstance(found, Features) and found.heights is not None:
                values.append(found.heights)
                subjects.append(f"{identity:04d}")
            elif isinstance(found, FailureToAcquire):
                refused.append(found.reason)
    return np.stack(values), np.array(subjects), refused


def _scattered(values: NDArray[np.float64]) -> NDArray[np.float64]:
    draw = np.random.default_rng(20_38)
    whole, each = draw.normal(0.0, UNKNOWN_SCATTER, (len(values), 1)), draw.normal(0.0, UNKNOWN_SCATTER, values.shape)
    return values + whole + each


def _held_out(labelled: LabelledSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw scores of right hands and of strangers among people kept apart from the fit."""
    genuine: list[float] = []
    strangers: list[NDArray[np.float64]] = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(labelled.people)
        fitted_on, tested_on = order[: len(order) // 2], order[len(order) // 2 :]
        numbers = fit_discriminant([labelled.of(fitted_on)], [], RECIPE)
        one, other = _scores(numbers, labelled.of(tested_on))
        genuine += one
        strangers.append(other)
    return np.array(genuine), np.concatenate(strangers)


def _scores(numbers: FittedNumbers, tested: LabelledSet) -> tuple[list[float], NDArray[np.float64]]:
    projected = numbers.project(tested.values)
    genuine: list[float] = []
    strangers: list[NDArray[np.float64]] = []
    for at, subject in enumerate(tested.subjects):
        others = np.flatnonzero(tested.subjects == subject)
        others = others[others != at]
        if not len(others):
            continue
        scores = raw_score(numbers, projected[others].mean(axis=0), len(others), projected)
        genuine.append(float(scores[at]))
        strangers.append(scores[tested.subjects != subject])
    return genuine, np.concatenate(strangers)
