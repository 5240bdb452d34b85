"""How far a probe lies from a reference, and the decision. The score's direction is said here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from hand_geometry.acquisition import Features
from hand_geometry.errors import UnlikeReadersError
from hand_geometry.height_numbers import height_numbers
from hand_geometry.reference import Reference, numbers_of
from hand_geometry.scoring import calibrated, raw_score


@dataclass(frozen=True, order=True)
class ComparisonScore:
    """A distance: **lower is closer**.

    ``value`` is log10 of the share of strangers that come as near, as measured on people kept apart from the fit: -3
    means that one stranger in a thousand does.
    """

    value: float


@dataclass(frozen=True)
class Threshold:
    """Scores at or under ``value`` match."""

    value: float

    @classmethod
    def at_false_match_rate(cls, rate: float) -> Threshold:
        """The threshold at which a stranger matches with probability ``rate``, 0 < rate < 1."""
        if not 0.0 < rate < 1.0:
            raise ValueError("a false match rate lies between 0 and 1")
        return cls(math.log10(rate))


# A stranger who knows the pupil's code and tries with his own hand is let through once in a thousand times.
DEFAULT_THRESHOLD = Threshold.at_false_match_rate(0.001)

# Another platen, the other hand, fingers not looked at that count, or a mask that has ended: nothing was compared, and
# nothing is further away.
NOT_COMPARABLE = ComparisonScore(math.inf)


def compare(reference: Reference, probe: Features, *, today: date | None = None) -> ComparisonScore:
    """Compares one probe with one reference (1:1; there is no search over all).

    Args:
        reference: As enrolled or adapted.
        probe: What lies on the platen.
        today: Needed where the reference has a mask that ends: past its last day, or without a date, nothing matches.

    Raises:
        FittedNumbersError: The reference was made with other numbers than those shipped; the pupil has to enroll again.
        UnlikeReadersError: One of the two was measured in mm, the other in px: a hand would look like a stranger's, or
            a stranger's like it.
    """
    if probe.in_mm is not reference.in_mm:
        raise UnlikeReadersError("the reference was made in mm" if reference.in_mm else "the reference was made in px")
    if probe.platen is not reference.platen or probe.mirrored is not reference.mirrored:
        return NOT_COMPARABLE
    if not probe.left_out <= reference.mask.left_out:
        return NOT_COMPARABLE
    if reference.mask.last_day is not None and (today is None or not reference.mask.in_force(today)):
        return NOT_COMPARABLE
    numbers = numbers_of(reference)
    raw = raw_score(numbers, reference.values, reference.sample_count, numbers.project(probe.values))
    return ComparisonScore(calibrated(numbers, raw + _heights_against(reference, probe), reference.sample_count))


def _heights_against(reference: Reference, probe: Features) -> float:
    """What the side view adds; 0 where the reader has no mirror, or the reference no heights that can be compared."""
    if reference.heights is None or probe.heights is None:
        return 0.0
    numbers = height_numbers()
    # Other numbers for heights leave the outline, which is what the false match rate was measured with.
    if reference.heights.numbers_identifier != numbers.identifier:
        return 0.0
    return numbers.against(reference.heights.values, reference.sample_count, probe.heights)


def decide(score: ComparisonScore, threshold: Threshold = DEFAULT_THRESHOLD) -> bool:
    """True where the score is close enough to be the same hand."""
    return score.value <= threshold.value
