"""The lane as a table: in which state which event leads where, and what is done on the way. Pure: no clock, no device.

An action may report an event of its own (the decision, a full journal); the rest of its row is then left out and that
event is handled next, before anything from outside. So `UNLOCK` never runs after a `JOURNAL_GRANT` that failed. The
table is the last thing in this file; `docs/pass-machine.md` is drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from canteen.access_decision import Reason, StaffSign
from canteen.credentials import CardNumber
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PassId, PupilId
from canteen.meal_pass import PassMethod
from canteen.serving_periods import ServiceMoment
from firmware_bridge.devices import CardRefusal
from templates_store.store import StoredReference
from terminal.devices import LearntHand
from terminal.vouching import Vouching

HAND_TRIES = 3
"""Placements within one attempt. Then card or adult; the pupil is never locked out: the next attempt is a new one."""


class State(StrEnum):
    """Where the lane is."""

    IDLE = "idle"
    TYPING_CODE = "typing-code"
    DECIDING = "deciding"
    """The credential is complete; the decision follows at once."""
    AWAITING_HAND = "awaiting-hand"
    COMPARING = "comparing"
    """A hand was seen; its verdict follows at once."""
    GUIDING = "guiding"
    """Between two placements: what to do better."""
    PASSAGE_OPEN = "passage-open"
    CLOSING = "closing"
    """Nobody turned the turnstile in time; its word that it is locked is awaited."""
    SHOWING_DENIAL = "showing-denial"
    OUT_OF_SERVICE = "out-of-service"


class Event(StrEnum):
    """What can happen."""

    DIGIT = "digit"
    CORRECTION = "correction"
    ENTER = "enter"
    CANCEL = "cancel"
    CARD = "card"
    CARD_REFUSED = "card-refused"
    """A card was presented that gave no number."""
    VOUCHED = "vouched"
    """Staff ask for a pupil to be let through."""
    PASSAGE_COMPLETED = "passage-completed"
    PASSAGE_ABANDONED = "passage-abandoned"
    ROTATION_REFUSED = "rotation-refused"
    """Somebody pushed the locked turnstile."""
    TRAYS_CHANGED = "trays-changed"
    """Jammed, empty, or in order again."""
    EMERGENCY = "emergency"
    """The gate was freed by alarm: it lets everybody through, and nobody is counted."""
    KEYPAD_LOST = "keypad-lost"
    """The keypad alone is silent; the turnstile answers."""
    BOARD_LOST = "board-lost"
    BOARD_RECOVERED = "board-recovered"
    INPUT_INTERRUPTED = "input-interrupted"
    HAND_CAPTURED = "hand-captured"
    HAND_NOT_READ = "hand-not-read"
    DEADLINE = "deadline"
    """The state's own time is over (see `DEADLINES_S`)."""
    CODE_COMPLETE = "code-complete"
    CODE_EMPTY = "code-empty"
    HAND_NEEDED = "hand-needed"
    ACCESS_GRANTED = "access-granted"
    ACCESS_DENIED = "access-denied"
    TRY_AGAIN = "try-again"
    JOURNAL_FAILED = "journal-failed"
    UNLOCK_REFUSED = "unlock-refused"
    LOCKED = "locked"
    BACK_IN_SERVICE = "back-in-service"
    FAULT = "fault"
    """Something broke that nobody foresaw."""
    STOPPING = "stopping"
    """The program is asked to end."""


