"""Fits the shipped numbers from folders of pictures, and measures them on subjects kept apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.discriminant import RECIPES, LabelledSet
from hand_geometry.errors import FittedNumbersError, TrialsError
from hand_geometry.fitted_numbers import FittedNumbers, load_numbers, read_provenance, save_numbers
from hand_geometry.ground import platen_among
from hand_geometry.image_set import LabelledImage, acquire_files, read_index
from hand_geometry.language import _
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_numbers import SUPPORTED_MASKS, load_masked_numbers, save_masked_numbers
from hand_geometry.performance import TrialScores
from hand_geometry.posture import Posture
from hand_geometry.set_trials import trials_among
from hand_geometry.silhouette import Platen
from hand_geometry.stranger_rates import cross_fitted_rates, fit_masked, fit_numbers

# Fewer fingers tell less apart: what comes after these directions is noise and bytes.
MASKED_DIMENSIONS = 36


@dataclass(frozen=True)
class AcquiredSet:
    """A folder measured: each picture with its features or the failure."""

    name: str
    platen: Platen
    images: list[LabelledImage]
    acquired: list[Features | FailureToAcquire]

    @property
    def failures(self) -> int:
        """How many pictures could not be measured."""
        return sum(isinstance(one, FailureToAcquire) for one in self.acquired)

    @property
    def posture(self) -> Posture:
        """How most of its hands lie."""
        guided = [one.posture is Posture.GUIDED for one in self.acquired if isinstance(one, Features)]
        return Posture.GUIDED if 2 * sum(guided) > len(guided) else Posture.FREE

    def labelled(self) -> LabelledSet:
        """The pictures that could be measured, of people with at least two of them."""
        pairs = [(i.subject, a) for i, a in zip(self.images, self.acquired, strict=True) if isinstance(a, Features)]
        counts = Counter(subject for subject, _ in pairs)
        kept = [(subject, features) for subject, features in pairs if counts[subject] > 1]
        if not kept:
            raise FittedNumbersError(
                _("{name} : personne n’a deux images qui aient pu être mesurées").format(name=self.name)
            )
        return LabelledSet(np.stack([f.values for _, f in kept]), np.array([subject for subject, _ in kept]))

    def too_few_people(self, enrolled: int) -> TrialsError:
        """What is said where nobody is left to compare once so many pictures a person enroll."""
        return TrialsError(
            _("{name} : trop peu de personnes ont plus de {enrolled} images").format(name=self.name, enrolled=enrolled)
        )


def acquire_set(folder: Path, platen: Platen | None = None) -> AcquiredSet:
    """Measures all pictures of a folder with an ``index.csv``; the pictures show their platen where none is given."""
    images = read_index(folder)
    paths = [image.path for image in images]
    platen = platen or platen_among(paths)
    found = acquire_files(paths, platen, title=folder.name)
    return AcquiredSet(folder.name, platen, images, [found[image.path] for image in images])


def fit_postures(
    sets: Sequence[AcquiredSet], keep: Callable[[AcquiredSet, LabelledSet], LabelledSet] = lambda _, labelled: labelled
) -> dict[Posture, FittedNumbers]:
    """Fits numbers for every posture of which there is a set; ``keep`` may leave people out."""
    labelled = [(one.posture, keep(one, one.labelled())) for one in sets]
    numbers: dict[Posture, FittedNumbers] = {}
    for posture in Posture:
        own = [data for found, data in labelled if found is posture]
        other = [data for found, data in labelled if found is not posture]
        if own:
            numbers[posture] = fit_numbers(own, other, RECIPES[posture])
    return numbers


def fit_and_save(
    sets: Sequence[AcquiredSet], out: Path, *, means: Sequence[AcquiredSet] = (), when: datetime | None = None
) -> dict[Posture, FittedNumbers]:
    """Fits numbers for each posture and writes them with their provenance.

    Of ``means``, only the mean over people is taken, for their platen: sets too small or too rough to learn from.
    """
    numbers = fit_postures(sets)
    for one in means:
        if one.posture in numbers:
            known = dict(numbers[one.posture].means)
            known[one.platen] = one.labelled().mean
            numbers[one.posture] = replace(numbers[one.posture], means=known)
    save_numbers(out, numbers, _provenance(sets, means, numbers, when))
    return numbers


def fit_and_save_masked(
    sets: Sequence[AcquiredSet], out: Path, *, means: Sequence[AcquiredSet] = (), when: datetime | None = None
) -> dict[tuple[Posture, int], FittedNumbers]:
    """Fits and calibrates numbers for every supported mask and posture, and writes them with their provenance."""
    labelled = [(one.posture, one.labelled()) for one in sets]
    numbers: dict[tuple[Posture, int], FittedNumbers] = {}
    for posture in dict.fromkeys(found for found, _data in labelled):
        own = [data for found, data in labelled if found is posture]
        other = [data for found, data in labelled if found is not posture]
        recipe = replace(RECIPES[posture], dimensions=MASKED_DIMENSIONS)
        for mask in SUPPORTED_MASKS:
            fitted = fit_masked(own, other, recipe, mask.compared())
            known = {one.platen: one.labelled().mean * mask.compared() for one in means if one.posture is posture}
            numbers[posture, mask.bits] = replace(fitted, means=known)
    by_posture = {posture: fitted for (posture, _), fitted in numbers.items()}
    save_masked_numbers(out, numbers, _provenance(sets, means, by_posture, when))
    return numbers


def calibrate_anew(sets: Sequence[AcquiredSet], path: Path, masked: Path, *, when: datetime | None = None) -> None:
    """Measures the rates of strangers anew and leaves the projections: references that exist stay readable."""
    labelled = [(one.posture, one.labelled()) for one in sets]

    def with_rates(numbers: FittedNumbers, posture: Posture, mask: Mask) -> FittedNumbers:
        own, other = (
            [data.only(mask.compared()) for found, data in labelled if (found is posture) is wanted]
            for wanted in (True, False)
        )
        recipe = RECIPES[posture]
        recipe = replace(recipe, dimensions=MASKED_DIMENSIONS) if mask.left_out else recipe
        return replace(numbers, rates=cross_fitted_rates(numbers, own, other, recipe))

    measured = {
        "measured_on": (when or datetime.now(UTC)).date().isoformat(),
        "sets": [
            {"name": one.name, "subjects": len(data.people)} for one, (_, data) in zip(sets, labelled, strict=True)
        ],
        "protocol": "cross-fitted: fitted without the people of either group compared",
    }
    whole = {posture: with_rates(fitted, posture, NO_MASK) for posture, fitted in load_numbers(path).items()}
    masks = {mask.bits: mask for mask in SUPPORTED_MASKS}
    parts = {
        (posture, bits): with_rates(fitted, posture, masks[bits])
        for (posture, bits), fitted in load_masked_numbers(masked).items()
    }
    save_numbers(path, whole, read_provenance(path) | {"rates": measured})
    save_masked_numbers(masked, parts, read_provenance(masked) | {"rates": measured})
    load_numbers.cache_clear()
    load_masked_numbers.cache_clear()


def _provenance(
    sets: Sequence[AcquiredSet],
    means: Sequence[AcquiredSet],
    numbers: dict[Posture, FittedNumbers],
    when: datetime | None,
) -> dict[str, Any]:
    """From which sets, of how many people and pictures, and when."""
    described = []
    for one in (*sets, *means):
        labelled = one.labelled()
        described.append(
            {
                "name": one.name,
                "platen": one.platen.value,
                "posture": one.posture.value,
                "subjects": len(labelled.people),
                "pictures": len(labelled.subjects),
                "failures_to_acquire": one.failures,
                "used_for": "mean" if one in means else "fit",
            }
        )
    return {
        "fitted_on": (when or datetime.now(UTC)).date().isoformat(),
        "sets": described,
        "recipes": {posture.value: asdict(RECIPES[posture]) for posture in numbers},
        "dimensions": {posture.value: fitted.dimensions for posture, fitted in numbers.items()},
    }


def held_out_folds(
    measured: AcquiredSet, support: Sequence[AcquiredSet] = (), *, seeds: int = 5, mask: Mask = NO_MASK
) -> Iterator[tuple[FittedNumbers, NDArray[np.str_]]]:
    """Numbers fitted on half of the subjects, with the other half: both ways, for several random halves.

    ``support`` are sets of other people, used whole for fitting as the shipped numbers use them.
    """
    people = np.unique([image.subject for image in measured.images])
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(people)
        half = len(order) // 2
        for fitted_on, tested_on in ((order[:half], order[half:]), (order[half:], order[:half])):

            def keep(one: AcquiredSet, data: LabelledSet, chosen: Any = fitted_on) -> LabelledSet:
                return data.of(chosen) if one is measured else data

            if not mask.left_out:
                yield fit_postures([measured, *support], keep)[measured.posture], tested_on
                continue
            other = [one.labelled() for one in support if one.posture is not measured.posture]
            recipe = replace(RECIPES[measured.posture], dimensions=MASKED_DIMENSIONS)
            yield fit_masked([keep(measured, measured.labelled())], other, recipe, mask.compared()), tested_on


def cross_validate(
    measured: AcquiredSet,
    support: Sequence[AcquiredSet] = (),
    *,
    enrolled: int = 3,
    seeds: int = 5,
    mask: Mask = NO_MASK,
) -> list[TrialScores]:
    """The trials of ``set_trials`` on people kept apart from the fit, one fold after the other."""
    return [
        trials_among(measured.images, measured.acquired, numbers, people, enrolled)
        for numbers, people in held_out_folds(measured, support, seeds=seeds, mask=mask)
    ]
