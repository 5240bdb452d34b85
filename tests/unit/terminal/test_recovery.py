"""What a power cut leaves, settled at the next start."""

from __future__ import annotations

import pytest

from canteen.access_decision import Reason
from canteen.meal_pass import PassCompleted, PassGranted, PassUnresolved
from sync.errors import JournalUnavailable
from sync.pass_journal import PassJournal
from terminal.pass_machine import State
from tests.unit.terminal.lane import School, card


def cut_and_start(school: School) -> None:
    school.close()
    school.open()
    school.begin()
    school.clock.advance(2)


def test_open_pass_is_unresolved_and_counts(school: School) -> None:
    """The gate was open: a human may look, and the meal is taken. Once, however often one starts."""
    school.present(card(2))
    for _ in range(3):
        cut_and_start(school)
    assert [PassGranted, PassUnresolved] == [type(fact) for fact in school.facts_of(PassGranted, PassUnresolved)]
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


def test_settled_passes_are_left_alone(school: School) -> None:
    """Completed stays completed."""
    school.present(card(2))
    school.push()
    cut_and_start(school)
    assert [] == school.facts_of(PassUnresolved)
    assert isinstance(school.facts_of(PassCompleted)[-1], PassCompleted)


def test_end_of_service_by_hand(school: School) -> None:
    """Asked to stop with the gate open: unresolved at once, nothing left for the next start."""
    from terminal.pass_machine import Event

    school.present(card(2))
    school.lane.inbox.post(Event.STOPPING)
    school.lane.runner.run()
    assert isinstance(school.facts[-1], PassUnresolved)
    cut_and_start(school)
    assert 1 == len(school.facts_of(PassUnresolved))


def test_journal_that_cannot_be_written_at_the_start(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal starts, denies, and settles the open pass at a later start."""
    school.present(card(2))
    school.close()

    def full(*_: object) -> None:
        raise JournalUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(PassJournal, "append_all", full)
        school.open()
        school.begin()
        school.clock.advance(2)
        school.present(card(3))
        assert Reason.JOURNAL_UNAVAILABLE.value == school.screen.view.reason
    cut_and_start(school)
    assert 1 == len(school.facts_of(PassUnresolved))
    school.present(card(3))
    assert school.is_in(State.PASSAGE_OPEN)


def test_a_fault_nobody_foresaw(
    school: School, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lane closes, names the fault without its values, settles the open pass, and opens again by itself."""
    school.present(card(2))

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret value")

    with monkeypatch.context() as spoiled:
        spoiled.setattr(school.lane.runner._actions._records, "outcome", broken)
        school.board.push()
        with pytest.raises(ZeroDivisionError) as raised:
            school.lane.runner.turn(may_wait=False)
        school.lane.runner._fail(raised.value)
        assert school.is_in(State.OUT_OF_SERVICE)
    assert "ZeroDivisionError" in caplog.text
    assert "secret value" not in caplog.text
    school.settle(2.1)
    assert school.is_in(State.IDLE)
