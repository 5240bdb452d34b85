"""A lane in which nobody says anything more, or a device goes: an answer in time for the pupil, rest for the lane."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canteen.meal_pass import PassGranted, PassUnresolved
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    EmergencyEnded,
    EmergencyReleased,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    TraysChanged,
    TrayState,
)
from hand_geometry.quality import QualityReason
from terminal.actions import Done
from terminal.pass_machine import Action, State
from tests.unit.terminal.lane import School, card, code, hand_of

ANSWER_S = 2.0
REST_S = 16.0
"""Two placements at their slowest, and the last word."""


def _type(school: School) -> None:
    school.board.type(code(1).digits[:2])


def _guide(school: School) -> None:
    school.type_code(1)
    school.lay(hand_of(2))


def _close(school: School) -> None:
    school.present(card(2))
    while not school.is_in(State.CLOSING):
        school.clock.advance(0.25)
        school.lane.runner.turn(may_wait=False)


def _lose_board(school: School) -> None:
    school.board.online = False
    school.board.report(BoardLost(LossReason.SILENT))


REACHED: dict[State, Callable[[School], None]] = {
    State.IDLE: School.settle,
    State.TYPING_CODE: _type,
    State.AWAITING_HAND: lambda school: school.type_code(1),
    State.GUIDING: _guide,
    State.PASSAGE_OPEN: lambda school: school.present(card(2)),
    State.CLOSING: _close,
    State.SHOWING_DENIAL: lambda school: school.present(card(99)),
    State.OUT_OF_SERVICE: _lose_board,
}
"""How the lane comes into each state it can stay in."""


def in_state(school: School, state: State) -> None:
    REACHED[state](school)
    if state is not State.CLOSING:
        school.settle()
    assert school.is_in(state)


def test_every_state_that_lasts_is_reached_here() -> None:
    """The two others are over in the turn that enters them."""
    assert set(State) - set(REACHED) == {State.DECIDING, State.COMPARING}


@pytest.mark.parametrize("state", REACHED, ids=lambda state: state.value)
def test_silence_ends_at_rest(school: School, state: State) -> None:
    """Nobody does anything more, and the board gives no word of the passage: idle again, and the screen with it."""
    in_state(school, state)
    if state is State.OUT_OF_SERVICE:
        school.board.online = True  # and says nothing of it
    school.settle(REST_S)
    assert school.is_in(State.IDLE)
    assert "idle" == school.screen.view.state


@pytest.mark.parametrize(("action", "begin"), [(Action.DECIDE, "code"), (Action.COMPARE, "hand")])
def test_an_action_that_reports_nothing_is_answered_in_two_seconds(school: School, action: Action, begin: str) -> None:
    """A broken decision or comparison: the pupil is told, no gate opens, and the lane serves the next."""
    methods = school.lane.runner._actions._methods
    sound = methods[action]
    methods[action] = lambda attempt, _occurrence: Done(attempt)
    school.type_code(1)
    if begin == "hand":
        school.lay(hand_of(1))
    assert school.state in (State.DECIDING, State.COMPARING)
    school.settle(ANSWER_S)
    assert school.is_in(State.OUT_OF_SERVICE)
    assert "out-of-service" == school.screen.view.state
    assert 0 == school.board.unlocks
    methods[action] = sound
    school.settle(ANSWER_S + 0.5)
    school.present(card(2))
    assert school.push()


def test_a_hand_reader_that_is_lost_answers_whoever_waits_for_it(school: School) -> None:
    """At once, in the state that waits; a word that comes in any other state is nobody's."""
    school.type_code(1)
    school.lay(QualityReason.DEVICE_LOST)
    assert school.is_in(State.SHOWING_DENIAL)
    assert "card" in school.screen.view.prompt.en.lower()


LOSSES: dict[str, tuple[BoardEvent, BoardEvent]] = {
    "board": (BoardLost(LossReason.SILENT), BoardRecovered()),
    "alarm": (EmergencyReleased(), EmergencyEnded()),
    "keypad": (KeypadLost(LossReason.SILENT), KeypadRecovered()),
    "trays": (TraysChanged(TrayState.LOST), TraysChanged(TrayState.READY)),
}


@pytest.mark.parametrize("state", REACHED, ids=lambda state: state.value)
@pytest.mark.parametrize("what", LOSSES)
def test_what_is_lost_and_comes_back_leaves_a_lane_that_serves(school: School, what: str, state: State) -> None:
    """In every state: said on the screen within two seconds, no gate opened by it, and a card passes afterwards."""
    in_state(school, state)
    unlocks = school.board.unlocks
    lost, back = LOSSES[what]
    if what == "board":
        school.board.online = False
    school.board.report(lost)
    school.settle(ANSWER_S)
    if what in ("board", "alarm"):
        assert school.is_in(State.OUT_OF_SERVICE)
        assert "out-of-service" == school.screen.view.state
    elif what == "keypad":
        assert "keypad" in school.screen.view.status.ill
    assert unlocks == school.board.unlocks
    school.board.online = True
    school.board.report(back)
    school.settle(REST_S)
    assert school.is_in(State.IDLE)
    school.present(card(3))
    assert school.push()


def test_a_board_lost_in_the_moment_of_a_grant_leaves_no_pass_open(school: School) -> None:
    """Its word waits behind the card's: journalled, opened, and settled as not known."""
    school.board.present(card(2))
    school.board.report(BoardLost(LossReason.NO_DEVICE))
    school.settle()
    assert school.is_in(State.OUT_OF_SERVICE)
    granted, settled = school.facts_of(PassGranted, PassUnresolved)
    assert isinstance(granted, PassGranted)
    assert PassUnresolved(granted.pass_id) == settled
