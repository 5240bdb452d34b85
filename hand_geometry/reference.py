"""Several samples of one hand become one biometric reference, if they are of one hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.height_numbers import height_numbers
from hand_geometry.language import _
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_numbers import numbers_under
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.scoring import calibrated, raw_score
from hand_geometry.silhouette import Platen

# How many placements the enrolment asks for.
SAMPLES_TO_ENROLL = 3
# A sample is compared with the mean of the others on the scale of ``comparison``. Of 6,144 samples of one hand, on
# people kept apart from the fit, none scored higher; nineteen strangers in twenty do. It is to catch another hand or a
# bent finger, not to be a second comparison.
CONSISTENCY_LIMIT = -1.3


@dataclass(frozen=True, eq=False)
class Heights:
    """The side of a hand.

    Attributes:
        values: (h,) float64, mean of the projected heights.
        numbers_identifier: Which version of the numbers for heights projected them.
    """

    values: NDArray[np.float64] = field(repr=False)
    numbers_identifier: int


@dataclass(frozen=True, eq=False)
class Reference:
    """What is kept of a hand: its place in the space where people differ most.

    Attributes:
        values: (k,) float64, mean of the projected samples; the picture and the lengths cannot be computed from it.
        sample_count: How many samples it is the mean of.
        platen: On which platen its samples were taken.
        mirrored: As in ``Features``.
        posture: Guided only if every sample was; it says which fitted numbers projected it.
        numbers_identifier: Which version of them.
        mask: What is not compared, and until when this reference may be used.
        heights: What the side mirror showed, or None: then the outline alone is compared, on every reader.
        in_mm: Whether calibrated readers measured its samples.
    """

    values: NDArray[np.float64] = field(repr=False)
    sample_count: int
    platen: Platen
    mirrored: bool
    posture: Posture
    numbers_identifier: int
    mask: Mask = NO_MASK
    heights: Heights | None = None
    in_mm: bool = False


def numbers_of(reference: Reference) -> FittedNumbers:
    """The shipped numbers that project what is compared with this reference.

    Raises:
        FittedNumbersError: It was made with other numbers; the pupil has to enroll again.
    """
    numbers = numbers_under(reference.posture, reference.platen, reference.mask)
    if reference.numbers_identifier != numbers.identifier or len(reference.values) != numbers.dimensions:
        raise FittedNumbersError(_("la référence est faite avec d’autres nombres appris"))
    return numbers


@dataclass(frozen=True)
class FailureToEnroll:
    """No reference, and why; ``odd_sample`` is the position of the sample to be asked again, where one can be named."""

    reason: QualityReason
    odd_sample: int | None = None


def make_reference(samples: Sequence[Features], *, mask: Mask = NO_MASK) -> Reference | FailureToEnroll:
    """Makes a reference of one or more samples; with more than one, they must agree where ``mask`` lets them."""
    if not samples:
        return FailureToEnroll(QualityReason.TOO_FEW_SAMPLES)
    if not all(np.isfinite(sample.values).all() for sample in samples):
        return FailureToEnroll(QualityReason.IMPLAUSIBLE_MEASUREMENT)
    first = samples[0]
    if any(sample.platen is not first.platen or sample.in_mm is not first.in_mm for sample in samples):
        return FailureToEnroll(QualityReason.SAMPLES_DISAGREE)
    unseen = [at for at, sample in enumerate(samples) if not sample.left_out <= mask.left_out]
    if unseen:
        return FailureToEnroll(QualityReason.FINGER_MISSING, unseen[0])
    sides = [sample.mirrored for sample in samples]
    if len(set(sides)) > 1:
        rare = sides.index(min(set(sides), key=sides.count))
        return FailureToEnroll(QualityReason.SAMPLES_DISAGREE, rare if len(samples) > 2 else None)
    guided = all(sample.posture is Posture.GUIDED for sample in samples)
    posture = Posture.GUIDED if guided else Posture.FREE
    numbers = numbers_under(posture, first.platen, mask)
    projected = np.stack([numbers.project(sample.values) for sample in samples])
    if len(samples) > 1:
        total = projected.sum(axis=0)
        others = len(samples) - 1
        scores = [
            calibrated(numbers, raw_score(numbers, (total - one) / others, others, one), others) for one in projected
        ]
        if max(scores) > CONSISTENCY_LIMIT:
            odd = int(np.argmax(scores)) if len(samples) > 2 else None
            return FailureToEnroll(QualityReason.SAMPLES_DISAGREE, odd)
    return Reference(
        projected.mean(axis=0),
        len(samples),
        first.platen,
        first.mirrored,
        posture,
        numbers.identifier,
        mask,
        _heights_of(samples, mask),
        first.in_mm,
    )


def _heights_of(samples: Sequence[Features], mask: Mask) -> Heights | None:
    """The mean of the projected heights, where every sample has them and no finger is left out."""
    seen = [sample.heights for sample in samples if sample.heights is not None]
    if mask.left_out or len(seen) < len(samples):
        return None
    numbers = height_numbers()
    return Heights(numbers.fitted.project(np.stack(seen)).mean(axis=0), numbers.identifier)
