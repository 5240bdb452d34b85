"""A lane whose keypad, gate and tray dispenser fail one at a time; and the fire alarm."""

from __future__ import annotations

import pytest

from canteen.meal_pass import PassCompleted, PassGranted, PassUnresolved
from firmware_bridge.devices import (
    EmergencyEnded,
    EmergencyReleased,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    Role,
    RotationRefused,
    TraysChanged,
    TrayState,
)
from terminal.findings import Verdict
from terminal.pass_machine import TABLE, Action, State
from tests.unit.terminal.lane import School, card, code


def verdict(school: School, name: str) -> Verdict:
    (check,) = [check for check in school.lane.checkup.run_now().checks if check.name == name]
    return check.verdict


def test_one_tray_a_grant_and_none_without(school: School) -> None:
    """After the journal and the unlock; a denial gives none."""
    school.present(card(99))
    assert 0 == school.board.trays_asked
    school.present(card(2))
    assert 1 == school.board.trays_asked
    for row in TABLE.values():
        if Action.GIVE_TRAY in row.actions:
            assert row.actions.index(Action.UNLOCK) < row.actions.index(Action.GIVE_TRAY)


@pytest.mark.parametrize("state", [TrayState.JAMMED, TrayState.EMPTY, TrayState.LOST])
def test_a_jam_never_blocks_the_meal(school: School, state: TrayState) -> None:
    """The pupil passes and is told where trays are; staff see it at the foot; the next one passes too."""
    school.board.roles = (Role.READER, Role.GATE, Role.TRAYS)
    school.present(card(2))
    school.board.report(TraysChanged(state))
    school.settle()
    assert school.is_in(State.PASSAGE_OPEN)
    assert "pile" in school.screen.view.prompt.fr
    assert f"trays-{state}" in school.screen.view.status.ill
    assert school.push()
    assert Verdict.WATCH is verdict(school, "trays")
    school.present(card(3))
    assert school.push()
    assert 2 == len(school.facts_of(PassCompleted))
    school.board.report(TraysChanged(TrayState.READY))
    school.settle(1.0)
    assert () == school.screen.view.status.ill
    assert Verdict.WELL is verdict(school, "trays")


def test_keypad_lost_voids_what_was_typed_and_cards_go_on(school: School) -> None:
    """A digit before the cut never joins one after; the screen asks for what still works."""
    school.board.type(code(1).digits[:3])
    school.settle()
    school.board.report(KeypadLost(LossReason.SILENT))
    school.settle()
    assert school.is_in(State.IDLE)
    assert "keypad" in school.screen.view.status.ill
    assert "adulte" in school.screen.view.prompt.fr
    assert Verdict.RISK is verdict(school, "board")
    school.present(card(2))
    assert school.push()
    school.board.report(KeypadRecovered())
    school.board.type(code(1).digits[3:])
    school.settle(0.5)
    assert school.is_in(State.TYPING_CODE)
    assert 1 == school.screen.view.digits_typed
    assert "keypad" not in school.screen.view.status.ill


def test_keypad_lost_while_somebody_walks(school: School) -> None:
    """The passage goes on; what the next pupil typed is void."""
    school.present(card(2))
    school.board.type("12")
    school.board.report(KeypadLost(LossReason.SILENT))
    school.settle()
    assert school.push()
    school.settle()
    assert school.is_in(State.IDLE)
    assert 1 == len(school.facts_of(PassCompleted))


def test_an_alarm_frees_the_lane_and_closes_the_books(school: School) -> None:
    """The pupil on the way counts as having eaten; nobody is counted until it ends; then the lane serves again."""
    school.present(card(2))
    school.board.report(EmergencyReleased())
    school.settle()
    assert school.is_in(State.OUT_OF_SERVICE)
    assert "Suis les adultes" == school.screen.view.message.fr
    assert 1 == len(school.facts_of(PassUnresolved))
    school.present(card(3))
    school.settle(5.0)
    assert school.is_in(State.OUT_OF_SERVICE)
    assert 1 == len(school.facts_of(PassGranted))
    assert Verdict.RISK is verdict(school, "board")
    school.board.report(EmergencyEnded())
    school.settle()
    assert school.is_in(State.IDLE)
    school.present(card(3))
    assert school.push()
    assert 2 == len(school.facts_of(PassGranted))


def test_pushes_at_the_locked_arm_are_counted(school: School) -> None:
    """And change nothing: whoever leans on it is not told off."""
    for _ in range(3):
        school.board.report(RotationRefused())
    school.settle()
    assert school.is_in(State.IDLE)
    (board,) = [check for check in school.lane.checkup.run_now().checks if check.name == "board"]
    assert 3 == board.measured["refused_rotations"]
    assert ("1.2.3", "ours") == (board.measured["firmware"], board.measured["key"])
