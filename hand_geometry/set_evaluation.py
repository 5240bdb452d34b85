"""One measured folder evaluated as ISO/IEC 19795-1 asks: the figures that ``report`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.errors import FittedNumbersError
from hand_geometry.fit import AcquiredSet, held_out_folds
from hand_geometry.fitted_numbers import FittedNumbers, numbers_for
from hand_geometry.performance import (
    Estimate,
    TrialScores,
    detection_error_tradeoff,
    equal_error_rate,
    false_non_match_rate,
    matches_at,
    rejects_at,
    subject_bootstrap,
    subject_resamples,
)
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.reference import FailureToEnroll
from hand_geometry.set_trials import TRIES, transactions_among, trials_among
from hand_geometry.silhouette import Platen
from hand_geometry.trials import enroll_from

REPORTED_RATES = (0.01, 0.001, 0.0001)
# The DET curve is drawn between these; fewer impostor trials than their inverse say nothing about a rate.
DET_RATES = np.logspace(-4.0, 0.0, 81)
ROUNDS = 200
SHOWN_PAIRS = 20


@dataclass(frozen=True)
class WrongPair:
    """A comparison that went wrong: file names without folders, and the score (+inf: not measured)."""

    reference_file: str
    probe_file: str
    score: float


@dataclass(frozen=True)
class RateRow:
    """FNMR where strangers pass at ``false_match_rate``, and both errors at the shipped threshold of that name."""

    false_match_rate: float
    one_try: Estimate
    rejects_at_threshold: Estimate
    matches_at_threshold: Estimate
    three_tries: Estimate
    one_of_three_tries: Estimate
    three_tries_matches: Estimate


@dataclass(frozen=True, eq=False)
class SetEvaluation:
    """Everything the report says; scores are pooled over folds only to draw their histogram."""

    name: str
    platen: Platen
    posture: Posture
    subjects: int
    images: int
    held_out: bool
    folds: int
    enrolled: int
    failures: Counter[QualityReason]
    enrolments: int
    failures_to_enroll: Counter[QualityReason]
    people_with_trials: int
    genuine_trials: int
    impostor_trials: int
    transactions: int
    transaction_people: int
    equal_error: Estimate
    rates: tuple[RateRow, ...]
    det: NDArray[np.float64]
    det_low: NDArray[np.float64]
    det_high: NDArray[np.float64]
    det_three: NDArray[np.float64]
    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]
    rejected: tuple[WrongPair, ...]
    accepted: tuple[WrongPair, ...]


def evaluate_set(
    measured: AcquiredSet, support: Sequence[AcquiredSet] = (), *, enrolled: int = 3, seeds: int = 5
) -> SetEvaluation:
    """Evaluates a set on numbers fitted without the people tested, or on the shipped numbers where it is too small.

    Raises:
        TrialsError: Nothing in it can be compared.
    """
    folds, held_out = folds_of(measured, support, seeds)
    one = [trials_among(measured.images, measured.acquired, numbers, people, enrolled) for numbers, people in folds]
    three = [
        transactions_among(measured.images, measured.acquired, numbers, people, enrolled=enrolled)
        for numbers, people in folds
    ]
    # The same people and the same fewer enrolment pictures, so that three tries are held against one fairly.
    single = [
        transactions_among(measured.images, measured.acquired, numbers, people, tries=1, enrolled=_left(measured))
        for numbers, people in folds
    ]
    one = [fold for fold in one if len(fold.genuine) and len(fold.impostor)]
    if not one:
        raise measured.too_few_people(enrolled)
    low, high = _band(one)
    failures = Counter(a.reason for a in measured.acquired if isinstance(a, FailureToAcquire))
    enrolments, not_enrolled = _enrolments(measured, enrolled)
    return SetEvaluation(
        name=measured.name,
        platen=measured.platen,
        posture=measured.posture,
        subjects=len({image.subject for image in measured.images}),
        images=len(measured.images),
        held_out=held_out,
        folds=len(one),
        enrolled=enrolled,
        failures=failures,
        enrolments=enrolments,
        failures_to_enroll=not_enrolled,
        people_with_trials=len({str(s) for fold in one for s in fold.genuine_subjects}),
        genuine_trials=sum(len(fold.genuine) for fold in one),
        impostor_trials=sum(len(fold.impostor) for fold in one),
        transactions=sum(len(fold.genuine) for fold in three),
        transaction_people=len({str(s) for fold in three for s in fold.genuine_subjects}),
        equal_error=subject_bootstrap(one, equal_error_rate, rounds=ROUNDS),
        rates=tuple(_rate_row(rate, one, three, single) for rate in REPORTED_RATES),
        det=detection_error_tradeoff(one, DET_RATES),
        det_low=low,
        det_high=high,
        det_three=detection_error_tradeoff(three, DET_RATES),
        genuine=np.concatenate([fold.genuine for fold in one]),
        impostor=np.concatenate([fold.impostor for fold in one]),
        rejected=_rejected(one),
        accepted=_accepted(one),
    )


def _left(measured: AcquiredSet) -> int:
    """How many pictures of most people are left to enroll when the tries are taken away."""
    counts = Counter(image.subject for image in measured.images)
    return max(1, min(3, int(np.median(list(counts.values()))) - TRIES))


def folds_of(
    measured: AcquiredSet, support: Sequence[AcquiredSet], seeds: int
) -> tuple[list[tuple[FittedNumbers, NDArray[np.str_]]], bool]:
    """Held-out folds and True; all people on the shipped numbers and False where half of half are too few to fit on."""
    try:
        return list(held_out_folds(measured, support, seeds=seeds)), True
    except (FittedNumbersError, KeyError):
        people = np.unique([image.subject for image in measured.images])
        return [(numbers_for(measured.posture, measured.platen), people)], False


def _enrolments(measured: AcquiredSet, enrolled: int) -> tuple[int, Counter[QualityReason]]:
    """Enrolments of each person's first pictures as the station makes them, and why some came to nothing."""
    pictures: dict[str, list[Features | FailureToAcquire]] = {}
    for image, acquired in zip(measured.images, measured.acquired, strict=True):
        pictures.setdefault(image.subject, []).append(acquired)
    able = [own[:enrolled] for own in pictures.values() if len(own) >= enrolled]
    made = [enroll_from(own) for own in able]
    return len(able), Counter(one.reason for one in made if isinstance(one, FailureToEnroll))