class Action(StrEnum):
    """What is done; each is one method of `actions.Actions`."""

    BEGIN = "begin"
    """A fresh attempt; nothing of an earlier one remains."""
    ADD_DIGIT = "add-digit"
    """Reports CODE_COMPLETE at the school's code length."""
    DROP_DIGIT = "drop-digit"
    """Reports CODE_EMPTY when none is left."""
    ASK_TO_RETYPE = "ask-to-retype"
    """Digits may have been lost on the line: void what was typed."""
    TAKE_CARD = "take-card"
    TAKE_REFUSAL = "take-refusal"
    TAKE_VOUCHED = "take-vouched"
    DECIDE = "decide"
    """Reports HAND_NEEDED, ACCESS_GRANTED or ACCESS_DENIED."""
    WATCH_FOR_HAND = "watch-for-hand"
    STOP_WATCHING = "stop-watching"
    COMPARE = "compare"
    """Reports ACCESS_GRANTED, TRY_AGAIN or ACCESS_DENIED."""
    COUNT_TRY = "count-try"
    """Reports TRY_AGAIN or ACCESS_DENIED."""
    GIVE_UP = "give-up"
    """The pupil was too slow: that is the reason."""
    JOURNAL_GRANT = "journal-grant"
    """On disk when it returns; reports JOURNAL_FAILED otherwise."""
    UNLOCK = "unlock"
    """Reports UNLOCK_REFUSED or BOARD_LOST unless the board confirmed it."""
    GIVE_TRAY = "give-tray"
    """Never waits, and reports nothing: a jam holds no meal back."""
    NOTE_INSTANT = "note-instant"
    FOLLOW_HAND = "follow-hand"
    """Keep what the reference has become, after the gate is open."""
    LOCK = "lock"
    """Queues LOCKED, or BOARD_LOST, behind what the board reported meanwhile."""
    JOURNAL_COMPLETED = "journal-completed"
    JOURNAL_ABANDONED = "journal-abandoned"
    JOURNAL_UNRESOLVED = "journal-unresolved"
    JOURNAL_DENIAL = "journal-denial"
    KEEP = "keep"
    """The next pupil is already typing: keep it until the passage is free."""
    DROP_KEPT = "drop-kept"
    REPLAY_KEPT = "replay-kept"
    CHECK_HEALTH = "check-health"
    """Reports BACK_IN_SERVICE when board, journal and store answer."""
    FORGET = "forget"
    """Nothing of the attempt remains in memory."""
    SHOW = "show"
    """Screen, lamp and buzzer say what the state and the attempt say."""


@dataclass(frozen=True, slots=True)
class PassAttempt:
    """One pupil at the lane, from the first key or card to the last word.

    Attributes:
        typed: the digits so far.
        decided_at: when the credential was complete; the whole attempt is judged at this instant.
        watch: which watch of the hand reader counts; results of earlier ones do not.
        place: where on the drawn hand the screen points, x and y in 0..1.
        guidance: the value of the `QualityReason` of the last placement, or None where it was read but did not match.
        sign: what staff may see beside the grant.
        journalled: whether the grant of this attempt is in the journal, with no outcome yet.
        late: whether the turn's time was over before the gate could open.
        acted_at_s: when the pupil last did something that counts (monotonic): last digit, card, or hand seen.
        took_ms: from then to the confirmed unlock.
    """

    typed: str = field(default="", repr=False)
    retype: bool = False
    card: CardNumber | None = field(default=None, repr=False)
    card_refusal: CardRefusal | None = None
    vouching: Vouching | None = None
    method: PassMethod = PassMethod.HAND
    decided_at: datetime | None = None
    moment: ServiceMoment | None = None
    charged_to: EntitlementKind | None = None
    sign: StaffSign | None = None
    pupil: PupilId | None = None
    first_name: str = field(default="", repr=False)
    tries: int = 0
    watch: int = 0
    guidance: str | None = None
    place: tuple[float, float] | None = None
    learnt: tuple[StoredReference, LearntHand] | None = field(default=None, repr=False)
    pass_id: PassId | None = None
    journalled: bool = False
    abandoned: bool = False
    late: bool = False
    reason: Reason | None = None
    acted_at_s: float = 0.0
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    target: State
    actions: tuple[Action, ...]


def row(target: State, *actions: Action) -> Row:
    """A line of the table, written short."""
    return Row(target, actions)


def next_row(state: State, event: Event) -> Row | None:
    """The line for `event` in `state`; None where it is ignored."""
    return TABLE.get((state, event))


def rearms_deadline(state: State, event: Event, target: State) -> bool:
    """Whether the deadline of `target` starts anew: on entering it, when it has just run out, and at every key typed.

    A passage that stays open while the next pupil types keeps its own.
    """
    return target is not state or event is Event.DEADLINE or target is State.TYPING_CODE


