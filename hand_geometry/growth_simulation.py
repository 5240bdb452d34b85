"""A school year of growing children, simulated in the compared space: with updates, and without.

Nothing here measures accuracy. People are drawn from the fitted
variances between adults; placements scatter as real ones
did between days (people kept apart from the fit, between pegs): variances in units of the fitted one, log-normal.
Growth follows the table of ``growth_model``, with tempo, breadth and fingers of each child's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.adaptation import Adaptation, AdaptationHistory, adapt, start_history
from hand_geometry.comparison import DEFAULT_THRESHOLD, Threshold, compare, decide
from hand_geometry.fitted_numbers import FittedNumbers, numbers_for
from hand_geometry.growth_model import Sex, growth_pattern, mean_length_mm
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.performance import Estimate
from hand_geometry.posture import Posture
from hand_geometry.reference import Reference
from hand_geometry.silhouette import Platen

# Measured on the set between pegs, 78 pairs of pictures on different days and 428 on one day: half the mean squared
# difference a direction, 4.2 (median 3.5, nine in ten under 7.6) and 1.4.
DAY_SHARE = 2.0 / 3.0
MEDIAN_VARIANCE, VARIANCE_SPREAD = 3.5, 0.61
# Of the yearly gain, as a factor: children run ahead of the mean or lag behind.
TEMPO_SPREAD = 0.3
# Widths grow a little less than lengths, and no two children alike; nor do fingers (parts of the growth).
BREADTH_MEAN, BREADTH_SPREAD, FINGER_SPREAD = 0.9, 0.12, 0.05
SCHOOL_YEAR_START = datetime(2026, 9, 1, 11, 45, tzinfo=UTC)
# School weeks since September, with the holidays between them: 36 of 44.
SCHOOL_WEEKS = (*range(7), *range(9, 16), *range(18, 24), *range(26, 32), *range(34, 44))
PASS_DAYS = (0, 2, 3)
WEEKS_COMPARED = 4
RESAMPLES = 1000


@dataclass(frozen=True)
class SchoolYear:
    """What became of the first tries, with the weeks at the start and at the end of the year.

    Attributes:
        children: How many.
        passes: How many first tries in all.
        weekly_rejects: Share of first tries rejected, by school week.
        start: The mean of the first four weeks; intervals by resampling children.
        end: The mean of the last four.
        ratio: Of the second to the first.
        updates: How many updates a child had, on average.
        refused: Share of updates refused as beyond growth.
        invited: Share of children invited to enroll anew.
        rejected: Share of children with three rejects in a row, as a grown hand gets.
        invited_first: Of these, how many had been invited before.
        stranger_rate: Share of strangers accepted at the end, each child's reference against each other child.
    """

    children: int
    passes: int
    weekly_rejects: tuple[float, ...]
    start: Estimate
    end: Estimate
    ratio: Estimate
    updates: float
    refused: float
    invited: float
    rejected: float
    invited_first: float | None
    stranger_rate: float


@dataclass(frozen=True, eq=False)
class _Child:
    """One child's own place (k,) in September, and growth a year from then on (k,)."""

    place: NDArray[np.float64]
    growth: NDArray[np.float64]

    def after(self, years: float) -> NDArray[np.float64]:
        """Where the hand is by then, (k,)."""
        return np.asarray(self.place + years * self.growth, dtype=np.float64)


def _child(numbers: FittedNumbers, draw: np.random.Generator) -> _Child:
    sex = Sex.BOY if draw.random() < 0.5 else Sex.GIRL
    age = draw.uniform(11.0, 15.0)
    place = draw.normal(0.0, np.sqrt(numbers.between))
    # Children differ here as adults do: no set at hand shows how they really do.
    yearly = np.log(mean_length_mm(sex, age + 1.0) / mean_length_mm(sex, age)) * np.exp(draw.normal(0.0, TEMPO_SPREAD))
    pattern = growth_pattern(breadth=max(0.5, draw.normal(BREADTH_MEAN, BREADTH_SPREAD)))
    own = dict(zip(("thumb", "index", "middle", "ring", "little"), draw.normal(1.0, FINGER_SPREAD, 5), strict=True))
    factors = np.array([own.get(name.split("_", maxsplit=1)[0], 1.0) for name in FEATURE_NAMES])
    return _Child(place, yearly * (pattern * factors) @ numbers.projection)


def _scatter(draw: np.random.Generator, share: float, dimensions: int) -> NDArray[np.float64]:
    variance = share * MEDIAN_VARIANCE * np.exp(VARIANCE_SPREAD * draw.standard_normal())
    return np.asarray(draw.normal(0.0, np.sqrt(variance), dimensions), dtype=np.float64)


def _features(numbers: FittedNumbers, inverse: NDArray[np.float64], place: NDArray[np.float64]) -> Features:
    """Features that project to ``place``: the simulation goes through the same code as a pass does."""
    return Features(numbers.mean + place @ inverse, FEATURE_NAMES, Platen.DARK, mirrored=False, posture=Posture.GUIDED)


