"""The reference follows a growing hand: a little after each strong match, and never far from the enrolment.

Three things keep a stranger from moving it: a match that is merely good enough changes nothing, at most one match a day
counts, and together all updates stay where a hand of this pupil can have grown to since the enrolment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.comparison import DEFAULT_THRESHOLD, ComparisonScore, Threshold, compare
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.growth_model import DAYS_A_YEAR, FASTEST_YEARLY_GROWTH, growth_direction
from hand_geometry.height_numbers import height_numbers
from hand_geometry.reference import Heights, Reference, numbers_of
from hand_geometry.reference_codec import QUANTUM, decode_reference, encode_reference

# A strong match: strangers that come as near are ten times rarer than the threshold lets pass.
STRONG_MARGIN = 1.0
# Part of the way from the reference to the probe. Three passes a week follow 5 % of growth a year with a lag of 1 % of
# it, and a single bad placement moves the reference by a tenth of itself.
STEP = 0.1
SHORTEST_INTERVAL = timedelta(hours=20)
# Children grow faster for a while than any average of them.
GROWTH_MARGIN = 1.5
# Beyond the model, for what one enrolment was off by: 1 % in size either way, and across the direction of growth twenty
# spreads between two pictures: one day's three placements lie thirteen off the hand's true place, fingers do not all
# grow alike, and strangers are sixty apart.
SIZE_SLACK = 0.01
ACROSS_LIMIT = 20.0
# The same for heights, in their own projected space: a year of growth, not another hand.
HEIGHT_LIMIT = 6.0
# After so much growth even a true hand is enrolled anew: errors may have gathered.
LARGEST_GROWTH = 0.12
# Scores are averaged over about as many passes as two weeks have.
SMOOTHING = 0.15
PASSES_BEFORE_INVITING = 5
# Re-enrolment is offered while the usual score still has this much to the threshold.
INVITING_MARGIN = 0.8
REFUSALS_BEFORE_INVITING = 5


class Adaptation(StrEnum):
    """Whether the reference moved, and why not."""

    UPDATED = "updated"
    NO_MATCH = "no_match"
    NOT_FIRST_TRY = "not_first_try"
    WEAK_MATCH = "weak_match"
    ALREADY_TODAY = "already_today"
    BEYOND_GROWTH = "beyond_growth"


@dataclass(frozen=True, eq=False)
class AdaptationHistory:
    """What has to be remembered beside a reference; sealed and erased with it.

    Attributes:
        enrolled: The reference as it was enrolled: all drift is measured from it.
        enrolled_at: When; aware, UTC.
        updated_at: When the reference was last moved, or None.
        revision: How often it was.
        usual_score: The smoothed score of matches, or None before the first.
        matches: How many were smoothed, at most 255.
        refusals: Updates in a row that would have led beyond growth, at most 255.
    """

    enrolled: Reference = field(repr=False)
    enrolled_at: datetime
    updated_at: datetime | None = None
    revision: int = 0
    usual_score: float | None = None
    matches: int = 0
    refusals: int = 0


@dataclass(frozen=True, eq=False)
class AdaptationOutcome:
    """The reference and the history to keep from now on, what was done, and whether to offer a new enrolment."""

    reference: Reference = field(repr=False)
    history: AdaptationHistory
    adaptation: Adaptation
    invites_enrollment: bool


def start_history(reference: Reference, now: datetime) -> AdaptationHistory:
    """The history of a reference just enrolled."""
    return AdaptationHistory(reference, now.astimezone(UTC))


def adapt(
    reference: Reference,
    features: Features,
    score: ComparisonScore,
    now: datetime,
    history: AdaptationHistory,
    *,
    first_try: bool,
    threshold: Threshold = DEFAULT_THRESHOLD,
) -> AdaptationOutcome:
    """Moves the reference towards a probe that matched, if it may be moved; call it after every comparison.

    Args:
        reference: The one compared with.
        features: The probe.
        score: What ``compare`` gave for the two. It is computed again: a caller's slip must not move a reference.
        now: Aware, and of a clock that is trusted.
        history: As kept with the reference.
        first_try: Whether the pupil's first try of this pass matched.
        threshold: The school's.
    """
    score = max(score, compare(reference, features, today=now.date()))
    if not score.value <= threshold.value:
        return AdaptationOutcome(reference, history, Adaptation.NO_MATCH, _invites(history, threshold))
    seen = _with_score(history, score)
    if not first_try:
        return _kept(reference, seen, Adaptation.NOT_FIRST_TRY, threshold)
    if score.value > threshold.value - STRONG_MARGIN:
        return _kept(reference, seen, Adaptation.WEAK_MATCH, threshold)
    # Also where the clock went backwards: an update must not be repeated by setting it.
    if now < history.enrolled_at or (history.updated_at and now - history.updated_at < SHORTEST_INTERVAL):
        return _kept(reference, seen, Adaptation.ALREADY_TODAY, threshold)
    moved = reference.values + STEP * (numbers_of(reference).project(features.values) - reference.values)
    # As it will be stored: what rounds to nothing must not count as a revision.
    moved = np.rint(moved / QUANTUM) * QUANTUM
    if not _may_have_grown_to(moved, history, now):
        refused = replace(seen, refusals=min(seen.refusals + 1, 255))
        return _kept(reference, refused, Adaptation.BEYOND_GROWTH, threshold)
    after = replace(seen, updated_at=now.astimezone(UTC), revision=min(seen.revision + 1, 65535), refusals=0)
    followed = replace(reference, values=moved, heights=_moved_heights(reference, features, history))
    return AdaptationOutcome(followed, after, Adaptation.UPDATED, _invites(after, threshold))


def _moved_heights(reference: Reference, features: Features, history: AdaptationHistory) -> Heights | None:
    """The heights a step towards the probe's, and never further from the enrolled ones than ``HEIGHT_LIMIT``."""
    held, enrolled, numbers = reference.heights, history.enrolled.heights, height_numbers()
    if held is None or enrolled is None or features.heights is None:
        return held
    if not held.numbers_identifier == enrolled.numbers_identifier == numbers.identifier:
        return held
    moved = held.values + STEP * (numbers.fitted.project(features.heights) - held.values)
    moved = np.rint(moved / QUANTUM) * QUANTUM
    return replace(held, values=moved) if float(np.linalg.norm(moved - enrolled.values)) <= HEIGHT_LIMIT else held