DEADLINES_S: dict[State, float] = {
    State.TYPING_CODE: 5.0,
    State.AWAITING_HAND: 8.0,
    State.GUIDING: 1.5,  # long enough to read four words and lift the hand
    State.PASSAGE_OPEN: 6.0,  # the configured passage time takes its place, plus PASSAGE_GRACE_S
    State.CLOSING: 2.0,  # the board answers a command within one second or is lost
    State.SHOWING_DENIAL: 2.5,
    State.OUT_OF_SERVICE: 2.0,
    # Left at once by the event that their one action reports; the deadline is for a broken action only.
    State.DECIDING: 2.0,
    State.COMPARING: 2.0,
}
"""How long a state may last. IDLE alone waits for ever."""

PASSAGE_GRACE_S = 1.5
"""The board locks by itself and says so; we step in only when its word does not come."""

_KEYPAD = frozenset({Event.DIGIT, Event.CORRECTION, Event.ENTER, Event.CANCEL})
_PASSAGE = frozenset({Event.PASSAGE_COMPLETED, Event.PASSAGE_ABANDONED})
_HAND = frozenset({Event.HAND_CAPTURED, Event.HAND_NOT_READ})
_REPORTED = frozenset(
    {
        Event.CODE_COMPLETE,
        Event.CODE_EMPTY,
        Event.HAND_NEEDED,
        Event.ACCESS_GRANTED,
        Event.ACCESS_DENIED,
        Event.TRY_AGAIN,
        Event.JOURNAL_FAILED,
        Event.UNLOCK_REFUSED,
        Event.BACK_IN_SERVICE,
    }
)
_LATE_WORD = frozenset({Event.LOCKED, Event.BOARD_RECOVERED, Event.ROTATION_REFUSED})
"""A word of the board that changes nothing where nobody waits for it; pushes at a locked arm are counted elsewhere."""

_AT_THE_SIDE = frozenset({Event.TRAYS_CHANGED, Event.KEYPAD_LOST})
"""What stands at the foot of the screen, and touches no attempt that does not need it."""

IGNORED: dict[State, frozenset[Event]] = {
    State.IDLE: (_KEYPAD - {Event.DIGIT})
    | _PASSAGE
    | _HAND
    | _REPORTED
    | _LATE_WORD
    | {Event.DEADLINE, Event.INPUT_INTERRUPTED, Event.TRAYS_CHANGED},
    State.TYPING_CODE: _PASSAGE
    | _HAND
    | _LATE_WORD
    | (_REPORTED - {Event.CODE_COMPLETE, Event.CODE_EMPTY})
    | {Event.ENTER, Event.TRAYS_CHANGED},
    State.DECIDING: _KEYPAD
    | _PASSAGE
    | _HAND
    | _LATE_WORD
    | (_REPORTED - {Event.HAND_NEEDED, Event.ACCESS_GRANTED, Event.ACCESS_DENIED})
    | _AT_THE_SIDE
    | {Event.CARD, Event.CARD_REFUSED, Event.VOUCHED, Event.INPUT_INTERRUPTED},
    # A digit too many must not undo a complete code: the correction key does.
    State.AWAITING_HAND: _PASSAGE
    | _REPORTED
    | _LATE_WORD
    | _AT_THE_SIDE
    | {Event.DIGIT, Event.ENTER, Event.INPUT_INTERRUPTED},
    State.COMPARING: _KEYPAD
    | _PASSAGE
    | _HAND
    | _LATE_WORD
    | (_REPORTED - {Event.TRY_AGAIN, Event.ACCESS_GRANTED, Event.ACCESS_DENIED})
    | _AT_THE_SIDE
    | {Event.CARD, Event.CARD_REFUSED, Event.VOUCHED, Event.INPUT_INTERRUPTED},
    State.GUIDING: _PASSAGE
    | _HAND
    | _REPORTED
    | _LATE_WORD
    | _AT_THE_SIDE
    | {Event.DIGIT, Event.ENTER, Event.INPUT_INTERRUPTED},
    State.PASSAGE_OPEN: _HAND
    | _LATE_WORD
    | (_REPORTED - {Event.JOURNAL_FAILED, Event.UNLOCK_REFUSED})
    | {Event.ENTER, Event.CANCEL},
    State.CLOSING: _HAND | _REPORTED | (_LATE_WORD - {Event.LOCKED}) | {Event.ENTER, Event.CANCEL, Event.TRAYS_CHANGED},
    State.SHOWING_DENIAL: _PASSAGE
    | _HAND
    | _REPORTED
    | _LATE_WORD
    | _AT_THE_SIDE
    | {Event.ENTER, Event.INPUT_INTERRUPTED},
    State.OUT_OF_SERVICE: _KEYPAD
    | _PASSAGE
    | _HAND
    | (_REPORTED - {Event.BACK_IN_SERVICE, Event.ACCESS_GRANTED, Event.ACCESS_DENIED, Event.JOURNAL_FAILED})
    | _AT_THE_SIDE
    | (_LATE_WORD - {Event.BOARD_RECOVERED})
    | {Event.CARD, Event.CARD_REFUSED, Event.INPUT_INTERRUPTED},
}
"""What is let pass, state by state; together with the table every pair is named."""

