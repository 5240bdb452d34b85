"""Fits the shipped numbers from folders of pictures, and measures them on subjects kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.discriminant import LabelledSet, fit_numbers
from hand_geometry.fitted_numbers import FittedNumbers, save_numbers
from hand_geometry.image_set import LabelledImage, acquire_files, read_index
from hand_geometry.performance import TrialScores, merge
from hand_geometry.scoring import calibrated, raw_score
from hand_geometry.silhouette import Platen


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

    def labelled(self) -> LabelledSet:
        """The pictures that could be measured, of people with at least two of them."""
        pairs = [(i.subject, a) for i, a in zip(self.images, self.acquired, strict=True) if isinstance(a, Features)]
        names = [subject for subject, _ in pairs]
        kept = [(subject, features) for subject, features in pairs if names.count(subject) > 1]
        return LabelledSet(np.stack([f.values for _, f in kept]), np.array([subject for subject, _ in kept]))


def acquire_set(folder: Path, platen: Platen) -> AcquiredSet:
    """Measures all pictures of a folder with an ``index.csv``."""
    images = read_index(folder)
    found = acquire_files([image.path for image in images], platen, title=folder.name)
    return AcquiredSet(folder.name, platen, images, [found[image.path] for image in images])


def fit_and_save(
    sets: Sequence[AcquiredSet], out: Path, *, when: datetime | None = None
) -> dict[Platen, FittedNumbers]:
    """Fits one set of numbers a platen and writes them with their provenance."""
    numbers: dict[Platen, FittedNumbers] = {}
    provenance: dict[str, Any] = {"fitted_on": (when or datetime.now(UTC)).date().isoformat(), "sets": []}
    for one in sets:
        labelled = one.labelled()
        numbers[one.platen] = fit_numbers(labelled)
        provenance["sets"].append(
            {
                "platen": one.platen.value,
                "name": one.name,
                "subjects": len(np.unique(labelled.subjects)),
                "pictures": len(labelled.subjects),
                "failures_to_acquire": one.failures,
                "dimensions": numbers[one.platen].dimensions,
            }
        )
    save_numbers(out, numbers, provenance)
    return numbers


def cross_validate(measured: AcquiredSet, *, enrolled: int = 3, seeds: int = 5) -> TrialScores:
    """Fits on half of the subjects, measures on the other half, both ways, for several random halves.

    Each picture of a person is the probe once, the first ``enrolled`` others enroll. A picture that could not be
    measured is a probe that is rejected.
    """
    people = np.unique([image.subject for image in measured.images])
    labelled = measured.labelled()
    parts = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(people)
        half = len(order) // 2
        for fitted_on, tested_on in ((order[:half], order[half:]), (order[half:], order[:half])):
            parts.append(_test(measured, fit_numbers(labelled.of(fitted_on)), tested_on, enrolled))
    return merge(parts)


def _test(measured: AcquiredSet, numbers: FittedNumbers, people: np.ndarray[Any, Any], enrolled: int) -> TrialScores:
    """All genuine and impostor trials among ``people``."""
    rows = [
        (image.subject, numbers.project(one.values) if isinstance(one, Features) else None)
        for image, one in zip(measured.images, measured.acquired, strict=True)
        if image.subject in people
    ]
    genuine: list[float] = []
    genuine_subjects: list[str] = []
    impostor: list[float] = []
    impostor_subjects: list[tuple[str, str]] = []
    for at, (subject, probe) in enumerate(rows):
        others = [v for i, (s, v) in enumerate(rows) if s == subject and i != at]
        chosen = [v for v in others[:enrolled] if v is not None]
        if not chosen:
            continue
        reference = np.mean(chosen, axis=0)
        for other_at, (other, values) in enumerate(rows):
            if other == subject and other_at != at:
                continue
            raw = np.inf if values is None else float(raw_score(numbers, reference, len(chosen), values))
            score = calibrated(numbers, raw) if np.isfinite(raw) else np.inf
            if other_at == at:
                genuine.append(score)
                genuine_subjects.append(subject)
            else:
                impostor.append(score)
                impostor_subjects.append((subject, other))
        del probe
    return TrialScores(np.array(genuine), np.array(genuine_subjects), np.array(impostor), np.array(impostor_subjects))