def growth_since(reference: Reference, history: AdaptationHistory) -> float:
    """By how much the reference has grown since the enrolment, as a difference of logarithms."""
    return _drift(reference.values, history)[0]


def _drift(values: NDArray[np.float64], history: AdaptationHistory) -> tuple[float, float]:
    """Growth along the direction of growing, and the distance across it."""
    direction = growth_direction(numbers_of(history.enrolled))
    moved = values - history.enrolled.values
    grown = float(moved @ direction / (direction @ direction))
    return grown, float(np.linalg.norm(moved - grown * direction))


def _may_have_grown_to(values: NDArray[np.float64], history: AdaptationHistory, now: datetime) -> bool:
    grown, across = _drift(values, history)
    years = (now - history.enrolled_at).total_seconds() / 86400.0 / DAYS_A_YEAR
    most = min(GROWTH_MARGIN * FASTEST_YEARLY_GROWTH * years + SIZE_SLACK, LARGEST_GROWTH)
    return -SIZE_SLACK <= grown <= most and across <= ACROSS_LIMIT


def _with_score(history: AdaptationHistory, score: ComparisonScore) -> AdaptationHistory:
    before = history.usual_score
    usual = score.value if before is None else before + SMOOTHING * (score.value - before)
    return replace(history, usual_score=usual, matches=min(history.matches + 1, 255))


def _invites(history: AdaptationHistory, threshold: Threshold) -> bool:
    """Rising scores, or a hand that has left what growth explains."""
    if history.refusals >= REFUSALS_BEFORE_INVITING:
        return True
    enough = history.matches >= PASSES_BEFORE_INVITING and history.usual_score is not None
    return enough and (history.usual_score or 0.0) > threshold.value - INVITING_MARGIN


def _kept(reference: Reference, history: AdaptationHistory, why: Adaptation, threshold: Threshold) -> AdaptationOutcome:
    return AdaptationOutcome(reference, history, why, _invites(history, threshold))


# Version (1), revision (2), enrolled and updated in seconds since 1970 (4 each, 0: never), matches (1), refusals (1),
# usual score (4, NaN: none), then the reference as enrolled. 122 bytes with 48 values.
HISTORY_VERSION = 1
_HISTORY = struct.Struct(">BHIIBBf")


def encode_history(history: AdaptationHistory) -> bytes:
    """As few bytes; they say as much of a hand as a reference does and are sealed like one."""
    updated = 0 if history.updated_at is None else int(history.updated_at.timestamp())
    usual = float("nan") if history.usual_score is None else history.usual_score
    head = _HISTORY.pack(
        HISTORY_VERSION,
        history.revision,
        int(history.enrolled_at.timestamp()),
        updated,
        history.matches,
        history.refusals,
        usual,
    )
    return head + encode_reference(history.enrolled)


def decode_history(untrusted_bytes: bytes) -> AdaptationHistory:
    """Reads what ``encode_history`` wrote.

    Raises:
        ReferenceFormatError: Anything else was given.
    """
    if len(untrusted_bytes) < _HISTORY.size:
        raise ReferenceFormatError("not the length of a history")
    version, revision, enrolled, updated, matches, refusals, usual = _HISTORY.unpack_from(untrusted_bytes)
    if version != HISTORY_VERSION:
        raise ReferenceFormatError("a history of a version this program does not know")
    return AdaptationHistory(
        decode_reference(untrusted_bytes[_HISTORY.size :]),
        datetime.fromtimestamp(enrolled, UTC),
        datetime.fromtimestamp(updated, UTC) if updated else None,
        revision,
        None if np.isnan(usual) else float(usual),
        matches,
        refusals,
    )
