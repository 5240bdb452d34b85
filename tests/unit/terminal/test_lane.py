"""The lane as a pupil meets it: real journal, box and store, devices in memory, time turned by hand."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from canteen.access_decision import Reason
from canteen.credentials import CardNumber
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassMethod, PassUnresolved
from firmware_bridge.devices import BoardLost, BoardRecovered, CommandOutcome, InputInterrupted, LossReason, Signal
from hand_geometry.landmarks import Finger
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.quality import QualityReason
from sync.errors import JournalUnavailable
from terminal.display.view import Tone
from terminal.inbox import Occurrence
from terminal.pass_machine import Action, Event, PassAttempt, State
from tests.unit.terminal.lane import School, card, code, hand_of, pupil_id, reference_of


def denial(school: School) -> Reason:
    """The reason of the last denial in the journal, which the screen shows as well."""
    denied = school.facts_of(PassDenied)[-1]
    assert isinstance(denied, PassDenied)
    assert school.is_in(State.SHOWING_DENIAL)
    assert school.screen.view.reason == denied.reason.value
    return denied.reason


class TestHand:
    """Code, then hand."""

    def test_right_hand_passes(self, school: School) -> None:
        """The grant is journalled with pupil, method and moment; the turnstile opens once; the passage is told."""
        school.type_code(1)
        assert school.is_in(State.AWAITING_HAND)
        school.lay(hand_of(1))
        assert school.is_in(State.PASSAGE_OPEN)
        assert school.screen.view.first_name == "Prénom1"
        assert school.push()
        granted, completed = school.facts[-2:]
        assert isinstance(granted, PassGranted)
        assert (pupil_id(1), PassMethod.HAND, "midi") == (granted.pupil, granted.method, granted.moment.period)
        assert PassCompleted(granted.pass_id) == completed
        assert school.is_in(State.IDLE)
        assert school.board.unlocks == 1

    def test_name_and_pass_leave_the_screen_with_the_pupil(self, school: School) -> None:
        """Nothing of a pupil stays on the idle screen but the time it took."""
        school.type_code(1)
        school.lay(hand_of(1))
        school.push()
        view = school.screen.view
        assert (None, None, 0) == (view.first_name, view.reason, view.digits_typed)
        assert "Prénom1" not in view.message.fr
        assert view.took_ms is not None

    def test_wrong_hand_has_three_tries(self, school: School) -> None:
        """A guided second and third placement, then card or adult; nothing opens."""
        school.type_code(1)
        for tries_left in (2, 1):
            school.lay(hand_of(2))
            assert (State.GUIDING, tries_left) == (school.state, school.screen.view.tries_left)
            school.hands.lift()
            school.settle(1.6)
            assert school.is_in(State.AWAITING_HAND)
            assert school.hands.laid_anew
        school.lay(hand_of(2))
        assert Reason.HAND_NOT_MATCHED == denial(school)
        assert school.board.unlocks == 0

    @pytest.mark.parametrize(("whose", "expected"), [(1, Mask.without([Finger.RING])), (2, NO_MASK)])
    def test_the_reader_is_told_which_fingers_may_be_missing(self, school: School, whose: int, expected: Mask) -> None:
        """The mask of the pupil's own reference goes with the watch, and nobody else's."""
        school.hands.masks = {reference_of(whose): Mask.without([Finger.RING])}
        school.type_code(1)
        assert school.is_in(State.AWAITING_HAND)
        assert expected == school.hands.mask

    def test_never_locked_out(self, school: School) -> None:
        """Right after three wrong placements the same pupil may try again, and passes."""
        school.hands.laid = hand_of(2)
        school.type_code(1)
        school.settle(10)
        assert [Reason.HAND_NOT_MATCHED] == [fact.reason for fact in school.facts if isinstance(fact, PassDenied)]
        school.hands.lift()
        school.type_code(1)
        school.lay(hand_of(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_second_try_after_a_bad_placement(self, school: School) -> None:
        """What was wrong is said in a child's words, and the better placement passes."""
        school.type_code(1)
        school.lay(QualityReason.FINGERS_CLOSED)
        assert "Écarte les doigts" == school.screen.view.message.fr
        school.hands.lift()
        school.settle(1.6)
        school.lay(hand_of(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_lost_camera_sends_to_the_card_at_once(self, school: School) -> None:
        """No three tries before a camera that is gone; the card works meanwhile."""
        school.type_code(1)
        school.lay(QualityReason.DEVICE_LOST)
        assert Reason.HAND_NOT_READ == denial(school)
        assert "Le lecteur de main est en pause" == school.screen.view.message.fr
        school.present(card(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_no_hand_in_time(self, school: School) -> None:
        """Eight seconds without a hand: too slow, in the journal, and back to rest."""
        school.type_code(1)
        school.settle(8.1)
        assert Reason.TOO_SLOW == denial(school)
        school.settle(2.6)
        assert school.is_in(State.IDLE)

    def test_late_hand_of_an_earlier_pupil_counts_for_nobody(self, school: School) -> None:
        """A capture that was asked for by another attempt is not taken for this one."""
        school.type_code(1)
        waiting = school.hands._waiting
        school.board.correct()
        school.settle()
        school.type_code(1)
        school.hands._waiting, newer = waiting, school.hands._waiting
        school.lay(hand_of(1))
        assert school.is_in(State.AWAITING_HAND)
        school.hands._waiting = newer
        school.lay(hand_of(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_purge_between_code_and_hand(self, school: School) -> None:
        """A reference erased while the pupil walks to the reader is not compared any more."""
        from templates_store.store import Erasure

        school.type_code(1)
        school.store.purge(pupil_id(1), Erasure.REFERENCE)
        school.lay(hand_of(1))
        assert Reason.CARD_REQUIRED == denial(school)
        assert school.hands.comparisons == 0

    def test_expired_lease(self, school: School) -> None:
        """A week without the server: the hand is not asked for, the card goes on."""
        school.clock.advance(7 * 86400)
        school.type_code(1)
        assert Reason.REFERENCE_EXPIRED == denial(school)
        school.present(card(1))
        assert school.is_in(State.PASSAGE_OPEN)


class TestCode:
    """Typing."""

    def test_last_digit_decides(self, school: School) -> None:
        """No enter key: four digits and the answer is there."""
        school.board.type(code(1).digits[:3])
        school.settle()
        assert (State.TYPING_CODE, 3) == (school.state, school.screen.view.digits_typed)
        school.board.type(code(1).digits[3])
        school.settle()
        assert school.is_in(State.AWAITING_HAND)

    def test_unknown_code(self, school: School) -> None:
        """A wrong check digit and a code nobody has are the same to the pupil."""
        wrong = code(1).digits[:3] + str((int(code(1).digits[3]) + 1) % 10)
        for digits in (wrong, code(77).digits):
            school.board.type(digits)
            school.settle()
            assert Reason.UNKNOWN_CODE == denial(school)

    def test_correction(self, school: School) -> None:
        """The star takes back one digit, then cancels."""
        school.board.type("12")
        school.board.correct()
        school.settle()
        assert school.screen.view.digits_typed == 1
        school.board.correct()
        school.settle()
        assert school.is_in(State.IDLE)

    def test_pause_ends_typing(self, school: School) -> None:
        """Five seconds after the last digit the lane rests; each digit gives five more. Nobody is refused."""
        school.board.type("1")
        school.settle(4.5)
        school.board.type("2")
        school.settle(4.5)
        assert school.is_in(State.TYPING_CODE)
        school.settle(0.6)
        assert school.is_in(State.IDLE)
        assert [] == school.facts_of(PassDenied)

    def test_interrupted_line_voids_what_was_typed(self, school: School) -> None:
        """A digit typed before the interruption never joins one typed after."""
        school.board.type(code(1).digits[:2])
        school.board.report(InputInterrupted())
        school.board.type(code(1).digits[2:])
        school.settle()
        assert (State.TYPING_CODE, 2) == (school.state, school.screen.view.digits_typed)

    def test_without_hand_the_card_is_asked_for(self, school: School) -> None:
        """A code alone opens nothing."""
        school.type_code(2)
        assert Reason.CARD_REQUIRED == denial(school)

    def test_next_digit_cuts_the_denial_short(self, school: School) -> None:
        """The next pupil does not wait for the end of another's message."""
        school.type_code(2)
        school.board.type("1")
        school.settle()
        assert school.is_in(State.TYPING_CODE)


class TestCard:
    """The card's way."""

    def test_card_passes(self, school: School) -> None:
        """One presentation, one meal."""
        school.present(card(2))
        assert school.push()
        granted = school.facts_of(PassGranted)[-1]
        assert isinstance(granted, PassGranted)
        assert (pupil_id(2), PassMethod.CARD) == (granted.pupil, granted.method)

    def test_held_card_is_one_presentation(self, school: School) -> None:
        """A reader that reports a held card over and over neither denies nor opens again."""
        for _ in range(5):
            school.present(card(2))
            school.clock.advance(0.3)
        school.push()
        school.present(card(2))
        assert ([], 1) == (school.facts_of(PassDenied), school.board.unlocks)

    @pytest.mark.parametrize("state", [State.TYPING_CODE, State.AWAITING_HAND, State.GUIDING, State.SHOWING_DENIAL])
    def test_card_at_any_moment(self, school: School, state: State) -> None:
        """Whoever began with a code may go on with the card."""
        if state is State.TYPING_CODE:
            school.board.type("1")
        elif state is State.SHOWING_DENIAL:
            school.type_code(2)
        else:
            school.type_code(1)
            if state is State.GUIDING:
                school.lay(QualityReason.FINGERS_CLOSED)
        school.settle()
        assert school.is_in(state)
        school.present(card(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_unknown_and_blocked(self, school: School) -> None:
        """Each has its own reason."""
        school.present(CardNumber("0411223344556677"))
        assert Reason.UNKNOWN_CARD == denial(school)
        school.store.block_card(card(3))
        school.present(card(3))
        assert Reason.CARD_BLOCKED == denial(school)


class TestMeal:
    """One meal a service, in time, with a right to it."""

    def test_second_helping(self, school: School) -> None:
        """The same pupil by card after the hand: already served, also after a restart."""
        school.type_code(1)
        school.lay(hand_of(1))
        school.push()
        school.present(card(1))
        assert Reason.ALREADY_SERVED == denial(school)
        school.close()
        school.open()
        school.begin()
        school.clock.advance(2)
        school.present(card(1))
        assert Reason.ALREADY_SERVED == denial(school)

    def test_abandoned_passage_leaves_the_meal(self, school: School) -> None:
        """The board locks by itself; the pupil tries again and eats."""
        school.present(card(2))
        school.board.relock()
        school.settle()
        assert "Le passage s’est refermé" == school.screen.view.message.fr
        school.clock.advance(2)
        school.present(card(2))
        assert school.push()
        kinds = [type(fact) for fact in school.facts if isinstance(fact, PassGranted | PassAbandoned | PassCompleted)]
        assert [PassGranted, PassAbandoned, PassGranted, PassCompleted] == kinds

    def test_board_that_says_nothing_of_the_passage(self, school: School) -> None:
        """We lock ourselves after the passage time and a grace; then it is an abandoned pass."""
        school.present(card(2))
        school.settle(7.6)
        assert not school.board.unlocked
        assert isinstance(school.facts[-1], PassAbandoned)
        school.settle(3)
        assert school.is_in(State.IDLE)

    def test_push_in_the_last_moment(self, school: School) -> None:
        """Turned just before the lock command: the journal says completed."""
        school.present(card(2))
        school.clock.advance(7.5)
        school.board.push()
        school.settle()
        assert isinstance(school.facts[-1], PassCompleted)

    def test_outside_service(self, school: School) -> None:
        """At four in the afternoon the screen says closed, and so does the answer."""
        school.clock.advance(4 * 3600)
        school.settle()
        assert "C’est fermé pour l’instant" == school.screen.view.message.fr
        school.present(card(2))
        assert Reason.OUTSIDE_SERVING_PERIOD == denial(school)

    def test_clock_set_back(self, school: School) -> None:
        """A clock behind what was written is not believed, and the pupil is sent to an adult."""
        school.present(card(2))
        school.push()
        school.clock.set_wall(school.clock.utc_now() - timedelta(hours=1))
        school.present(card(3))
        assert Reason.CLOCK_UNTRUSTED == denial(school)
        assert "clock-untrusted" == school.screen.view.staff_note

    def test_order_box_that_makes_no_sense(self, school: School) -> None:
        """What sync keeps there cannot stop lunch: the clock is judged by what we wrote ourselves."""
        other = sqlite3.connect(school.folder / "orders.sqlite")
        other.execute("UPDATE state SET signed_time = 'yesterday', since = 'noon'")
        other.commit()
        other.close()
        school.settle(1.0)
        school.present(card(2))
        assert school.push()
        school.clock.set_wall(school.clock.utc_now() - timedelta(hours=1))
        school.present(card(3))
        assert Reason.CLOCK_UNTRUSTED == denial(school)


class TestQueue:
    """The next pupil."""

    def test_code_typed_while_another_passes(self, school: School) -> None:
        """Nothing typed during a passage is lost."""
        school.present(card(2))
        school.board.type(code(1).digits[:2])
        school.settle()
        school.push()
        assert (State.TYPING_CODE, 2) == (school.state, school.screen.view.digits_typed)
        school.board.type(code(1).digits[2:])
        school.settle()
        assert school.is_in(State.AWAITING_HAND)

    def test_card_presented_while_another_passes(self, school: School) -> None:
        """It is granted as soon as the passage is free, and not before."""
        school.present(card(2))
        school.present(card(3))
        assert school.board.unlocks == 1
        school.push()
        assert (State.PASSAGE_OPEN, 2) == (school.state, school.board.unlocks)

    def test_what_was_typed_long_ago_is_void(self, school: School) -> None:
        """Digits older than the typing pause do not begin the next code."""
        school.present(card(2))
        school.board.type("12")
        school.settle(5.5)
        school.push()
        assert school.is_in(State.IDLE)


class TestTrouble:
    """What breaks closes the gate and says so."""

    def test_journal_that_cannot_be_written(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """No grant on disk, no unlock; the pupil is sent to an adult; when the disk is back the next one passes."""

        def full(*_: object) -> None:
            raise JournalUnavailable("disk full")

        with monkeypatch.context() as broken:
            broken.setattr(school.journal, "append_all", full)
            school.present(card(2))
            assert (State.SHOWING_DENIAL, "journal-unavailable") == (school.state, school.screen.view.reason)
            assert school.board.unlocks == 0
        school.clock.advance(2)
        school.present(card(2))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_denials_of_a_full_disk_are_written_later(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """They wait in memory for the next fact."""

        def full(*_: object) -> None:
            raise JournalUnavailable("disk full")

        with monkeypatch.context() as broken:
            broken.setattr(school.journal, "append_all", full)
            school.type_code(2)
            assert [] == school.facts_of(PassDenied)
        school.present(card(2))
        assert [PassDenied, PassGranted] == [type(fact) for fact in school.facts[-2:]]

    def test_grant_is_on_disk_when_the_gate_opens(self, school: School) -> None:
        """Asked at the very moment of the unlock."""
        seen: list[type] = []
        school.board.before_unlock = lambda: seen.append(type(school.facts[-1]))
        school.present(card(2))
        school.push()
        school.type_code(1)
        school.lay(hand_of(1))
        assert [PassGranted, PassGranted] == seen

    def test_unlock_has_a_lock_of_its_own(self, school: School) -> None:
        """Even a wrong table would not open the gate for a pass that is not in the journal."""
        occurrence = Occurrence(Event.ACCESS_GRANTED, 0.0)
        done = school.lane.runner._actions.perform(Action.UNLOCK, State.PASSAGE_OPEN, PassAttempt(), occurrence)
        assert Event.JOURNAL_FAILED is done.event
        assert 0 == school.board.unlocks

    def test_turnstile_refuses(self, school: School) -> None:
        """Nobody went through: abandoned, the meal is still due."""
        school.board.answers = CommandOutcome.REFUSED
        school.present(card(2))
        assert school.is_in(State.SHOWING_DENIAL)
        assert isinstance(school.facts[-1], PassAbandoned)

    def test_unlock_without_an_answer(self, school: School) -> None:
        """Nobody knows whether it opened: unresolved, out of service, and back when the board answers."""
        school.board.answers = CommandOutcome.BOARD_LOST
        school.present(card(2))
        assert isinstance(school.facts[-1], PassUnresolved)
        assert school.is_in(State.OUT_OF_SERVICE)
        school.board.answers = CommandOutcome.DONE
        school.settle(2.1)
        assert school.is_in(State.IDLE)

    @pytest.mark.parametrize("open_passage", [False, True])
    def test_board_lost_and_back(self, school: School, open_passage: bool) -> None:
        """The screen says so at once, an open pass is unresolved, and service goes on when the board is back."""
        if open_passage:
            school.present(card(2))
        school.board.online = False
        school.board.report(BoardLost(LossReason.SILENT))
        school.settle()
        assert (State.OUT_OF_SERVICE, "board:silent") == (school.state, school.screen.view.staff_note)
        assert Tone.FAULT is school.screen.view.tone
        assert open_passage == isinstance(school.facts[-1], PassUnresolved)
        school.settle(10)
        assert school.is_in(State.OUT_OF_SERVICE)
        school.board.online = True
        school.board.report(BoardRecovered())
        school.settle()
        assert school.is_in(State.IDLE)

    def test_lamp_follows_the_screen(self, school: School) -> None:
        """Ready, wait, granted, ready again; denied beeps each time."""
        school.type_code(1)
        school.lay(hand_of(1))
        school.push()
        school.type_code(2)
        signals = [signal for signal, _ in school.board.shown]
        assert Signal.FAULT in signals[:1]
        collapsed = [signal for at, signal in enumerate(signals) if at == 0 or signals[at - 1] is not signal]
        assert [
            Signal.FAULT,
            Signal.READY,
            Signal.WAIT,
            Signal.GRANTED,
            Signal.READY,
            Signal.DENIED,
        ] == collapsed

    def test_no_digit_on_board_or_screen(self, school: School) -> None:
        """Stars and a count are all that is ever shown of a code."""
        school.type_code(1)
        school.settle(20)
        assert not any(character.isdigit() for _, text in school.board.shown for character in text)
        shown = "".join(str(view.as_json()) for view in school.screen.views)
        assert code(1).digits not in shown
