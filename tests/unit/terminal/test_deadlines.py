"""A lane in which nobody says anything more, or a device goes: an answer in time for the pupil, rest for the lane."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from canteen.meal_pass import PassAbandoned, PassGranted, PassMethod, PassUnresolved
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    CommandOutcome,
    EmergencyEnded,
    EmergencyReleased,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    TraysChanged,
    TrayState,
)
from hand_geometry.quality import QualityReason
from sync.pass_journal import PassJournal
from templates_store.encrypted_store import EncryptedStore
from terminal.actions import Done
from terminal.answer_clock import ANSWER_S as TURN_S
from terminal.answer_clock import OPENS_WITH_S, SPEAKS_AFTER_S, AnswerClock
from terminal.pass_machine import Action, State
from terminal.vouching import VouchOutcome, VouchReason
from tests.unit.terminal.lane import School, card, code, hand_of, pupil_id

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


# One time for a whole turn: store, journal and turnstile slow together


@pytest.fixture
def slowly(school: School, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float, float], None]:
    """Makes each look into the store, each commit and the unlock take so many seconds."""
    sound = {name: getattr(EncryptedStore, name) for name in ("find_by_card", "look_up")}
    append_all = PassJournal.append_all

    def slow(store_s: float, journal_s: float, unlock_s: float) -> None:
        def after(method: Callable[..., Any], seconds: float) -> Callable[..., Any]:
            def late(*arguments: Any, **named: Any) -> Any:
                school.clock.advance(seconds)
                return method(*arguments, **named)

            return late

        for name, method in sound.items():
            monkeypatch.setattr(EncryptedStore, name, after(method, store_s))
        monkeypatch.setattr(PassJournal, "append_all", after(append_all, journal_s))
        school.board.before_unlock = lambda: school.clock.advance(unlock_s)

    return slow


@pytest.mark.parametrize(
    ("store_s", "journal_s", "unlock_s", "opens"),
    [
        (0.0, 0.0, 0.9, True),
        (0.5, 0.5, 0.5, True),
        (0.7, 0.7, 0.7, True),  # 1.4 s, then the board is given what is left
        (0.9, 0.9, 0.9, False),  # recorded, and too late to open
        (1.7, 0.0, 0.0, False),  # too late to record
        (1.9, 1.9, 1.0, False),
        (0.0, 1.9, 1.0, False),
    ],
)
def test_slow_parts_together_are_answered_in_time(
    school: School,
    slowly: Callable[[float, float, float], None],
    *,
    store_s: float,
    journal_s: float,
    unlock_s: float,
    opens: bool,
) -> None:
    """Nothing opens after the answer's time; what was recorded by then is settled, and the next try passes."""
    slowly(store_s, journal_s, unlock_s)
    school.board.present(card(2))
    school.settle()
    assert opens == school.is_in(State.PASSAGE_OPEN)
    granted = school.facts_of(PassGranted)
    if opens:
        assert ([1], 1) == ([len(granted)], school.board.unlocks)
        return
    assert school.is_in(State.SHOWING_DENIAL)
    assert (0, "adult", "slow") == (school.board.unlocks, school.screen.view.pictogram, school.screen.view.staff_note)
    assert len(granted) == len(school.facts_of(PassAbandoned))
    slowly(0.0, 0.0, 0.0)
    school.settle(ANSWER_S + 1)
    assert school.is_in(State.IDLE)
    school.present(card(2))  # nothing was eaten: the next try passes
    assert school.push()


