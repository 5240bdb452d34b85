"""The table itself: complete, journal before unlock, every state left in time, and drawn in the docs as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.devices import COMMAND_DEADLINE_S
from terminal.pass_diagram import draw
from terminal.pass_machine import DEADLINES_S, IGNORED, TABLE, Action, Event, State, next_row
from terminal.verification import HANGS_S

ROOT = Path(__file__).parents[3]


def test_every_pair_is_in_the_table_or_ignored() -> None:
    """Counted: nothing is forgotten, and nothing stands in both."""
    pairs = {(state, event) for state in State for event in Event}
    ignored = {(state, event) for state, events in IGNORED.items() for event in events}
    assert set() == pairs - set(TABLE) - ignored
    assert set() == set(TABLE) & ignored
    assert len(State) * len(Event) == len(TABLE) + len(ignored)


def test_journal_before_unlock() -> None:
    """In every row with UNLOCK the grant is journalled earlier in the same row."""
    unlocking = [row for row in TABLE.values() if Action.UNLOCK in row.actions]
    assert 2 == len(unlocking)
    for row in unlocking:
        assert row.actions.index(Action.JOURNAL_GRANT) < row.actions.index(Action.UNLOCK)
        assert State.PASSAGE_OPEN is row.target


def test_only_a_granted_access_journals_a_grant() -> None:
    """Nothing but the decision leads there."""
    events = {event for (_, event), row in TABLE.items() if Action.JOURNAL_GRANT in row.actions}
    assert {Event.ACCESS_GRANTED} == events


def test_an_open_passage_is_always_given_an_outcome() -> None:
    """Whoever leaves PASSAGE_OPEN or CLOSING for good says what became of the pass (but for a grant never written)."""
    outcomes = {Action.JOURNAL_COMPLETED, Action.JOURNAL_ABANDONED, Action.JOURNAL_UNRESOLVED}
    for (state, event), row in TABLE.items():
        stays_open = row.target in (State.PASSAGE_OPEN, State.CLOSING)
        if state in (State.PASSAGE_OPEN, State.CLOSING) and not stays_open and event is not Event.JOURNAL_FAILED:
            assert 1 == len(outcomes & set(row.actions)), (state, event)


def test_every_state_but_idle_has_a_deadline_and_a_row_for_it() -> None:
    """No state is for ever, and none ignores that its time is over."""
    assert set(State) - {State.IDLE} == set(DEADLINES_S)
    for state in DEADLINES_S:
        assert next_row(state, Event.DEADLINE) is not None, state


def test_a_lost_board_a_fault_and_the_end_stop_the_lane_from_everywhere() -> None:
    """Wherever it happens."""
    for state in State:
        for event in (Event.BOARD_LOST, Event.FAULT, Event.STOPPING):
            row = next_row(state, event)
            assert row is not None, (state, event)
            assert State.OUT_OF_SERVICE is row.target


def test_every_row_shows_what_it_did() -> None:
    """A row that ends in a state a pupil can see ends with SHOW, or reports an event that does."""
    silent = {Action.DECIDE, Action.COMPARE, Action.COUNT_TRY, Action.KEEP, Action.DROP_KEPT, Action.LOCK}
    for pair, row in TABLE.items():
        assert Action.SHOW in row.actions or silent & set(row.actions), pair


def test_the_page_is_the_table() -> None:
    """`python -m terminal.pass_diagram > docs/pass-machine.md` renews it."""
    assert (ROOT / "docs" / "pass-machine.md").read_text(encoding="utf-8") == draw()


MACHINES_OWN = {State.DECIDING, State.COMPARING, State.CLOSING, State.GUIDING, State.OUT_OF_SERVICE}
"""Here the pupil can do nothing but wait for the machine."""
ANSWER_S = 2.0


def test_the_machine_never_keeps_a_pupil_waiting_longer_than_two_seconds() -> None:
    """Its own states last no longer, and what it waits for in them has a shorter bound of its own."""
    assert all(DEADLINES_S[state] <= ANSWER_S for state in MACHINES_OWN)
    assert COMMAND_DEADLINE_S < DEADLINES_S[State.CLOSING]
    assert HANGS_S < ANSWER_S < DEADLINES_S[State.AWAITING_HAND]


def test_deciding_and_comparing_are_left_in_the_turn_that_enters_them() -> None:
    """Whoever leads there does the one thing that reports the way out; outside, only a broken action stays."""
    leaving = {State.DECIDING: {Action.DECIDE}, State.COMPARING: {Action.COMPARE, Action.COUNT_TRY}}
    for pair, row in TABLE.items():
        if row.target in leaving:
            assert row.actions[-1] in leaving[row.target], pair


def test_time_alone_brings_every_state_to_rest() -> None:
    """Nobody says anything more: idle, or asking the devices again, within the passage and the longest wait."""
    for state in State:
        waited_s, at = 0.0, state
        while at not in (State.IDLE, State.OUT_OF_SERVICE):
            waited_s += DEADLINES_S[at]
            row = next_row(at, Event.DEADLINE)
            assert row is not None
            at = row.target
        assert waited_s <= DEADLINES_S[State.GUIDING] + DEADLINES_S[State.AWAITING_HAND] + ANSWER_S * 2, state


LOST_DEVICES: dict[Event, set[State]] = {
    Event.BOARD_LOST: set(),
    Event.EMERGENCY: set(),
    # Where the code is complete no key is needed; out of service shows it at the foot.
    Event.KEYPAD_LOST: {
        State.DECIDING,
        State.AWAITING_HAND,
        State.COMPARING,
        State.GUIDING,
        State.SHOWING_DENIAL,
        State.OUT_OF_SERVICE,
    },
    # A lost camera answers whoever waits for a hand, and nobody else (see the lane's tests); trays hold no meal back.
    Event.HAND_NOT_READ: set(State) - {State.AWAITING_HAND},
    Event.TRAYS_CHANGED: set(State) - {State.PASSAGE_OPEN},
}
"""What is lost, and the states that need no transition for it."""


@pytest.mark.parametrize("event", LOST_DEVICES, ids=lambda event: event.value)
def test_a_lost_device_has_its_transition_in_every_state(event: Event) -> None:
    """Or is let pass where the table says that nothing depends on it."""
    assert LOST_DEVICES[event] == {state for state in State if next_row(state, event) is None}
    assert all(event in IGNORED[state] for state in LOST_DEVICES[event])
    for state in set(State) - LOST_DEVICES[event]:
        row = next_row(state, event)
        assert row is not None
        if event in (Event.BOARD_LOST, Event.EMERGENCY):
            assert State.OUT_OF_SERVICE is row.target, state