def _rate_row(
    rate: float, one: Sequence[TrialScores], three: Sequence[TrialScores], single: Sequence[TrialScores]
) -> RateRow:
    threshold = float(np.log10(rate))
    at_rate = partial(false_non_match_rate, false_match_rate=rate)
    rejects, matches = partial(rejects_at, threshold=threshold), partial(matches_at, threshold=threshold)
    return RateRow(
        rate,
        subject_bootstrap(one, at_rate, rounds=ROUNDS),
        subject_bootstrap(one, rejects, rounds=ROUNDS),
        subject_bootstrap(one, matches, rounds=ROUNDS),
        _or_nothing(three, rejects),
        _or_nothing(single, rejects),
        _or_nothing(three, matches),
    )


def _or_nothing(folds: Sequence[TrialScores], statistic: partial[float]) -> Estimate:
    able = [fold for fold in folds if len(fold.genuine) and len(fold.impostor)]
    if not able:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return subject_bootstrap(able, statistic, rounds=ROUNDS)


def _band(folds: Sequence[TrialScores]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of the DET curve when subjects are drawn anew."""
    curves = [detection_error_tradeoff(drawn, DET_RATES) for drawn in subject_resamples(folds, rounds=ROUNDS)]
    low, high = np.nanquantile(curves, [0.025, 0.975], axis=0)
    return low, high


def _rejected(folds: Sequence[TrialScores]) -> tuple[WrongPair, ...]:
    """Genuine probes over the threshold of one stranger in a thousand, the worst score of each once."""
    worst: dict[str, WrongPair] = {}
    for fold in folds:
        for score, probe in zip(fold.genuine, fold.genuine_files, strict=True):
            name = str(probe)
            if score > np.log10(0.001) and (name not in worst or worst[name].score < score):
                worst[name] = WrongPair("", name, float(score))
    return tuple(sorted(worst.values(), key=lambda pair: -pair.score)[:SHOWN_PAIRS])


def _accepted(folds: Sequence[TrialScores]) -> tuple[WrongPair, ...]:
    """Strangers under that threshold, the nearest score of each pair once."""
    nearest: dict[tuple[str, str], WrongPair] = {}
    for fold in folds:
        wrong = np.flatnonzero(fold.impostor <= np.log10(0.001))
        for at in wrong:
            reference, probe = (str(one) for one in fold.impostor_files[at])
            people = (str(fold.impostor_subjects[at][0]), probe)
            score = float(fold.impostor[at])
            if people not in nearest or score < nearest[people].score:
                nearest[people] = WrongPair(reference, probe, score)
    return tuple(sorted(nearest.values(), key=lambda pair: pair.score)[:SHOWN_PAIRS])
