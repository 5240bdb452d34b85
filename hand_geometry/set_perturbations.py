"""Real pictures a little changed as another day's would be, each compared with its owner's unchanged enrolment.

Turning and shifting move a picture's border into view, where its last pixels are repeated: a forearm goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.fit import AcquiredSet
from hand_geometry.image_decoding import read_image
from hand_geometry.image_set import progress_bar
from hand_geometry.language import N_
from hand_geometry.performance import TrialScores
from hand_geometry.quality import QualityReason
from hand_geometry.set_evaluation import folds_of
from hand_geometry.set_trials import trials_among
from hand_geometry.working_picture import NOMINAL_SIDE_PX

Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Perturbed:
    """One set under one change: ``acquired`` in the order of its pictures, and the trials of each fold."""

    name: str
    acquired: list[Features | FailureToAcquire] = field(repr=False)
    folds: list[TrialScores] = field(repr=False)

    @property
    def failures(self) -> int:
        """How many pictures could not be measured."""
        return sum(isinstance(one, FailureToAcquire) for one in self.acquired)


def perturbed_trials(
    measured: AcquiredSet, support: Sequence[AcquiredSet] = (), *, enrolled: int = 3, seeds: int = 2
) -> Iterator[Perturbed]:
    """The set as it is and under each of ``PERTURBATIONS``: fitted and enrolled on unchanged pictures of other people
    and of the same person, probed with changed ones. A set too small to be halved is tried on the shipped numbers.
    """
    folds, _ = folds_of(measured, support, seeds)
    found: dict[str, list[Features | FailureToAcquire]] = {name: [] for name in PERTURBATIONS}
    with progress_bar(measured.name, len(measured.images)) as advance:
        for at, labelled in enumerate(measured.images):
            image = read_image(labelled.path)
            for name, change in PERTURBATIONS.items():
                if image is None:
                    found[name].append(FailureToAcquire(QualityReason.UNREADABLE_IMAGE))
                else:
                    found[name].append(acquire(change(image, np.random.default_rng(at)), measured.platen))
            advance()
    for name, probes in found.items():
        trials = [
            trials_among(measured.images, measured.acquired, numbers, people, enrolled, probes=probes)
            for numbers, people in folds
        ]
        yield Perturbed(name, probes, trials)


def _moved(image: Picture, _: np.random.Generator, *, degrees: float = 0.0, shift: float = 0.0) -> Picture:
    """Turned about its middle, and shifted to the right and down by px of a picture of 1600 px."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += shift * max(width, height) / NOMINAL_SIDE_PX
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


def _lit(image: Picture, _: np.random.Generator, *, factor: float) -> Picture:
    return np.asarray(cv2.convertScaleAbs(image, alpha=factor), dtype=np.uint8)


def _grained(image: Picture, draw: np.random.Generator, *, sigma: float) -> Picture:
    grain = draw.normal(0.0, sigma, image.shape).astype(np.float32)
    return np.asarray(np.clip(np.rint(image + grain), 0, 255), dtype=np.uint8)


def _blurred(image: Picture, _: np.random.Generator, *, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * max(image.shape[:2]) / NOMINAL_SIDE_PX), dtype=np.uint8)


# Lengths are in px of a picture of 1600 px, on which a little finger is some 70 px wide; grain in grey levels.
PERTURBATIONS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    N_("inchangée"): lambda image, _: image,
    N_("tournée de 5°"): partial(_moved, degrees=5.0),
    N_("tournée de −5°"): partial(_moved, degrees=-5.0),
    N_("tournée de 15°"): partial(_moved, degrees=15.0),
    N_("décalée de 6,5 px"): partial(_moved, shift=6.5),
    N_("décalée de 20,5 px"): partial(_moved, shift=20.5),
    N_("plus sombre d’un cinquième"): partial(_lit, factor=0.8),
    N_("plus claire d’un cinquième"): partial(_lit, factor=1.2),
    N_("grain de 4"): partial(_grained, sigma=4.0),
    N_("grain de 8"): partial(_grained, sigma=8.0),
    N_("floue sur 1 px"): partial(_blurred, sigma=1.0),
    N_("floue sur 2 px"): partial(_blurred, sigma=2.0),
}
