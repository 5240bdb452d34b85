"""People drawn from the fitted variances, without pictures: for what follows the measurement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.comparison import compare
from hand_geometry.fitted_numbers import numbers_for
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.posture import Posture
from hand_geometry.reference import Reference
from hand_geometry.silhouette import Platen

NUMBERS = numbers_for(Posture.GUIDED, Platen.DARK)
INVERSE = np.linalg.pinv(NUMBERS.projection)


def person(seed: int) -> NDArray[np.float64]:
    """A drawn person's place."""
    return np.random.default_rng(seed).normal(0.0, np.sqrt(NUMBERS.between))


def reference_at(place: NDArray[np.float64], *, mirrored: bool = False) -> Reference:
    """A reference enrolled exactly there."""
    return Reference(place, 3, Platen.DARK, mirrored, Posture.GUIDED, NUMBERS.identifier)


def probe_at(place: NDArray[np.float64], *, mirrored: bool = False) -> Features:
    """Features that project there."""
    return Features(NUMBERS.mean + place @ INVERSE, FEATURE_NAMES, Platen.DARK, mirrored, Posture.GUIDED)


def towards(reference: Reference, goal: NDArray[np.float64], score: float) -> Features:
    """The probe on the way to ``goal`` that scores just under ``score``: the best an attacker can shape."""
    near, far = 0.0, 1.0
    for _ in range(30):
        half = (near + far) / 2.0
        probe = probe_at(reference.values + half * (goal - reference.values))
        near, far = (half, far) if compare(reference, probe).value <= score else (near, half)
    return probe_at(reference.values + near * (goal - reference.values))
