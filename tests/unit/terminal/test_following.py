"""The reference follows the hand at the terminal's own path: real comparison, real store, real journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from canteen.consent import ConsentState
from canteen.hand_policy import HandPolicy
from hand_geometry.acquisition import Features
from hand_geometry.comparison import DEFAULT_THRESHOLD, compare
from hand_geometry.growth_model import growth_direction
from hand_geometry.held_hand import HeldHand, decode_held
from hand_geometry.reference import Reference
from hand_geometry.reference_codec import encode_reference
from sync.facts import EnrollmentAdvised
from sync.orders import ReferenceOrder
from sync.sealed_reference import ReferenceGrant, seal_reference
from templates_store.store import Erasure, StoredReference
from terminal.devices import HandAnswer, HandQuestion
from terminal.enrollment_advice import to_enroll_anew
from terminal.pass_machine import HAND_TRIES, State
from terminal.verification import HandVerification
from tests.unit.hand_geometry.people import NUMBERS, person, probe_at, reference_at, towards
from tests.unit.terminal.lane import (
    CONSENT,
    NOON,
    OPENING_KEY,
    STATION,
    STATION_KEY,
    TERMINAL,
    School,
    calendar_order,
    filled_school,
    pupil_id,
)

PUPIL = pupil_id(1)
DAY = timedelta(days=1)
ENROLLED = int(NOON.timestamp()) - 86400


class _NoCamera:
    def capture(self) -> None:
        return None

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def school(tmp_path: Path) -> Iterator[School]:
    """A lane whose hands are compared in earnest; only the camera is left out."""
    made = filled_school(tmp_path)
    judge = HandVerification(_NoCamera(), made.clock.monotonic_s)
    for name in ("is_compared", "awaits_enrollment", "carried_over"):
        setattr(made.hands, name, getattr(judge, name))

    def counted(question: HandQuestion) -> HandAnswer:
        made.hands.comparisons += 1
        return judge.compare(question)

    made.hands.compare = counted  # type: ignore[method-assign]
    made.close()
    made.open()
    made.store.purge(PUPIL, Erasure.REFERENCE)
    assert made.store.put_reference(PUPIL, ENROLLED, CONSENT, encode_reference(reference_at(person(1))))
    made.store.renew_lease(NOON + 400 * DAY)
    yield made.begin()
    judge.close()
    made.close()


def held(school: School) -> HeldHand:
    """What the store gives now."""
    stored = school.store.reference(PUPIL, school.clock.utc_now())
    assert isinstance(stored, StoredReference)
    assert ENROLLED == stored.revision
    return decode_held(stored.reference, school.store.adaptation_history(stored))


def usual(school: School) -> Reference:
    reference = held(school).usual
    assert reference is not None
    return reference


def eats(school: School, hand: Features) -> bool:
    """Code, hand, turnstile; whether it turned. Then it is noon of the next day of school."""
    school.type_code(1)
    school.lay(hand)
    turned = school.push()
    school.hands.lift()
    school.settle(3.0)
    while not school.is_in(State.IDLE):
        school.settle(5.0)
    now = school.clock.utc_now()
    over_the_weekend = 3 if now.weekday() == 4 else 1
    school.clock.advance((now.replace(hour=11, minute=0) + over_the_weekend * DAY - now).total_seconds())
    school.box.note_contact(school.clock.utc_now(), school.clock.utc_now())
    return turned


def test_the_reference_grows_with_the_hand_and_survives_a_power_cut(school: School) -> None:
    """A week of strong first tries moves it towards the hand, with the enrolment beside it."""
    grown = person(1) + 0.008 * growth_direction(NUMBERS)
    before = compare(usual(school), probe_at(grown)).value
    for _ in range(5):
        assert eats(school, probe_at(grown))
    school.close()
    school.open()
    now = held(school)
    assert now.history is not None
    assert 5 == now.history.revision
    assert encode_reference(reference_at(person(1))) == encode_reference(now.history.enrolled)
    assert compare(usual(school), probe_at(grown)).value < before
    assert not school.facts_of(EnrollmentAdvised)


def test_a_thousand_near_misses_and_weak_matches_move_nothing(school: School) -> None:
    """The best that an impostor can shape, just under the threshold and just over it, moves nothing."""
    mine = usual(school)
    under = towards(mine, person(2), DEFAULT_THRESHOLD.value - 0.01)
    over = towards(mine, person(2), DEFAULT_THRESHOLD.value + 0.05)
    assert compare(mine, over).value > DEFAULT_THRESHOLD.value
    for _day in range(6):
        for _attempt in range(3):
            school.type_code(1)
            school.lay(over)
            while not school.is_in(State.IDLE):
                school.settle(1.5)
            school.hands.lift()
        assert eats(school, under)
    assert 6 * (3 * HAND_TRIES + 1) == school.hands.comparisons
    stored = school.store.reference(PUPIL, school.clock.utc_now())
    assert isinstance(stored, StoredReference)
    memory = school.store.adaptation_history(stored)
    for day in range(1000):
        at = school.clock.utc_now() + day * DAY
        question = HandQuestion(
            stored, under, at, at.date(), HandPolicy.USUAL, first_try=True, clock_believed=True, memory=memory
        )
        learnt = school.hands.compare(question).learnt
        assert learnt is not None
        stored, memory = replace(stored, reference=learnt.reference), learnt.memory
    assert memory is not None
    assert school.store.adapt_reference(stored, memory, school.clock.utc_now())
    assert np.array_equal(mine.values, usual(school).values)
    assert [EnrollmentAdvised(PUPIL, ENROLLED)] == school.facts_of(EnrollmentAdvised)
    anew = to_enroll_anew(school.store, school.hands, school.clock)
    assert [PUPIL] == [pupil.pupil for pupil in anew]


def test_a_second_try_teaches_nothing(school: School) -> None:
    """The pupil passes at the second placement: neither the reference nor its day changes."""
    mine = usual(school)
    school.type_code(1)
    school.lay(probe_at(person(2)))
    school.hands.lift()
    school.settle(2.0)
    school.lay(probe_at(person(1)))
    assert school.push()
    history = held(school).history
    assert history is not None
    assert history.updated_at is None
    assert np.array_equal(mine.values, usual(school).values)


def test_the_station_wins_and_a_withdrawal_ends_it(school: School) -> None:
    """A newer reference takes the place of what was learnt; after a withdrawal nothing is written back."""
    assert eats(school, probe_at(person(1) + 0.05))
    anew = encode_reference(reference_at(person(5)))
    grant = ReferenceGrant(PUPIL, ENROLLED + 10, school.clock.utc_now(), CONSENT, anew)
    sealed = seal_reference(grant, STATION, TERMINAL, STATION_KEY, OPENING_KEY.sealing_key)
    school.order(ReferenceOrder(PUPIL, STATION, ENROLLED + 10, sealed))
    school.settle(0.5)
    stored = school.store.reference(PUPIL, school.clock.utc_now())
    assert isinstance(stored, StoredReference)
    assert (ENROLLED + 10, anew) == (stored.revision, stored.reference)
    assert not school.store.adapt_reference(replace(stored, revision=ENROLLED), b"", school.clock.utc_now())
    school.type_code(1)
    school.store.put_consent(PUPIL, ConsentState.WITHDRAWN, None)
    school.lay(probe_at(person(5)))
    assert "card-required" == school.screen.view.reason


def test_a_splint_leaves_what_was_learnt(school: School) -> None:
    """The same enrolment with a stand-in beside it: the other hand passes, growth is kept."""
    for _ in range(4):
        assert eats(school, probe_at(person(1) + 0.05))
    learnt = usual(school)
    today = school.clock.utc_now().date()
    with_splint = HeldHand(
        reference_at(person(1)), stand_in=reference_at(person(7), mirrored=True), until=today + 2 * DAY
    )
    grant = ReferenceGrant(PUPIL, ENROLLED + 10, school.clock.utc_now(), CONSENT, with_splint.encoded())
    sealed = seal_reference(grant, STATION, TERMINAL, STATION_KEY, OPENING_KEY.sealing_key)
    school.order(ReferenceOrder(PUPIL, STATION, ENROLLED + 10, sealed))
    school.settle(0.5)
    assert eats(school, probe_at(person(7), mirrored=True))
    stored = school.store.reference(PUPIL, school.clock.utc_now())
    assert isinstance(stored, StoredReference)
    kept = decode_held(stored.reference, school.store.adaptation_history(stored)).usual
    assert kept is not None
    assert np.array_equal(learnt.values, kept.values)


def test_a_hand_in_plaster_is_not_asked_for(school: School) -> None:
    """The code leads to the card at once, through the last day; then the hand is asked for again."""
    today = school.clock.utc_now().date()
    at_rest = HeldHand(reference_at(person(1)), until=today).encoded()
    assert school.store.put_reference(PUPIL, ENROLLED + 10, CONSENT, at_rest)
    school.type_code(1)
    assert "card-required" == school.screen.view.reason
    school.settle(5.0)
    school.clock.advance(86400.0)
    school.type_code(1)
    assert school.is_in(State.AWAITING_HAND)


def test_the_other_hand_is_told(school: School) -> None:
    """Not "again", but "the other hand"."""
    school.type_code(1)
    school.lay(probe_at(person(1), mirrored=True))
    assert "other-hand" == school.screen.view.pictogram


def test_the_schools_policy_is_the_lanes(school: School) -> None:
    """A hand that passes under the usual policy is asked for again under the strict one, from the next pupil on."""
    near = towards(usual(school), person(2), DEFAULT_THRESHOLD.value - 0.5)
    assert eats(school, near)
    school.order(replace(calendar_order(), hand_policy=HandPolicy.STRICT))
    school.settle(0.5)
    school.type_code(1)
    school.lay(near)
    assert school.is_in(State.GUIDING)