def test_a_denial_is_told_before_it_is_recorded(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens nothing: a slow journal keeps nobody waiting for a no."""
    told: list[str] = []
    append_all = PassJournal.append_all

    def noting(*arguments: Any) -> Any:
        told.append(school.screen.view.state)
        return append_all(*arguments)

    monkeypatch.setattr(PassJournal, "append_all", noting)
    school.present(card(99))
    school.type_code(1)
    school.settle(9)  # no hand is laid
    assert ["showing-denial"] * 2 == told


def test_whom_staff_let_through_they_wait_for(school: School, slowly: Callable[[float, float, float], None]) -> None:
    """The vouched pass is the way out of a slow terminal: it opens late rather than never."""
    slowly(0.0, 3.0, 0.9)
    number = school.lane.vouch_desk.ask(pupil_id(2), "Prénom2", VouchReason.TERMINAL_ILL, "Mme Petit")
    school.settle()
    assert VouchOutcome.OPENED is school.lane.vouch_desk.outcome_of(number)
    (granted,) = school.facts_of(PassGranted)
    assert isinstance(granted, PassGranted)
    assert PassMethod.VOUCHED is granted.method


def test_the_board_is_given_what_is_left(school: School, slowly: Callable[[float, float, float], None]) -> None:
    """And never more than its own bound."""
    given: list[float] = []
    unlock = school.board.unlock

    def noting(timeout_s: float, within_s: float = 1.0) -> CommandOutcome:
        given.append(within_s)
        return unlock(timeout_s, within_s)

    school.board.unlock = noting  # type: ignore[method-assign]  # of this one board
    slowly(0.6, 0.8, 0.0)
    school.present(card(2))
    assert [pytest.approx(0.3)] == given  # what is sent later could open after the screen has sent the pupil away
    slowly(0.0, 0.0, 0.0)
    assert school.push()
    school.present(card(3))
    assert 1.0 < given[-1] < SPEAKS_AFTER_S


def test_a_turn_in_which_something_opens_ends_before_the_other_voice(school: School) -> None:
    """At the last moment at which a grant may still open, the command has time left, and all of it before that."""
    answers = school.lane.answers
    answers.begin()
    school.clock.advance(TURN_S - OPENS_WITH_S - 0.001)
    assert not answers.too_late
    elapsed_s = TURN_S - answers.left_s
    assert elapsed_s + 0.09 < elapsed_s + answers.opens_within_s < SPEAKS_AFTER_S
    school.clock.advance(1)
    assert 0.0 == answers.opens_within_s
    assert not answers.ended()


def test_the_journal_waits_for_staff_too(
    school: School, slowly: Callable[[float, float, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that took the whole turn leaves a vouched grant the time to wait for whoever holds the journal."""
    slowly(2.5, 0.0, 0.0)
    given: list[float] = []
    append_all = PassJournal.append_all

    def noting(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return append_all(*arguments)

    monkeypatch.setattr(PassJournal, "append_all", noting)
    number = school.lane.vouch_desk.ask(pupil_id(2), "Prénom2", VouchReason.TERMINAL_ILL, "Mme Petit")
    school.settle()
    assert VouchOutcome.OPENED is school.lane.vouch_desk.outcome_of(number)
    assert [2.0] == given[:1]


def test_a_journal_that_somebody_holds_is_answered_in_time(school: School) -> None:
    """In true time: another process has the file, a whole turn waits for it and no longer; nothing opens."""
    with closing(sqlite3.connect(school.folder / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        school.present(card(2))
        assert school.is_in(State.SHOWING_DENIAL)
        assert (0, "adult") == (school.board.unlocks, school.screen.view.pictogram)
        other.execute("ROLLBACK")
    school.settle(4)
    school.present(card(2))
    assert school.push()


def test_a_disk_that_hangs_is_spoken_for(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends a write that hangs: whoever stands there is told meanwhile, once; then what it came to is shown."""
    seen: list[str | None] = []
    append_all = PassJournal.append_all

    def hang(*arguments: Any) -> Any:
        for _ in range(12):
            school.clock.advance(0.25)
            looking = threading.Thread(target=school.lane.answers.look, args=(school.lane.presenter.ask_for_patience,))
            looking.start()
            looking.join(5)
            seen.append(school.screen.view.staff_note)
        return append_all(*arguments)

    monkeypatch.setattr(PassJournal, "append_all", hang)
    school.present(card(2))
    assert [None] * 6 + ["slow"] * 18 == seen  # the grant, and then that nothing opened
    assert "adult" in {view.pictogram for view in school.screen.views}
    assert school.is_in(State.SHOWING_DENIAL)
    assert "showing-denial" == school.screen.view.state
    assert 0 == school.board.unlocks
    assert (1, 1) == (len(school.facts_of(PassGranted)), len(school.facts_of(PassAbandoned)))


def test_what_was_shown_comes_back(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoken for while the lane was busy with its own house: then the screen is as before."""
    before = school.screen.view
    desk = school.lane.desk

    def hang() -> bool:
        school.clock.advance(3)
        school.lane.answers.look(school.lane.presenter.ask_for_patience)
        assert "slow" == school.screen.view.staff_note
        return False

    monkeypatch.setattr(desk, "apply_waiting", hang)
    school.settle(0.75)
    assert (before.state, before.message) == (school.screen.view.state, school.screen.view.message)


def test_the_clock_of_an_answer() -> None:
    """Full where no turn is under way; spoken once a turn; never after an answer."""
    now = [100.0]
    said: list[int] = []
    answers = AnswerClock(lambda: now[0])
    assert TURN_S == answers.left_s
    answers.look(lambda: said.append(1))
    answers.begin()
    now[0] += TURN_S - OPENS_WITH_S + 0.01
    assert answers.too_late
    answers.look(lambda: said.append(2))
    now[0] += 1
    assert 0.0 == answers.left_s
    answers.look(lambda: said.append(3))
    answers.look(lambda: said.append(4))
    assert [3] == said
    assert answers.ended()
    assert not answers.ended()
    answers.begin()
    now[0] += 5
    answers.answered()
    answers.look(lambda: said.append(5))
    assert [3] == said
    assert not answers.ended()
