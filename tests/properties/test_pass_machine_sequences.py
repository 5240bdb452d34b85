"""Whatever keys, cards, hands, losses and waits come in whatever order: what must hold of the lane holds."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from canteen.clock import ClockTrust
from canteen.identifiers import PassId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassUnresolved
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    CancelPressed,
    CommandOutcome,
    EnterPressed,
    InputInterrupted,
    LossReason,
    PassageAbandoned,
    PassageCompleted,
    TamperDetected,
)
from hand_geometry.quality import QualityReason
from sync.errors import JournalUnavailable
from sync.facts import Fact
from sync.messages import JournalEntry
from terminal.pass_machine import DEADLINES_S, IGNORED, TABLE, Action, Event, State
from terminal.vouching import VouchReason
from tests.unit.terminal.lane import School, card, filled_school, hand_of, pupil_id

MEMORY = Path("/dev/shm")  # noqa: S108 - folders of our own in it; the disk only where there is none
LONGEST_S = sum(DEADLINES_S.values()) * 3


@given(st.sampled_from(sorted(State)), st.lists(st.sampled_from(sorted(Event)), max_size=60))
def test_the_table_never_unlocks_without_a_grant(state: State, events: list[Event]) -> None:
    """Followed by hand from any state: each UNLOCK has its own JOURNAL_GRANT right before it."""
    done: list[Action] = []
    for event in events:
        row = TABLE.get((state, event))
        assert row is not None or event in IGNORED[state]
        if row is not None:
            state = row.target
            done += row.actions
    for at, action in enumerate(done):
        if action is Action.UNLOCK:
            assert Action.JOURNAL_GRANT is done[at - 1]


class Lunch(RuleBasedStateMachine):
    """A lane with real journal and store, and a world without manners."""

    @initialize()
    def open_the_lane(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.school: School = filled_school(Path(self._folder.name)).begin()
        self.school.board.before_unlock = self._is_granted
        self.disk_full = False
        self._fill_up()

    def _fill_up(self) -> None:
        """Give the journal's disk a switch."""
        append_all = self.school.journal.append_all

        def append_unless_full(
            facts: list[Fact], recorded_at: datetime, clock_trust: ClockTrust, within_s: float = 2.0
        ) -> list[JournalEntry]:
            if self.disk_full:
                raise JournalUnavailable("disk full")
            return append_all(facts, recorded_at, clock_trust, within_s)

        self.school.journal.append_all = append_unless_full  # type: ignore[method-assign]  # of this one object

    def _is_granted(self) -> None:
        """At the moment of every unlock: the last entry on disk is a grant, and no other pass is open."""
        assert isinstance(self.school.facts[-1], PassGranted)
        assert 1 == len(self._open_passes())

    def _open_passes(self) -> set[PassId]:
        settled = {
            f.pass_id for f in self.school.facts if isinstance(f, PassCompleted | PassAbandoned | PassUnresolved)
        }
        return {f.pass_id for f in self.school.facts if isinstance(f, PassGranted)} - settled

    @rule(number=st.integers(1, 4))
    def type_a_code(self, number: int) -> None:
        self.school.type_code(number)

    @rule(digits=st.text("0123456789", min_size=1, max_size=6))
    def type_digits(self, digits: str) -> None:
        self.school.board.type(digits)
        self.school.settle()

    @rule(number=st.integers(1, 4))
    def present_a_card(self, number: int) -> None:
        self.school.present(card(number))

    @rule(number=st.integers(1, 4))
    def vouch(self, number: int) -> None:
        self.school.lane.vouch_desk.ask(pupil_id(number), "Prénom", VouchReason.HAND_NOT_READ, "Mme Martin")
        self.school.settle()

    @rule(number=st.integers(1, 3))
    def lay_a_hand(self, number: int) -> None:
        self.school.lay(hand_of(number))

    @rule(reason=st.sampled_from([QualityReason.FINGERS_CLOSED, QualityReason.NO_HAND, QualityReason.DEVICE_LOST]))
    def lay_badly(self, reason: QualityReason) -> None:
        self.school.lay(reason)

    @rule()
    def lift(self) -> None:
        self.school.hands.lift()

    @rule()
    def push(self) -> None:
        self.school.push()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.6, 2.6, 5.1, 8.1]))
    def wait(self, seconds: float) -> None:
        self.school.settle(seconds)

    @rule(
        event=st.sampled_from(
            [
                EnterPressed(),
                CancelPressed(),
                InputInterrupted(),
                TamperDetected(),
                PassageAbandoned(),
                PassageCompleted(),
            ]
        )
    )
    def board_says(self, event: BoardEvent) -> None:
        self.school.board.report(event)
        self.school.settle()

    @rule()
    def correct(self) -> None:
        self.school.board.correct()
        self.school.settle()

    @rule(answer=st.sampled_from(sorted(CommandOutcome, key=lambda outcome: outcome.value)))
    def turnstile_answers(self, answer: CommandOutcome) -> None:
        self.school.board.answers = answer

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.disk_full = full

    @rule()
    def unplug(self) -> None:
        self.school.board.online = False
        self.school.board.report(BoardLost(LossReason.NO_DEVICE))
        self.school.settle()

    @rule()
    def plug(self) -> None:
        self.school.board.online = True
        self.school.board.report(BoardRecovered())
        self.school.settle()

    @rule()
    def power_cut(self) -> None:
        if not self.disk_full:
            self.school.close()
            self.school.hands.stop()
            self.school.open()
            self._fill_up()
            assert set() == self._open_passes()
            self.school.begin()

    @invariant()
    def never_more_passes_than_grants(self) -> None:
        grants = [fact for fact in self.school.facts if isinstance(fact, PassGranted)]
        assert self.school.board.unlocks <= len(grants)

    @invariant()
    def one_meal_a_pupil(self) -> None:
        """Two counted meals of one pupil at one service never happen."""
        abandoned = {f.pass_id for f in self.school.facts if isinstance(f, PassAbandoned)}
        meals = [
            (f.pupil, f.moment) for f in self.school.facts if isinstance(f, PassGranted) and f.pass_id not in abandoned
        ]
        assert len(set(meals)) == len(meals)

    def teardown(self) -> None:
        """Left alone with a healthy board, the lane is idle again in bounded time, and every pass has its outcome."""
        if not hasattr(self, "school"):
            return
        self.disk_full = False
        self.school.board.answers = CommandOutcome.DONE
        self.school.hands.lift()
        self.plug()
        self.school.settle(LONGEST_S)
        assert State.IDLE is self.school.state
        self.school.present(card(9))
        self.school.settle(LONGEST_S)
        assert set() == self._open_passes()
        self.school.close()
        self._folder.cleanup()


Lunch.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLunch = Lunch.TestCase
