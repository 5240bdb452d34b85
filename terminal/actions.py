"""What each action of the table does, as one method each; what it reports decides how the row goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from canteen.access_decision import HandStatus, Reason
from canteen.clock import ClockTrust
from canteen.credentials import CardNumber
from canteen.errors import CanteenError
from canteen.identifiers import new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassMethod, PassUnresolved
from firmware_bridge.devices import COMMAND_DEADLINE_S, CardRefusal, CommandOutcome
from hand_geometry.quality import QualityReason
from sync.errors import JournalUnavailable
from sync.facts import EnrollmentAdvised
from sync.shared_database import BUSY_S
from templates_store.errors import ConsentMissing, StoreUnavailable
from templates_store.store import StoredReference
from terminal.answer_clock import AnswerClock
from terminal.devices import Devices, HandAnswer, HandCapture, HandQuestion
from terminal.display.faces import EMERGENCY, PRESENT_AGAIN
from terminal.identification import Finding, Identification
from terminal.inbox import Inbox, Occurrence
from terminal.pass_machine import DEADLINES_S, HAND_TRIES, Action, Event, PassAttempt, State
from terminal.pass_records import PassRecords
from terminal.presenter import Presenter
from terminal.vouching import VALID_FOR_S, VouchDesk, Vouching, VouchOutcome

if TYPE_CHECKING:
    from hand_geometry.acquisition import Features  # loads OpenCV: behind assembly only
    from hand_geometry.mask import Mask

_log = logging.getLogger("canteen.terminal.actions")

KEPT_FOR_S = 5.0
"""What the next pupil typed longer ago than the typing pause allows is not joined to what comes now."""
_KEPT_MOST = 12


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt after an action; with `event`, the rest of the row is left out and that event comes next."""

    attempt: PassAttempt
    event: Event | None = None