def _enrolled(numbers: FittedNumbers, samples: NDArray[np.float64]) -> Reference:
    """The reference of (m, k) projected samples, without the check that they agree."""
    values = np.asarray(samples.mean(axis=0), dtype=np.float64)
    return Reference(values, len(samples), Platen.DARK, False, Posture.GUIDED, numbers.identifier)


def simulate_school_year(
    children: int = 600, *, updates: bool = True, seed: int = 0, threshold: Threshold = DEFAULT_THRESHOLD
) -> SchoolYear:
    """Three passes a week from September to July; the same seed gives the same children and placements either way."""
    numbers = numbers_for(Posture.GUIDED, Platen.DARK)
    inverse = np.asarray(np.linalg.pinv(numbers.projection), dtype=np.float64)
    rejects = np.zeros((len(SCHOOL_WEEKS), len(PASS_DAYS), children), dtype=np.bool_)
    moved = refused = 0
    invited, grown_out, invited_first = 0, 0, 0
    references: list[Reference] = []
    last_places: list[NDArray[np.float64]] = []
    for at in range(children):
        draw = np.random.default_rng([20_28, seed, at])
        child = _child(numbers, draw)
        own = child.after(0.0) + _scatter(draw, DAY_SHARE, numbers.dimensions)
        samples = [own + _scatter(draw, 1.0 - DAY_SHARE, numbers.dimensions) for _ in range(3)]
        reference = _enrolled(numbers, np.stack(samples))
        history: AdaptationHistory = start_history(reference, SCHOOL_YEAR_START)
        was_invited, in_a_row, out = False, 0, False
        place = child.after(0.0)
        for week_at, week in enumerate(SCHOOL_WEEKS):
            for day_at, weekday in enumerate(PASS_DAYS):
                now = SCHOOL_YEAR_START + timedelta(weeks=week, days=weekday + 1)
                years = (now - SCHOOL_YEAR_START).days / 365.25
                day = _scatter(draw, DAY_SHARE, numbers.dimensions)
                place = child.after(years)
                placed = _scatter(draw, 1.0 - DAY_SHARE, numbers.dimensions)
                laid = np.asarray(place + day + placed, dtype=np.float64)
                probe = _features(numbers, inverse, laid)
                score = compare(reference, probe)
                matched = decide(score, threshold)
                rejects[week_at, day_at, at] = not matched
                in_a_row = 0 if matched else in_a_row + 1
                if in_a_row == 3 and not out:
                    out = True
                    invited_first += was_invited
                outcome = adapt(reference, probe, score, now, history, first_try=matched, threshold=threshold)
                was_invited = was_invited or outcome.invites_enrollment
                refused += outcome.adaptation is Adaptation.BEYOND_GROWTH
                if updates:
                    moved += outcome.adaptation is Adaptation.UPDATED
                    reference, history = outcome.reference, outcome.history
                else:
                    # As enrolled for the whole year; only the scores are remembered.
                    history = replace(outcome.history, updated_at=None, revision=0, refusals=0)
        invited += was_invited
        grown_out += out
        references.append(reference)
        last_places.append(place)
    start, end, ratio = _of_the_year(
        rejects[:WEEKS_COMPARED].mean(axis=(0, 1)), rejects[-WEEKS_COMPARED:].mean(axis=(0, 1))
    )
    return SchoolYear(
        children,
        rejects.size,
        tuple(float(one) for one in rejects.mean(axis=(1, 2))),
        start,
        end,
        ratio,
        moved / children,
        refused / max(moved + refused, 1),
        invited / children,
        grown_out / children,
        invited_first / grown_out if grown_out else None,
        _stranger_rate(numbers, inverse, references, last_places, threshold),
    )


def _of_the_year(start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[Estimate, Estimate, Estimate]:
    """Of (children,) rates at both ends: their means and the ratio, with intervals by drawing children anew."""
    drawn = np.random.default_rng(20_40).integers(0, len(start), (RESAMPLES, len(start)))
    starts, ends = start[drawn].mean(axis=1), end[drawn].mean(axis=1)

    def estimate(value: float, among: NDArray[np.float64]) -> Estimate:
        low, high = np.quantile(among, [0.025, 0.975])
        return Estimate(value, float(low), float(high))

    first, last = float(start.mean()), float(end.mean())
    # No reject at the start is half a reject: a ratio to none says nothing.
    least = 0.5 / (len(start) * WEEKS_COMPARED * len(PASS_DAYS))
    ratio = estimate(last / max(first, least), ends / np.maximum(starts, least))
    return estimate(first, starts), estimate(last, ends), ratio


def _stranger_rate(
    numbers: FittedNumbers,
    inverse: NDArray[np.float64],
    references: list[Reference],
    places: list[NDArray[np.float64]],
    threshold: Threshold,
) -> float:
    """Every child's reference against twenty others' hands: updates must not open it to them."""
    count = len(places)
    steps = range(1, min(21, count))
    tried = [(at, (at + step) % count) for at in range(count) for step in steps]
    passed = sum(
        decide(compare(references[one], _features(numbers, inverse, places[other])), threshold) for one, other in tried
    )
    return passed / len(tried) if tried else float("nan")