_S, _E, _A = State, Event, Action
_OPEN = row(_S.PASSAGE_OPEN, _A.JOURNAL_GRANT, _A.UNLOCK, _A.GIVE_TRAY, _A.SHOW, _A.NOTE_INSTANT, _A.FOLLOW_HAND)
# A denial opens nothing: it is told before it is recorded.
_DENY = row(_S.SHOWING_DENIAL, _A.SHOW, _A.JOURNAL_DENIAL)
_TOO_SLOW = row(_S.SHOWING_DENIAL, _A.STOP_WATCHING, _A.GIVE_UP, _A.SHOW, _A.JOURNAL_DENIAL)
_TYPE = row(_S.TYPING_CODE, _A.BEGIN, _A.ADD_DIGIT, _A.SHOW)
_CARD = row(_S.DECIDING, _A.BEGIN, _A.TAKE_CARD, _A.DECIDE)
_CARD_INSTEAD = row(_S.DECIDING, _A.STOP_WATCHING, _A.BEGIN, _A.TAKE_CARD, _A.DECIDE)
_REFUSED = row(_S.SHOWING_DENIAL, _A.BEGIN, _A.TAKE_REFUSAL, _A.SHOW, _A.JOURNAL_DENIAL)
_REFUSED_INSTEAD = row(_S.SHOWING_DENIAL, _A.STOP_WATCHING, _A.BEGIN, _A.TAKE_REFUSAL, _A.SHOW, _A.JOURNAL_DENIAL)
_VOUCH = row(_S.DECIDING, _A.BEGIN, _A.TAKE_VOUCHED, _A.DECIDE)
_VOUCH_INSTEAD = row(_S.DECIDING, _A.STOP_WATCHING, _A.BEGIN, _A.TAKE_VOUCHED, _A.DECIDE)
_REST = row(_S.IDLE, _A.FORGET, _A.SHOW)
_REST_UNSEEN = row(_S.IDLE, _A.STOP_WATCHING, _A.FORGET, _A.SHOW)
_KEEP = row(_S.PASSAGE_OPEN, _A.KEEP)
_KEEP_CLOSING = row(_S.CLOSING, _A.KEEP)
_GONE_THROUGH = row(_S.IDLE, _A.JOURNAL_COMPLETED, _A.FORGET, _A.SHOW, _A.REPLAY_KEPT)
_STAYED_BEHIND = row(_S.SHOWING_DENIAL, _A.JOURNAL_ABANDONED, _A.SHOW, _A.REPLAY_KEPT)
_HALT = row(_S.OUT_OF_SERVICE, _A.STOP_WATCHING, _A.FORGET, _A.SHOW)
_HALT_OPEN = row(_S.OUT_OF_SERVICE, _A.JOURNAL_UNRESOLVED, _A.DROP_KEPT, _A.FORGET, _A.SHOW)
# Staff let a pupil through by hand: the meal is recorded, and that no turnstile saw it.
_BY_HAND = row(_S.OUT_OF_SERVICE, _A.JOURNAL_GRANT, _A.JOURNAL_UNRESOLVED, _A.FORGET, _A.SHOW)
_CHECK = row(_S.OUT_OF_SERVICE, _A.CHECK_HEALTH, _A.SHOW)