class Actions:
    """Everything a pass does to the world."""

    def __init__(
        self,
        devices: Devices,
        inbox: Inbox,
        records: PassRecords,
        identification: Identification,
        presenter: Presenter,
        vouch_desk: VouchDesk,
        answers: AnswerClock,
        *,
        passage_timeout_s: float,
    ) -> None:
        self._devices, self._inbox = devices, inbox
        self._records, self._identification, self._presenter = records, identification, presenter
        self._vouch_desk, self._answers = vouch_desk, answers
        self._passage_timeout_s = passage_timeout_s
        self._kept: list[Occurrence] = []
        self._watch = 0
        self._methods: dict[Action, Callable[[PassAttempt, Occurrence], Done | PassAttempt]] = {
            action: getattr(self, "_" + action.value.replace("-", "_"))
            for action in Action
            if action is not Action.SHOW
        }

    def perform(self, action: Action, state: State, attempt: PassAttempt, occurrence: Occurrence) -> Done:
        """Do one action of a row that leads to `state`."""
        if action is Action.SHOW:
            self._presenter.show(state, attempt)
            return Done(attempt)
        done = self._methods[action](attempt, occurrence)
        return done if isinstance(done, Done) else Done(done)

    # Typing

    def _begin(self, _attempt: PassAttempt, occurrence: Occurrence) -> PassAttempt:
        return PassAttempt(acted_at_s=occurrence.at_s)

    def _add_digit(self, attempt: PassAttempt, occurrence: Occurrence) -> Done:
        typed = attempt.typed + str(occurrence.payload)
        grown = replace(attempt, typed=typed, retype=False, acted_at_s=occurrence.at_s)
        return Done(grown, Event.CODE_COMPLETE if len(typed) >= self._identification.code_length else None)

    def _drop_digit(self, attempt: PassAttempt, _occurrence: Occurrence) -> Done:
        left = attempt.typed[:-1]
        return Done(replace(attempt, typed=left), None if left else Event.CODE_EMPTY)

    def _ask_to_retype(self, _attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        return PassAttempt(retype=True)

    def _take_card(self, attempt: PassAttempt, occurrence: Occurrence) -> PassAttempt:
        assert isinstance(occurrence.payload, CardNumber)  # noqa: S101 - says the type of a CARD's payload
        return replace(attempt, card=occurrence.payload, method=PassMethod.CARD)

    def _take_refusal(self, attempt: PassAttempt, occurrence: Occurrence) -> PassAttempt:
        assert isinstance(occurrence.payload, CardRefusal)  # noqa: S101 - says the type of a CARD_REFUSED's payload
        refused = replace(attempt, card_refusal=occurrence.payload, method=PassMethod.CARD)
        if occurrence.payload in PRESENT_AGAIN:
            return refused  # nobody was denied anything: the card was too quick
        return replace(refused, pass_id=new_pass_id(), reason=Reason.UNKNOWN_CARD)

    def _take_vouched(self, attempt: PassAttempt, occurrence: Occurrence) -> PassAttempt:
        assert isinstance(occurrence.payload, Vouching)  # noqa: S101 - says the type of a VOUCHED's payload
        return replace(attempt, vouching=occurrence.payload, method=PassMethod.VOUCHED)

    # Deciding

    def _decide(self, attempt: PassAttempt, _occurrence: Occurrence) -> Done:
        now = self._devices.clock.utc_now()
        if attempt.vouching is not None:
            return self._decide_vouched(replace(attempt, decided_at=now, pass_id=new_pass_id()), attempt.vouching)
        trust = self._records.clock_trust(now)
        if attempt.card is not None:
            finding = self._identification.by_card(attempt.card, now, trust)
        else:
            finding = self._identification.by_code(attempt.typed, now, trust)
        return self._found(replace(attempt, decided_at=now, pass_id=new_pass_id(), typed=""), finding)

    def _decide_vouched(self, attempt: PassAttempt, vouching: Vouching) -> Done:
        """Staff's word stands for clock, credential, calendar and hand; one meal a service it does not set aside."""
        if self._devices.clock.monotonic_s() - vouching.asked_at_s > VALID_FOR_S:
            return Done(replace(attempt, pupil=vouching.pupil, reason=Reason.TOO_SLOW), Event.ACCESS_DENIED)
        assert attempt.decided_at is not None  # noqa: S101 - set by the caller
        return self._found(attempt, self._identification.vouched(vouching, attempt.decided_at))

    def _found(self, attempt: PassAttempt, finding: Finding) -> Done:
        reason = finding.decision.reason
        known = replace(
            attempt,
            pupil=finding.pupil,
            first_name=finding.first_name,
            moment=finding.moment,
            charged_to=finding.charged_to,
            sign=finding.decision.sign,
            reason=reason,
        )
        if finding.decision.granted:
            return Done(known, Event.ACCESS_GRANTED)
        return Done(known, Event.HAND_NEEDED if reason is Reason.HAND_NEEDED else Event.ACCESS_DENIED)

    # The hand

    def _watch_for_hand(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        self._watch += 1
        # One second more than the state lasts: the machine's deadline is the one that counts.
        timeout_s = DEADLINES_S[State.AWAITING_HAND] + 1.0
        self._devices.hand_reader.watch(
            self._watch, timeout_s, self._hand_seen, laid_anew=attempt.tries > 0, mask=self._mask_for(attempt)
        )
        return replace(attempt, watch=self._watch)

    def _mask_for(self, attempt: PassAttempt) -> Mask | None:
        """Which fingers need not be there; None where the store does not say: the comparison will."""
        assert attempt.pupil is not None  # noqa: S101 - a hand is asked for only when the pupil is known
        assert attempt.decided_at is not None  # noqa: S101
        try:
            reference = self._devices.store.reference(attempt.pupil, attempt.decided_at)
        except StoreUnavailable:
            return None
        if not isinstance(reference, StoredReference):
            return None
        today = self._identification.calendar.calendar.local_day(attempt.decided_at)
        return self._devices.hand_reader.mask_of(reference, today)

    def _hand_seen(self, capture: HandCapture) -> None:
        """Called on the hand reader's thread: only hands over."""
        self._inbox.post(Event.HAND_CAPTURED if capture.failure is None else Event.HAND_NOT_READ, capture)

    def _stop_watching(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        self._devices.hand_reader.stop()
        return replace(attempt, watch=0)

    def _compare(self, attempt: PassAttempt, occurrence: Occurrence) -> Done:
        capture, now = occurrence.payload, attempt.decided_at
        assert isinstance(capture, HandCapture)  # noqa: S101 - says the type of a HAND_CAPTURED's payload
        assert capture.features is not None  # noqa: S101
        assert attempt.pupil is not None  # noqa: S101 - a hand is asked for only when the pupil is known
        assert now is not None  # noqa: S101
        seen = replace(attempt, acted_at_s=capture.seen_at_s, tries=attempt.tries + 1, guidance=None, place=None)
        # Read now, not when the code was typed: a purge in between takes effect.
        reference = self._devices.store.reference(attempt.pupil, now)
        trust = self._records.clock_trust(now)
        answer = HandAnswer(HandStatus.NO_REFERENCE)
        if isinstance(reference, StoredReference):
            answer = self._ask_hand_reader(reference, capture.features, seen, now, trust)
            seen = replace(seen, learnt=None if answer.learnt is None else (reference, answer.learnt))
        if answer.wrong_hand:
            seen = replace(seen, guidance=QualityReason.WRONG_HAND.value)
        if answer.status is HandStatus.NOT_MATCHED and seen.tries < HAND_TRIES:
            return Done(seen, Event.TRY_AGAIN)
        return self._found(seen, self._identification.with_hand(attempt.pupil, answer.status, now, trust))

    def _ask_hand_reader(
        self, reference: StoredReference, features: Features, seen: PassAttempt, now: datetime, trust: ClockTrust
    ) -> HandAnswer:
        school = self._identification.calendar
        return self._devices.hand_reader.compare(
            HandQuestion(
                reference,
                features,
                at=now,
                today=school.calendar.local_day(now),
                policy=school.hand_policy,
                first_try=seen.tries == 1,
                clock_believed=trust is not ClockTrust.UNTRUSTED,
                memory=self._devices.store.adaptation_history(reference),
            )
        )

    def _count_try(self, attempt: PassAttempt, occurrence: Occurrence) -> Done:
        capture = occurrence.payload
        assert isinstance(capture, HandCapture)  # noqa: S101 - says the type of a HAND_NOT_READ's payload
        assert capture.failure is not None  # noqa: S101
        seen = replace(
            attempt,
            acted_at_s=capture.seen_at_s,
            tries=attempt.tries + 1,
            guidance=capture.failure.value if capture.finding is None else capture.finding.value,
            place=capture.place,
        )
        if seen.tries < HAND_TRIES and capture.failure is not QualityReason.DEVICE_LOST:
            return Done(seen, Event.TRY_AGAIN)
        return Done(replace(seen, reason=Reason.HAND_NOT_READ), Event.ACCESS_DENIED)

    def _give_up(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        return replace(attempt, reason=Reason.TOO_SLOW)

    # Journal and turnstile

    def _journal_grant(self, attempt: PassAttempt, _occurrence: Occurrence) -> Done:
        assert attempt.pass_id is not None  # noqa: S101 - a grant has been decided
        assert attempt.pupil is not None  # noqa: S101
        assert attempt.moment is not None  # noqa: S101
        if self._too_late(attempt):
            return Done(replace(attempt, reason=Reason.OUT_OF_SERVICE, late=True), Event.JOURNAL_FAILED)
        fact = PassGranted(
            attempt.pass_id,
            attempt.pupil,
            attempt.method,
            attempt.moment,
            attempt.charged_to,
            None if attempt.vouching is None else attempt.vouching.because,
        )
        try:
            self._records.grant(fact, None if attempt.vouching is None else BUSY_S)  # staff wait for it
        except JournalUnavailable as error:
            _log.warning("nothing opens: %s", error)
            self._vouch_desk.answer(attempt.vouching, VouchOutcome.NOT_RECORDED)
            return Done(replace(attempt, reason=Reason.JOURNAL_UNAVAILABLE), Event.JOURNAL_FAILED)
        return Done(replace(attempt, journalled=True))

    def _unlock(self, attempt: PassAttempt, _occurrence: Occurrence) -> Done:
        if not attempt.journalled:  # the table never leads here; a gate does not rest on one table
            return Done(replace(attempt, reason=Reason.JOURNAL_UNAVAILABLE), Event.JOURNAL_FAILED)
        if self._too_late(attempt):
            return Done(replace(attempt, reason=Reason.OUT_OF_SERVICE, late=True), Event.UNLOCK_REFUSED)
        within_s = COMMAND_DEADLINE_S if attempt.vouching is not None else self._answers.opens_within_s
        outcome = self._devices.board.unlock(self._passage_timeout_s, within_s)
        if outcome is CommandOutcome.DONE:
            self._vouch_desk.answer(attempt.vouching, VouchOutcome.OPENED)
            return Done(replace(attempt, took_ms=self._since_ms(attempt.acted_at_s)))
        _log.warning("the turnstile did not open: %s", outcome.value)
        if outcome is CommandOutcome.REFUSED:
            self._vouch_desk.answer(attempt.vouching, VouchOutcome.NOT_OPENED)
            return Done(replace(attempt, reason=Reason.OUT_OF_SERVICE), Event.UNLOCK_REFUSED)
        self._presenter.fault = "board:unlock-unconfirmed"
        return Done(attempt, Event.BOARD_LOST)

    def _too_late(self, attempt: PassAttempt) -> bool:
        """Whether the pupil was told, or is about to be, to ask staff. Whom staff let through, they wait for."""
        late = attempt.vouching is None and self._answers.too_late
        if late:
            _log.warning("nothing opens: the answer's time is over")
        return late

    def _since_ms(self, then_s: float) -> int:
        return max(0, round((self._devices.clock.monotonic_s() - then_s) * 1000))

    def _note_instant(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        try:
            self._devices.store.note_instant(self._devices.clock.utc_now())
        except StoreUnavailable as error:
            _log.warning("the instant was not noted: %s", error)
        return attempt

    def _follow_hand(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        """Staff are told first: told twice after a kill is better than never."""
        if attempt.learnt is None:
            return attempt
        reference, learnt = attempt.learnt
        try:
            if learnt.advises_enrollment:
                self._records.write([EnrollmentAdvised(reference.pupil, reference.revision)])
            now = self._devices.clock.utc_now()
            self._devices.store.adapt_reference(replace(reference, reference=learnt.reference), learnt.memory, now)
        except (StoreUnavailable, JournalUnavailable, ConsentMissing) as error:
            _log.warning("the reference did not follow the hand: %s", type(error).__name__)
        return replace(attempt, learnt=None)

    def _give_tray(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        self._devices.board.give_tray()
        return attempt

    def _lock(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        outcome = self._devices.board.lock()
        self._inbox.post(Event.BOARD_LOST if outcome is CommandOutcome.BOARD_LOST else Event.LOCKED)
        return attempt

    def _journal_completed(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        if attempt.journalled and attempt.pass_id is not None:
            self._records.outcome(PassCompleted(attempt.pass_id))
        return replace(attempt, journalled=False)

    def _journal_abandoned(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        if attempt.journalled and attempt.pass_id is not None:
            self._records.outcome(PassAbandoned(attempt.pass_id))
        return replace(attempt, journalled=False, abandoned=True)

    def _journal_unresolved(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        if attempt.journalled and attempt.pass_id is not None:
            self._records.outcome(PassUnresolved(attempt.pass_id))
            self._vouch_desk.answer(attempt.vouching, VouchOutcome.RECORDED)  # unless it was opened
        return replace(attempt, journalled=False)

    def _journal_denial(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        late = attempt.reason is Reason.TOO_SLOW
        self._vouch_desk.answer(attempt.vouching, VouchOutcome.TOO_LATE if late else VouchOutcome.ALREADY_SERVED)
        if attempt.pass_id is not None and attempt.reason is not None:
            self._records.denial(PassDenied(attempt.pass_id, attempt.pupil, attempt.method, attempt.reason))
        return attempt

    # The next pupil

    def _keep(self, attempt: PassAttempt, occurrence: Occurrence) -> PassAttempt:
        if occurrence.payload != attempt.card or attempt.card is None:
            self._kept = [*self._kept, occurrence][-_KEPT_MOST:]
        return attempt

    def _drop_kept(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        self._kept = []
        return attempt

    def _replay_kept(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        now_s = self._devices.clock.monotonic_s()
        # All or none: a code without its first digits is nobody's. Their time begins now, when the lane is theirs.
        if self._kept and self._kept[0].at_s >= now_s - KEPT_FOR_S:
            self._inbox.put_first([replace(kept, at_s=now_s) for kept in self._kept])
        self._kept = []
        return attempt

    # Rest and repair

    def _forget(self, attempt: PassAttempt, _occurrence: Occurrence) -> PassAttempt:
        return PassAttempt(took_ms=attempt.took_ms)

    def _check_health(self, attempt: PassAttempt, _occurrence: Occurrence) -> Done:
        fault = self._fault_now()
        self._presenter.fault = fault
        return Done(attempt, Event.BACK_IN_SERVICE if fault is None else None)

    def _fault_now(self) -> str | None:
        """What stands in the way of service now, for staff; None when nothing does."""
        if not self._devices.board.online:
            return self._presenter.fault or "board"
        if self._inbox.emergency:
            return EMERGENCY
        try:
            self._devices.store.document("calendar")
            self._records.write_late()
            _ = self._devices.journal.last_sequence
        except CanteenError as error:
            return type(error).__name__
        return None
