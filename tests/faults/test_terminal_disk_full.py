"""A disk that takes nothing more: denied, said, nothing opens; and when there is room again the next pupil eats."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.meal_pass import PassDenied, PassGranted
from sync.facts import OrderApplied
from sync.orders import CardBlocked
from terminal.pass_machine import State
from tests.unit.terminal.lane import TERMINAL_KEY, School, card, filled_school


@contextmanager
def no_room() -> Iterator[None]:
    """Every write to a file of this process fails, as on a full disk. Nothing may be printed meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def school(tmp_path: Path) -> Iterator[School]:
    school = filled_school(tmp_path).begin()
    yield school
    school.close()


@pytest.mark.parametrize("way", ["card", "hand"])
def test_full_disk(school: School, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same pupil is denied on the full disk and eats when there is room."""
    from tests.unit.terminal.lane import hand_of

    def come() -> None:
        if way == "card":
            school.present(card(1))
        else:
            school.type_code(1)
            school.lay(hand_of(1))

    with no_room():
        come()
        reason = school.screen.view.reason
        state = school.state
    assert (State.SHOWING_DENIAL, Reason.JOURNAL_UNAVAILABLE.value) == (state, reason)
    assert 0 == school.board.unlocks
    assert "nothing opens" in caplog.text
    school.hands.lift()
    school.settle(3.0)
    come()
    assert school.is_in(State.PASSAGE_OPEN)
    assert school.push()
    assert 1 == len(school.facts_of(PassGranted))
    for entry in school.journal.entries_after(0):
        entry.verify(TERMINAL_KEY.verifying_key)


def test_room_runs_out_while_the_gate_is_open(school: School) -> None:
    """The pupil goes through; the outcome waits in memory and is written with the next fact."""
    school.present(card(2))
    with no_room():
        school.push()
    assert ["PassGranted"] == [type(fact).__name__ for fact in school.facts[-1:]]
    school.type_code(2)
    assert ["PassGranted", "PassCompleted", "PassDenied"] == [type(fact).__name__ for fact in school.facts[-3:]]
    assert [Reason.ALREADY_SERVED] == [fact.reason for fact in school.facts if isinstance(fact, PassDenied)]


def test_orders_wait_for_room(school: School) -> None:
    """An order on a full disk is neither lost nor refused."""
    number = school.order(CardBlocked(card(3)))
    with no_room():
        school.settle(2.0)
    school.settle(8.0)
    assert OrderApplied(number) in school.facts


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """No room at the very start is an error with a name, not a half-made journal."""
    from canteen.errors import CanteenError

    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, no_room(), pytest.raises((CanteenError, OSError)):
        School(Path(folder))
