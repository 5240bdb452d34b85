"""Enrolled on one reader and laid on another (ISO/IEC 19795-4), in simulation: what the readers' difference costs.

Each drawn placement is seen by both readers, so that nothing but camera, calibration and grain differs. The ratio of
both rates is what counts; the people are drawn, so no rate here is an accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare
from hand_geometry.errors import TrialsError
from hand_geometry.image_set import Acquired, on_all_cores
from hand_geometry.language import _
from hand_geometry.performance import Estimate
from hand_geometry.policy import ThresholdPolicy
from hand_geometry.reference import FailureToEnroll
from hand_geometry.simulated_reader import HIGH_AND_WIDE, LOW_AND_STRAIGHT, calibration_of, laid_seen
from hand_geometry.synthetic_people import NO_GRAIN, draw_person, picture_of
from hand_geometry.trials import enroll_from

READERS = (LOW_AND_STRAIGHT, HIGH_AND_WIDE)
ENROLLED, PROBES = 3, 4
# Thresholds in use refuse too few drawn hands to count a ratio; these shares are refused on the enrolment's own reader.
REFUSED_SHARES = (0.2, 0.1, 0.05)
ROUNDS = 1000


@dataclass(frozen=True)
class Exchange:
    """One threshold: shares of right hands refused on the reader of the enrolment, and on the other.

    Attributes:
        threshold: In units of the score.
        same, across: Means over both readers.
        ratio: Across over same, with its interval by resampling people; NaN where none was refused.
    """

    threshold: float
    same: float
    across: float
    ratio: Estimate


@dataclass(frozen=True, eq=False)
class Interoperability:
    """What both readers made of the same placements.

    Attributes:
        people: How many enrolled on both readers, and so were compared.
        not_enrolled: How many did not.
        strict: One row for each of ``REFUSED_SHARES``.
        in_use: One row for each threshold a school can choose.
        uncalibrated: Share refused across at the usual threshold where neither reader was calibrated.
    """

    people: int
    not_enrolled: int
    strict: list[Exchange]
    in_use: dict[ThresholdPolicy, Exchange]
    uncalibrated: float


@dataclass(frozen=True, eq=False)
class _Seen:
    """One person's placements on each reader, calibrated and not: enrolment first, then the probes."""

    calibrated: list[list[Acquired]]
    bare: list[list[Acquired]]


def exchange_readers(people: int) -> Interoperability:
    """Lets drawn people enroll on each of two readers, and lay their hands on both.

    Raises:
        TrialsError: Nobody enrolled.
    """
    seen = list(on_all_cores(_seen, range(people), _("personnes")))
    scores = [_scores([one.calibrated for one in seen]), _scores([one.bare for one in seen])]
    enrolled = ~np.isnan(scores[0]).any(axis=(1, 2, 3))
    if not enrolled.any():
        raise TrialsError(_("aucune des personnes dessinées n’a pu s’enrôler sur les deux lecteurs"))
    kept = scores[0][enrolled]
    own = np.sort(np.concatenate([kept[:, at, at].ravel() for at in range(len(READERS))]))
    usual = ThresholdPolicy.USUAL.threshold.value
    return Interoperability(
        people=int(enrolled.sum()),
        not_enrolled=int((~enrolled).sum()),
        strict=[exchange(kept, float(own[-1 - round(share * len(own))])) for share in REFUSED_SHARES],
        in_use={policy: exchange(kept, policy.threshold.value) for policy in ThresholdPolicy},
        uncalibrated=float(np.mean(~(_off_diagonal(scores[1]) <= usual))),
    )


def _seen(identity: int) -> _Seen:
    person = draw_person(identity)
    pictures = [
        [laid_seen(lens, picture_of(person, at, NO_GRAIN), [identity, at, reader]) for at in range(ENROLLED + PROBES)]
        for reader, lens in enumerate(READERS)
    ]
    return _Seen(
        [
            [acquire(one, calibration=calibration_of(lens)) for one in own]
            for lens, own in zip(READERS, pictures, strict=True)
        ],
        [[acquire(one) for one in own] for own in pictures],
    )


def _scores(seen: Sequence[list[list[Acquired]]]) -> NDArray[np.float64]:
    """(people, readers, readers, probes): enrolled on, laid on; +inf not measured, NaN not enrolled."""
    found = np.full((len(seen), len(READERS), len(READERS), PROBES), np.nan)
    for person, readers in enumerate(seen):
        for enrolled_on, samples in enumerate(readers):
            reference = enroll_from(samples[:ENROLLED])
            if isinstance(reference, FailureToEnroll):
                continue
            for laid_on, laid in enumerate(readers):
                found[person, enrolled_on, laid_on] = [
                    compare(reference, one).value if isinstance(one, Features) else np.inf for one in laid[ENROLLED:]
                ]
    return found


def _off_diagonal(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(people, 2 * probes): laid on the reader not enrolled on."""
    return np.concatenate([scores[:, 0, 1], scores[:, 1, 0]], axis=1)


def exchange(scores: NDArray[np.float64], threshold: float) -> Exchange:
    """Of (people, 2, 2, probes) scores, enrolled on and laid on, what is refused at one threshold."""
    same = np.mean(~(np.concatenate([scores[:, 0, 0], scores[:, 1, 1]], axis=1) <= threshold), axis=1)
    across = np.mean(~(_off_diagonal(scores) <= threshold), axis=1)
    drawn = np.random.default_rng(0).integers(0, len(same), (ROUNDS, len(same)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = across[drawn].mean(axis=1) / same[drawn].mean(axis=1)
        ratio = float(across.mean() / same.mean()) if same.any() else float("nan")
    # A draw in which nobody was refused has no ratio.
    known = ratios[np.isfinite(ratios)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Exchange(threshold, float(same.mean()), float(across.mean()), Estimate(ratio, float(low), float(high)))
