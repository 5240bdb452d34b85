"""A lunch hour at accelerated time with faults on every line: every pupil is answered, and nothing opens unrecorded.

Pupils come one after the other and do what pupils do. Between any two of their movements a line may fail: board,
keypad, turnstile, camera, disk, store, order box, clock, power. Time is the manual clock's; the seed names the test.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from canteen.clock import ClockTrust
from canteen.credentials import CardNumber
from canteen.identifiers import PassId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod, PassUnresolved
from firmware_bridge.devices import (
    BoardLost,
    BoardRecovered,
    CommandOutcome,
    CorrectionPressed,
    DigitPressed,
    EmergencyEnded,
    EmergencyReleased,
    EnterPressed,
    InputInterrupted,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    RotationRefused,
    TamperDetected,
    TraysChanged,
    TrayState,
)
from hand_geometry.quality import QualityReason
from sync.errors import JournalUnavailable, OrderBoxUnavailable
from sync.fact_bodies import read_fact
from sync.facts import Fact
from sync.messages import JournalEntry
from sync.orders import CardAssigned, LeaseOrder
from sync.pass_journal import JournalReader
from templates_store.errors import StoreUnavailable
from terminal.pass_machine import State
from terminal.vouching import VouchOutcome, VouchReason
from tests.unit.terminal.lane import TERMINAL_KEY, School, card, code, filled_school, hand_of, pupil_id

ANSWER_S = 2.0
CAMERA_HANGS_S = 1.8
"""After this the hand reader says that its camera is lost (see `HANGS_S`)."""
FAULT_RATE = 0.25
"""At each movement of a pupil: every third pupil or so meets at least one."""
ANSWERS = {State.AWAITING_HAND, State.GUIDING, State.PASSAGE_OPEN, State.SHOWING_DENIAL, State.OUT_OF_SERVICE}
BACK_AT_REST_S = 60.0


@dataclass
class LunchSchool(School):
    """A lane whose loop meets what breaks as the true one does, in a world that breaks things."""

    dice: random.Random = field(default_factory=random.Random)
    happened: Counter[str] = field(default_factory=Counter)
    disk_full_until_s: float = 0.0
    store_ill_until_s: float = 0.0
    box_ill_until_s: float = 0.0
    board_back_at_s: float | None = None
    camera_hangs: bool = False
    hand_asked_at_s: float | None = None
    clock_back_at_s: float | None = None
    alarm_ends_at_s: float | None = None
    worst_answer_s: float = 0.0
    read: list[Fact] = field(default_factory=list)
    reader: JournalReader = field(init=False)

    def open(self) -> None:
        super().open()
        self.reader = JournalReader(self.folder / "journal.sqlite")
        self.board.before_unlock = self._is_recorded
        self._make_breakable()

    def close(self) -> None:
        self.reader.close()
        super().close()

    def _make_breakable(self) -> None:
        """Journal, store and box of this one life fail while the world says so."""
        append_all, next_waiting = self.journal.append_all, self.box.next_waiting

        def append(
            facts: list[Fact], recorded_at: datetime, clock_trust: ClockTrust, within_s: float = 2.0
        ) -> list[JournalEntry]:
            if self.now_s < self.disk_full_until_s:
                raise JournalUnavailable("disk full")
            return append_all(facts, recorded_at, clock_trust, within_s)

        def waiting() -> object:
            if self.now_s < self.box_ill_until_s:
                raise OrderBoxUnavailable("the box is ill")
            return next_waiting()

        self.journal.append_all = append  # type: ignore[method-assign]  # of this one life
        for name in ("find_by_code", "find_by_card", "look_up", "reference", "pupil"):
            if hasattr(self.store, name):
                setattr(self.store, name, self._unless_store_is_ill(getattr(self.store, name)))
        self.box.next_waiting = waiting  # type: ignore[method-assign, assignment]

    def _unless_store_is_ill(self, look: Callable[..., object]) -> Callable[..., object]:
        def looking(*asked: object) -> object:
            if self.now_s < self.store_ill_until_s:
                raise StoreUnavailable("the store is ill")
            return look(*asked)

        return looking

    @property
    def facts(self) -> list[Fact]:
        """The whole journal, read on from where it was read up to."""
        for entry in self.journal.entries_after(len(self.read), 100_000):
            self.read.append(read_fact(entry.kind, entry.body))
        return self.read

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def _is_recorded(self) -> None:
        """At every unlock, read from the disk by another connection: the last entry is the grant that it is for."""
        (last,) = self.reader.entries_after(self.reader.last_sequence - 1)
        assert "pass-granted" == last.kind
        assert last.body["pass"] == self.lane.runner.attempt.pass_id
        # An unlock may take its time, up to what the port allows.
        self.clock.advance(self.dice.choice([0.0, 0.0, 0.0, 0.4, 0.9]))

    def settle(self, seconds: float = 0.0) -> None:
        left_s = seconds
        while True:
            self._turn_all()
            if left_s <= 0:
                return
            step_s = min(0.25, left_s)
            self.clock.advance(step_s)
            left_s -= step_s
            self._world_goes_on()

    def _turn_all(self) -> None:
        for _ in range(2000):
            try:
                if not self.lane.runner.turn(may_wait=False):
                    return
            except Exception as error:  # noqa: BLE001 - as the loop's own outermost frame
                self.happened["the loop broke: " + type(error).__name__] += 1
                self.lane.runner._fail(error)
        pytest.fail("the loop does not come to rest")

    def _world_goes_on(self) -> None:
        if self.board_back_at_s is not None and self.now_s >= self.board_back_at_s:
            self.board_comes_back()
        if self.clock_back_at_s is not None and self.now_s >= self.clock_back_at_s:
            self.clock_back_at_s = None
            self.clock.set_wall(self.clock.utc_now() + timedelta(hours=1))
        if self.alarm_ends_at_s is not None and self.now_s >= self.alarm_ends_at_s:
            self.alarm_ends()
        if self.camera_hangs and self.state is State.AWAITING_HAND:
            self.hand_asked_at_s = self.hand_asked_at_s or self.now_s
            if self.now_s - self.hand_asked_at_s >= CAMERA_HANGS_S - 0.25:
                self.hand_asked_at_s = None
                self.hands.lay(QualityReason.DEVICE_LOST)
                self.hands.lift()
        else:
            self.hand_asked_at_s = None

    def board_comes_back(self) -> None:
        self.board_back_at_s = None
        self.board.answers = CommandOutcome.DONE
        self.board.online = True
        self.board.report(BoardRecovered())

    def alarm_ends(self) -> None:
        self.alarm_ends_at_s = None
        self.board.report(EmergencyEnded())

    def all_well_again(self) -> None:
        """Whoever repairs things was here."""
        self.disk_full_until_s = self.store_ill_until_s = self.box_ill_until_s = 0.0
        self.camera_hangs = False
        self.board.answers = CommandOutcome.DONE
        if self.clock_back_at_s is not None:
            self.clock_back_at_s = None
            self.clock.set_wall(self.clock.utc_now() + timedelta(hours=1))
        if not self.board.online:
            self.board_comes_back()
        if self.alarm_ends_at_s is not None:
            self.alarm_ends()
        self.board.report(KeypadRecovered())

    # What breaks

    def something_may_break(self) -> None:
        if self.dice.random() < FAULT_RATE:
            fault = self.dice.choice(FAULTS)
            self.happened[fault.__name__] += 1
            fault(self)
            self.settle()


def board_lost(lunch: LunchSchool) -> None:
    if lunch.board.online:
        lunch.board.online = False
        lunch.board.unlocked = False  # it locks by itself
        lunch.board.answers = CommandOutcome.BOARD_LOST
        lunch.board.report(BoardLost(lunch.dice.choice(list(LossReason))))
        lunch.board_back_at_s = lunch.now_s + lunch.dice.uniform(0.3, 5.0)


def line_interrupted(lunch: LunchSchool) -> None:
    lunch.board.report(InputInterrupted())


def turnstile_refuses(lunch: LunchSchool) -> None:
    lunch.board.answers = CommandOutcome.REFUSED


def turnstile_silent(lunch: LunchSchool) -> None:
    lunch.board.answers = CommandOutcome.BOARD_LOST


def keys_bounce(lunch: LunchSchool) -> None:
    for event in (DigitPressed("7"), EnterPressed(), CorrectionPressed(), TamperDetected()):
        lunch.board.report(event)


def foreign_card(lunch: LunchSchool) -> None:
    lunch.board.present(CardNumber("04FFFFFFFFFFFF"))


def camera_hangs(lunch: LunchSchool) -> None:
    lunch.camera_hangs = True


def camera_lost(lunch: LunchSchool) -> None:
    lunch.hands.lay(QualityReason.DEVICE_LOST)
    lunch.hands.lift()


def hand_laid_badly(lunch: LunchSchool) -> None:
    lunch.hands.lay(lunch.dice.choice(list(QualityReason)))
    lunch.hands.lift()


def disk_full(lunch: LunchSchool) -> None:
    lunch.disk_full_until_s = lunch.now_s + lunch.dice.uniform(0.5, 6.0)


def store_ill(lunch: LunchSchool) -> None:
    lunch.store_ill_until_s = lunch.now_s + lunch.dice.uniform(0.5, 4.0)


def box_ill(lunch: LunchSchool) -> None:
    lunch.box_ill_until_s = lunch.now_s + lunch.dice.uniform(0.5, 10.0)


def clock_set_back(lunch: LunchSchool) -> None:
    if lunch.clock_back_at_s is None:
        lunch.clock.set_wall(lunch.clock.utc_now() - timedelta(hours=1))
        lunch.clock_back_at_s = lunch.now_s + lunch.dice.uniform(1.0, 6.0)


def order_comes(lunch: LunchSchool) -> None:
    number = lunch.dice.randrange(1, 600)
    lunch.order(CardAssigned(pupil_id(number), card(number)))
    lunch.order(LeaseOrder(lunch.clock.utc_now() + timedelta(days=7)))


def keypad_lost(lunch: LunchSchool) -> None:
    """Its cable, for a moment: what was typed is void."""
    lunch.board.report(KeypadLost(LossReason.SILENT))
    lunch.board.report(KeypadRecovered())


def trays_ill(lunch: LunchSchool) -> None:
    lunch.board.report(TraysChanged(lunch.dice.choice(list(TrayState))))


def somebody_leans_on_the_arm(lunch: LunchSchool) -> None:
    lunch.board.report(RotationRefused())


def alarm(lunch: LunchSchool) -> None:
    if lunch.alarm_ends_at_s is None:
        lunch.board.unlocked = False  # nobody is counted through a freed gate
        lunch.board.report(EmergencyReleased())
        lunch.alarm_ends_at_s = lunch.now_s + lunch.dice.uniform(1.0, 20.0)


def somebody_pushes(lunch: LunchSchool) -> None:
    lunch.push()


def power_cut(lunch: LunchSchool) -> None:
    lunch.close()
    lunch.hands.stop()
    lunch.board.unlocked = False
    lunch.disk_full_until_s = 0.0
    lunch.open()
    lunch.board_back_at_s = lunch.alarm_ends_at_s = None
    lunch.board.answers = CommandOutcome.DONE
    lunch.begin()


FAULTS: list[Callable[[LunchSchool], None]] = [
    board_lost,
    line_interrupted,
    turnstile_refuses,
    turnstile_silent,
    keys_bounce,
    foreign_card,
    camera_hangs,
    camera_lost,
    hand_laid_badly,
    disk_full,
    store_ill,
    box_ill,
    clock_set_back,
    order_comes,
    keypad_lost,
    trays_ill,
    somebody_leans_on_the_arm,
    alarm,
    somebody_pushes,
    power_cut,
]


class Pupil:
    """Comes with a hand or a card, tries, follows the screen, and turns to an adult in the end."""

    def __init__(self, lunch: LunchSchool, number: int, *, has_hand: bool) -> None:
        self._lunch, self._number, self._has_hand = lunch, number, has_hand

    def eats(self) -> str:
        """How the pupil came through."""
        for attempt in range(4):
            self._wait_for_the_lane()
            if self._has_hand and attempt < 2:
                self._types_and_lays()
            else:
                self._moves(lambda: self._lunch.board.present(card(self._number)))
            if self._goes_through():
                return "alone"
            self._lunch.settle(2.6)
        for _ in range(20):
            if (how := self._is_vouched_for()) is not None:
                return how
            self._lunch.settle(3.0)
            self._lunch.all_well_again()
        pytest.fail(f"pupil {self._number} never ate")

    def _types_and_lays(self) -> None:
        for digit in code(self._number).digits:
            self._moves(lambda digit=digit: self._lunch.board.type(digit), answered=False)  # type: ignore[misc]  # bound now
        self._is_answered()
        for _ in range(3):
            if self._lunch.state not in (State.AWAITING_HAND, State.GUIDING):
                return
            if self._lunch.state is State.GUIDING:
                self._lunch.settle(1.6)
            before = self._lunch.screen.view
            if not self._lunch.camera_hangs:
                self._lunch.hands.lay(hand_of(self._number))
            self._lunch.something_may_break()
            self._is_answered(before.tries_left if before.state == "awaiting-hand" else None)
            self._lunch.hands.lift()

    def _moves(self, move: Callable[[], None], *, answered: bool = True) -> None:
        move()
        self._lunch.something_may_break()
        self._lunch.settle()
        if answered:
            self._is_answered()

    def _is_answered(self, while_asked: int | None = None) -> None:
        """Within two seconds the screen says something new, or that it is out of order."""
        lunch, began_s = self._lunch, self._lunch.now_s
        while True:
            lunch.settle()
            view = lunch.screen.view
            asked_still = while_asked is not None and (view.state, view.tries_left) == ("awaiting-hand", while_asked)
            idle = lunch.state in (State.IDLE, State.TYPING_CODE)  # asked to begin again: that too is an answer
            if (lunch.state in ANSWERS or idle) and not asked_still:
                lunch.worst_answer_s = max(lunch.worst_answer_s, lunch.now_s - began_s)
                return
            assert lunch.now_s - began_s <= ANSWER_S, (lunch.state, self._number)
            lunch.settle(0.25)

    def _goes_through(self) -> bool:
        lunch = self._lunch
        if lunch.state is not State.PASSAGE_OPEN or lunch.lane.runner.attempt.pupil != pupil_id(self._number):
            return self._counts()
        dawdles = lunch.dice.random()
        if dawdles < 0.05:
            lunch.settle(9.0)  # the board's word that it locked may be lost too
        elif dawdles < 0.10:
            lunch.settle(3.0)
            lunch.board.relock()
        else:
            lunch.settle(0.5)
            lunch.something_may_break()
            lunch.push()
        lunch.settle()
        return self._counts()

    def _counts(self) -> bool:
        """Whether the journal counts a meal of this pupil by now."""
        abandoned = {f.pass_id for f in self._lunch.facts if isinstance(f, PassAbandoned)}
        return any(
            isinstance(f, PassGranted) and f.pupil == pupil_id(self._number) and f.pass_id not in abandoned
            for f in self._lunch.facts
        )

    def _is_vouched_for(self) -> str | None:
        lunch = self._lunch
        number = lunch.lane.vouch_desk.ask(pupil_id(self._number), "Prénom", VouchReason.TERMINAL_ILL, "Mme Martin")
        desk, began_s = lunch.lane.vouch_desk, lunch.now_s
        lunch.settle()
        while desk.outcome_of(number) is VouchOutcome.WAITING:
            assert lunch.now_s - began_s <= 12.0
            lunch.settle(0.25)
        outcome = desk.outcome_of(number)
        if outcome is VouchOutcome.OPENED:
            lunch.settle(0.5)
            lunch.push()
        return outcome.value if self._counts() else None

    def _wait_for_the_lane(self) -> None:
        lunch, began_s = self._lunch, self._lunch.now_s
        while lunch.state is not State.IDLE:
            if lunch.now_s - began_s > BACK_AT_REST_S / 2:
                lunch.all_well_again()
            assert lunch.now_s - began_s <= BACK_AT_REST_S, lunch.state
            lunch.settle(0.25)


def counted_meals(facts: list[Fact]) -> Counter[object]:
    """How many meals each pupil has had."""
    abandoned = {fact.pass_id for fact in facts if isinstance(fact, PassAbandoned)}
    return Counter(fact.pupil for fact in facts if isinstance(fact, PassGranted) and fact.pass_id not in abandoned)


def open_passes(facts: list[Fact]) -> set[PassId]:
    settled = {fact.pass_id for fact in facts if isinstance(fact, PassCompleted | PassAbandoned | PassUnresolved)}
    return {fact.pass_id for fact in facts if isinstance(fact, PassGranted)} - settled


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: its fsync costs nothing."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="canteen-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("seed", "pupils"),
    [(1, 60), *(pytest.param(seed, 600, marks=[pytest.mark.slow, pytest.mark.timeout(400)]) for seed in (2, 3))],
)
def test_lunch_hour(seed: int, pupils: int, quick_folder: Path) -> None:
    """Everybody eats once, alone or on staff's word; every answer came in time; the journal is whole."""
    filled = filled_school(quick_folder, pupils)
    for number in range(1, pupils + 1, 2):
        filled.enroll(number)
    filled.close()
    lunch = LunchSchool(quick_folder, dice=random.Random(seed))
    lunch.begin()
    ways: Counter[str] = Counter()
    for number in range(1, pupils + 1):
        lunch.all_well_again()
        ways[Pupil(lunch, number, has_hand=number % 2 == 1).eats()] += 1
    lunch.all_well_again()
    lunch.settle(BACK_AT_REST_S)
    assert lunch.is_in(State.IDLE)
    facts = lunch.facts
    assert {pupil_id(number): 1 for number in range(1, pupils + 1)} == counted_meals(facts)
    assert set() == open_passes(facts)
    grants = [fact for fact in facts if isinstance(fact, PassGranted)]
    assert lunch.board.unlocks <= len(grants)
    assert all(fact.forced_because for fact in grants if fact.method is PassMethod.VOUCHED)
    for entry in lunch.journal.entries_after(0, 100_000):
        entry.verify(TERMINAL_KEY.verifying_key)
    assert lunch.worst_answer_s <= ANSWER_S
    assert ways["alone"] > pupils // 2
    assert len(lunch.happened) > min(pupils, 200) // 20
    print(f"seed {seed}: {dict(ways)}, worst answer {lunch.worst_answer_s:.2f} s, faults {dict(lunch.happened)}")  # noqa: T201 - a figure to look at
    lunch.close()