# fmt: off
TABLE: dict[tuple[State, Event], Row] = {
    (_S.IDLE,           _E.DIGIT):             _TYPE,
    (_S.IDLE,           _E.CARD):              _CARD,
    (_S.IDLE,           _E.CARD_REFUSED):      _REFUSED,
    (_S.IDLE,           _E.VOUCHED):           _VOUCH,
    (_S.IDLE,           _E.KEYPAD_LOST):       row(_S.IDLE, _A.SHOW),
    (_S.IDLE,           _E.BOARD_LOST):        _HALT,
    (_S.IDLE,           _E.EMERGENCY):         _HALT,
    (_S.IDLE,           _E.FAULT):             _HALT,
    (_S.IDLE,           _E.STOPPING):          _HALT,

    (_S.TYPING_CODE,    _E.DIGIT):             row(_S.TYPING_CODE, _A.ADD_DIGIT, _A.SHOW),
    (_S.TYPING_CODE,    _E.CORRECTION):        row(_S.TYPING_CODE, _A.DROP_DIGIT, _A.SHOW),
    (_S.TYPING_CODE,    _E.INPUT_INTERRUPTED): row(_S.TYPING_CODE, _A.ASK_TO_RETYPE, _A.SHOW),
    (_S.TYPING_CODE,    _E.CODE_COMPLETE):     row(_S.DECIDING, _A.DECIDE),
    (_S.TYPING_CODE,    _E.CODE_EMPTY):        _REST,
    (_S.TYPING_CODE,    _E.CANCEL):            _REST,
    (_S.TYPING_CODE,    _E.DEADLINE):          _REST,
    (_S.TYPING_CODE,    _E.CARD):              _CARD,
    (_S.TYPING_CODE,    _E.CARD_REFUSED):      _REFUSED,
    (_S.TYPING_CODE,    _E.VOUCHED):           _VOUCH,
    (_S.TYPING_CODE,    _E.KEYPAD_LOST):       _REST,
    (_S.TYPING_CODE,    _E.BOARD_LOST):        _HALT,
    (_S.TYPING_CODE,    _E.EMERGENCY):         _HALT,
    (_S.TYPING_CODE,    _E.FAULT):             _HALT,
    (_S.TYPING_CODE,    _E.STOPPING):          _HALT,

    (_S.DECIDING,       _E.HAND_NEEDED):       row(_S.AWAITING_HAND, _A.WATCH_FOR_HAND, _A.SHOW),
    (_S.DECIDING,       _E.ACCESS_GRANTED):    _OPEN,
    (_S.DECIDING,       _E.ACCESS_DENIED):     _DENY,
    (_S.DECIDING,       _E.DEADLINE):          _HALT,
    (_S.DECIDING,       _E.BOARD_LOST):        _HALT,
    (_S.DECIDING,       _E.EMERGENCY):         _HALT,
    (_S.DECIDING,       _E.FAULT):             _HALT,
    (_S.DECIDING,       _E.STOPPING):          _HALT,

    (_S.AWAITING_HAND,  _E.HAND_CAPTURED):     row(_S.COMPARING, _A.COMPARE),
    (_S.AWAITING_HAND,  _E.HAND_NOT_READ):     row(_S.COMPARING, _A.COUNT_TRY),
    (_S.AWAITING_HAND,  _E.CARD):              _CARD_INSTEAD,
    (_S.AWAITING_HAND,  _E.CARD_REFUSED):      _REFUSED_INSTEAD,
    (_S.AWAITING_HAND,  _E.VOUCHED):           _VOUCH_INSTEAD,
    (_S.AWAITING_HAND,  _E.CORRECTION):        _REST_UNSEEN,
    (_S.AWAITING_HAND,  _E.CANCEL):            _REST_UNSEEN,
    (_S.AWAITING_HAND,  _E.DEADLINE):          _TOO_SLOW,
    (_S.AWAITING_HAND,  _E.BOARD_LOST):        _HALT,
    (_S.AWAITING_HAND,  _E.EMERGENCY):         _HALT,
    (_S.AWAITING_HAND,  _E.FAULT):             _HALT,
    (_S.AWAITING_HAND,  _E.STOPPING):          _HALT,

    (_S.COMPARING,      _E.ACCESS_GRANTED):    _OPEN,
    (_S.COMPARING,      _E.ACCESS_DENIED):     _DENY,
    (_S.COMPARING,      _E.TRY_AGAIN):         row(_S.GUIDING, _A.SHOW),
    (_S.COMPARING,      _E.DEADLINE):          _HALT,
    (_S.COMPARING,      _E.BOARD_LOST):        _HALT,
    (_S.COMPARING,      _E.EMERGENCY):         _HALT,
    (_S.COMPARING,      _E.FAULT):             _HALT,
    (_S.COMPARING,      _E.STOPPING):          _HALT,

    (_S.GUIDING,        _E.DEADLINE):          row(_S.AWAITING_HAND, _A.WATCH_FOR_HAND, _A.SHOW),
    (_S.GUIDING,        _E.CARD):              _CARD_INSTEAD,
    (_S.GUIDING,        _E.CARD_REFUSED):      _REFUSED_INSTEAD,
    (_S.GUIDING,        _E.VOUCHED):           _VOUCH_INSTEAD,
    (_S.GUIDING,        _E.CORRECTION):        _REST_UNSEEN,
    (_S.GUIDING,        _E.CANCEL):            _REST_UNSEEN,
    (_S.GUIDING,        _E.BOARD_LOST):        _HALT,
    (_S.GUIDING,        _E.EMERGENCY):         _HALT,
    (_S.GUIDING,        _E.FAULT):             _HALT,
    (_S.GUIDING,        _E.STOPPING):          _HALT,

    (_S.PASSAGE_OPEN,   _E.PASSAGE_COMPLETED): _GONE_THROUGH,
    (_S.PASSAGE_OPEN,   _E.PASSAGE_ABANDONED): _STAYED_BEHIND,
    (_S.PASSAGE_OPEN,   _E.DEADLINE):          row(_S.CLOSING, _A.LOCK),
    (_S.PASSAGE_OPEN,   _E.DIGIT):             _KEEP,
    (_S.PASSAGE_OPEN,   _E.CORRECTION):        _KEEP,
    (_S.PASSAGE_OPEN,   _E.CARD):              _KEEP,
    (_S.PASSAGE_OPEN,   _E.CARD_REFUSED):      _KEEP,
    (_S.PASSAGE_OPEN,   _E.VOUCHED):           _KEEP,
    (_S.PASSAGE_OPEN,   _E.INPUT_INTERRUPTED): row(_S.PASSAGE_OPEN, _A.DROP_KEPT),
    (_S.PASSAGE_OPEN,   _E.KEYPAD_LOST):       row(_S.PASSAGE_OPEN, _A.DROP_KEPT),
    (_S.PASSAGE_OPEN,   _E.TRAYS_CHANGED):     row(_S.PASSAGE_OPEN, _A.SHOW),
    (_S.PASSAGE_OPEN,   _E.JOURNAL_FAILED):    row(_S.SHOWING_DENIAL, _A.SHOW),
    (_S.PASSAGE_OPEN,   _E.UNLOCK_REFUSED):    row(_S.SHOWING_DENIAL, _A.JOURNAL_ABANDONED, _A.SHOW),
    (_S.PASSAGE_OPEN,   _E.BOARD_LOST):        _HALT_OPEN,
    (_S.PASSAGE_OPEN,   _E.EMERGENCY):         _HALT_OPEN,
    (_S.PASSAGE_OPEN,   _E.FAULT):             _HALT_OPEN,
    (_S.PASSAGE_OPEN,   _E.STOPPING):          _HALT_OPEN,

    (_S.CLOSING,        _E.PASSAGE_COMPLETED): _GONE_THROUGH,
    (_S.CLOSING,        _E.PASSAGE_ABANDONED): _STAYED_BEHIND,
    (_S.CLOSING,        _E.LOCKED):            _STAYED_BEHIND,
    (_S.CLOSING,        _E.DIGIT):             _KEEP_CLOSING,
    (_S.CLOSING,        _E.CORRECTION):        _KEEP_CLOSING,
    (_S.CLOSING,        _E.CARD):              _KEEP_CLOSING,
    (_S.CLOSING,        _E.CARD_REFUSED):      _KEEP_CLOSING,
    (_S.CLOSING,        _E.VOUCHED):           _KEEP_CLOSING,
    (_S.CLOSING,        _E.INPUT_INTERRUPTED): row(_S.CLOSING, _A.DROP_KEPT),
    (_S.CLOSING,        _E.KEYPAD_LOST):       row(_S.CLOSING, _A.DROP_KEPT),
    (_S.CLOSING,        _E.DEADLINE):          _HALT_OPEN,
    (_S.CLOSING,        _E.BOARD_LOST):        _HALT_OPEN,
    (_S.CLOSING,        _E.EMERGENCY):         _HALT_OPEN,
    (_S.CLOSING,        _E.FAULT):             _HALT_OPEN,
    (_S.CLOSING,        _E.STOPPING):          _HALT_OPEN,

    (_S.SHOWING_DENIAL, _E.DIGIT):             _TYPE,
    (_S.SHOWING_DENIAL, _E.CARD):              _CARD,
    (_S.SHOWING_DENIAL, _E.CARD_REFUSED):      _REFUSED,
    (_S.SHOWING_DENIAL, _E.VOUCHED):           _VOUCH,
    (_S.SHOWING_DENIAL, _E.CORRECTION):        _REST,
    (_S.SHOWING_DENIAL, _E.CANCEL):            _REST,
    (_S.SHOWING_DENIAL, _E.DEADLINE):          _REST,
    (_S.SHOWING_DENIAL, _E.BOARD_LOST):        _HALT,
    (_S.SHOWING_DENIAL, _E.EMERGENCY):         _HALT,
    (_S.SHOWING_DENIAL, _E.FAULT):             _HALT,
    (_S.SHOWING_DENIAL, _E.STOPPING):          _HALT,

    (_S.OUT_OF_SERVICE, _E.BOARD_LOST):        row(_S.OUT_OF_SERVICE, _A.SHOW),
    (_S.OUT_OF_SERVICE, _E.EMERGENCY):         row(_S.OUT_OF_SERVICE, _A.SHOW),
    (_S.OUT_OF_SERVICE, _E.BOARD_RECOVERED):   _CHECK,
    (_S.OUT_OF_SERVICE, _E.DEADLINE):          _CHECK,
    (_S.OUT_OF_SERVICE, _E.BACK_IN_SERVICE):   _REST,
    (_S.OUT_OF_SERVICE, _E.VOUCHED):           row(_S.OUT_OF_SERVICE, _A.BEGIN, _A.TAKE_VOUCHED, _A.DECIDE),
    (_S.OUT_OF_SERVICE, _E.ACCESS_GRANTED):    _BY_HAND,
    (_S.OUT_OF_SERVICE, _E.ACCESS_DENIED):     row(_S.OUT_OF_SERVICE, _A.JOURNAL_DENIAL, _A.FORGET, _A.SHOW),
    (_S.OUT_OF_SERVICE, _E.JOURNAL_FAILED):    row(_S.OUT_OF_SERVICE, _A.FORGET, _A.SHOW),
    (_S.OUT_OF_SERVICE, _E.FAULT):             row(_S.OUT_OF_SERVICE, _A.FORGET, _A.SHOW),
    (_S.OUT_OF_SERVICE, _E.STOPPING):          row(_S.OUT_OF_SERVICE, _A.FORGET, _A.SHOW),
}
# fmt: on
