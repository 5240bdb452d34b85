"""The ports of the access point and the events it reports, in the domain's words.

Keypad, card reader, turnstile and line have no port of their own for what they report: everything arrives, in the order
in which it happened, through one `on_event` callable, because a state machine with four inboxes has no order.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from canteen.credentials import CardNumber

UNLOCK_TIMEOUT_MIN_S = 0.1
UNLOCK_TIMEOUT_MAX_S = 25.0
"""OSDP counts the timer in tenths of a second; libosdp's binding keeps eight bits of it: 25.5 s."""


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """One digit key. Digits make up a personal code, hence no value in the representation."""

    digit: str

    def __repr__(self) -> str:
        return "DigitPressed(…)"


@dataclass(frozen=True, slots=True)
class CorrectionPressed:
    """The '*' key: takes back the last digit; with nothing typed, it cancels."""


@dataclass(frozen=True, slots=True)
class EnterPressed:
    """The '#' key: the code is complete."""


@dataclass(frozen=True, slots=True)
class CancelPressed:
    """The cancel key of keypads that have one; twelve-key keypads never send it."""


@dataclass(frozen=True, slots=True)
class CardPresented:
    """A card with a number of valid length. The number is an identifier of a person: never logged."""

    card: CardNumber


class CardRefusal(enum.StrEnum):
    """Why a card at the PC/SC reader gave no number. The pupil reads a kind sentence, staff read this."""

    NOT_DESFIRE = "not_desfire"
    """Another kind of card: transport, bank, a telephone."""
    NOT_ENCODED = "not_encoded"
    """A DESFire card without the school's application: blank, another use's, or a blank given a copied UID."""
    COPIED_UID = "copied_uid"
    """The number that the radio side shows is not the chip's own: an emulator."""
    RANDOM_UID = "random_uid"
    """The chip hides its number behind a random one, so its key cannot be found."""
    WRONG_KEY = "wrong_key"
    """The application is there under another key: a school with keys of its own, older keys, or a forgery."""
    OTHER_SCHOOL = "other_school"
    """A genuine card of a school that shares our keys."""
    REPLAYED_SESSION = "replayed_session"
    """The card could not prove that it holds the key: what it said was said to somebody before."""
    SPOILED_SESSION = "spoiled_session"
    """Bytes changed on the way, after the keys were proved."""
    NOT_GENUINE = "not_genuine"
    """The content was not made by this school for this chip."""
    HALF_WRITTEN = "half_written"
    """Encoding was interrupted: the station can repair it."""
    UNKNOWN_FORMAT = "unknown_format"
    """Written by a newer version of this program."""
    TORN_AWAY = "torn_away"
    """Taken away too soon: present it again."""
    UNREADABLE = "unreadable"
    """Answers that make no sense, twice."""


@dataclass(frozen=True, slots=True)
class CardRefused:
    """A card that gave no number, once per presentation."""

    reason: CardRefusal


class ReaderLossReason(enum.Enum):
    """Why the PC/SC reader cannot be used; what staff would have to look at."""

    NO_SERVICE = "no_service"
    """The PC/SC daemon does not answer."""
    NO_READER = "no_reader"
    """The daemon answers; the reader is not plugged in, or not the one that was named."""
    STUCK = "stuck"
    """A call into the reader's driver does not return; a new attempt has begun beside it."""


@dataclass(frozen=True, slots=True)
class CardReaderLost:
    """Cards are not read now."""

    reason: ReaderLossReason


@dataclass(frozen=True, slots=True)
class CardReaderRecovered:
    """Cards are read, for the first time or again."""


@dataclass(frozen=True, slots=True)
class PassageCompleted:
    """The turnstile turned once after the last unlock, and is locked again."""


@dataclass(frozen=True, slots=True)
class PassageAbandoned:
    """The board itself locked the turnstile again after its timeout: nobody went through."""


@dataclass(frozen=True, slots=True)
class TamperDetected:
    """The board's cover contact opened."""


@dataclass(frozen=True, slots=True)
class RotationRefused:
    """Somebody pushed the locked turnstile: too early, or close behind another."""


@dataclass(frozen=True, slots=True)
class EmergencyReleased:
    """The fire alarm or the release button has freed the gate; the board only reports it."""


@dataclass(frozen=True, slots=True)
class EmergencyEnded:
    """The gate obeys again."""


class TrayState(enum.StrEnum):
    """How the tray dispenser is."""

    READY = "ready"
    JAMMED = "jammed"
    EMPTY = "empty"
    LOST = "lost"
    """Its board does not answer."""


@dataclass(frozen=True, slots=True)
class TraysChanged:
    """The dispenser is otherwise than before. Never a reason to hold a meal back."""

    state: TrayState


class LossReason(enum.Enum):
    """Why the board cannot be used; what staff would have to look at."""

    NO_DEVICE = "no_device"
    """The serial device is absent, busy or unplugged."""
    SILENT = "silent"
    """The line is there; nobody answers on it, or nobody understandable."""
    KEY_REFUSED = "key_refused"
    """A peripheral answers but does not hold our secure channel key."""


@dataclass(frozen=True, slots=True)
class BoardLost:
    """The turnstile has not answered for `LOST_AFTER_S`. Whatever it held is void."""

    reason: LossReason


@dataclass(frozen=True, slots=True)
class BoardRecovered:
    """The board answers again under the secure channel, and holds nothing typed or presented before."""


@dataclass(frozen=True, slots=True)
class InputInterrupted:
    """The line failed too briefly for a loss. A key or card may be missing: void the code so far; a passage goes on."""


@dataclass(frozen=True, slots=True)
class KeypadLost:
    """Keypad, reader and lamp have an address of their own, and it is silent; the turnstile still answers."""

    reason: LossReason


@dataclass(frozen=True, slots=True)
class KeypadRecovered:
    """Keys are heard again; nothing typed before."""


KeypadEvent = DigitPressed | CorrectionPressed | EnterPressed | CancelPressed
CardReaderEvent = CardPresented
TurnstileEvent = PassageCompleted | PassageAbandoned | RotationRefused | EmergencyReleased | EmergencyEnded
LineEvent = BoardLost | BoardRecovered | KeypadLost | KeypadRecovered | InputInterrupted | TamperDetected
BoardEvent = KeypadEvent | CardReaderEvent | TurnstileEvent | TraysChanged | LineEvent

PcscReaderEvent = CardPresented | CardRefused | CardReaderLost | CardReaderRecovered
"""What a reader beside the board reports; a card is the same card, whichever way it came."""

OnPcscReaderEvent = Callable[[PcscReaderEvent], None]
"""Called on a thread of the reader: must only hand the event over (a queue), not raise, not wait."""

OnBoardEvent = Callable[[BoardEvent], None]
"""Called on the board's own thread: must only hand the event over (a queue), not raise, not wait for the board."""


COMMAND_DEADLINE_S = 1.0
"""A pupil waits for the turnstile; later than this, nobody knows any more whom the command was for."""


class CommandOutcome(enum.Enum):
    """What became of a command to the turnstile."""

    DONE = "done"
    """The board confirmed it under the secure channel."""
    REFUSED = "refused"
    """The board answered that it would not."""
    BOARD_LOST = "board_lost"
    """No confirmation in time. The command may have been carried out: nobody knows."""


class Signal(enum.Enum):
    """What the lamp and the buzzer say."""

    READY = "ready"
    WAIT = "wait"
    GRANTED = "granted"
    DENIED = "denied"
    FAULT = "fault"


class Turnstile(Protocol):
    """Lets one person through at a time."""

    def unlock(self, timeout_s: float, within_s: float = COMMAND_DEADLINE_S) -> CommandOutcome:
        """Open for one passage; the board locks again by itself after `timeout_s` (0.1 to 25). Waits `within_s`, at
        most 1 s: later nothing is sent any more.
        """
        ...

    def lock(self) -> CommandOutcome:
        """Lock now. Waits at most 1 s."""
        ...


class TrayDispenser(Protocol):
    """Pushes out one tray at a time."""

    def give_tray(self) -> None:
        """Give one tray now or not at all: never waits, is never repeated, and is void after a second."""
        ...


class Signals(Protocol):
    """Lamp, buzzer and the board's line of text."""

    def show(self, signal: Signal, text: str) -> None:
        """Show `signal` and `text` as soon as the board can, again after a loss; the latest counts. Never waits."""
        ...


class Role(enum.StrEnum):
    """What a peripheral on the line is there for."""

    READER = "reader"
    """Keypad, card reader, lamp, buzzer and text."""
    GATE = "gate"
    TRAYS = "trays"


@dataclass(frozen=True, slots=True)
class Identification:
    """What a peripheral says of itself (OSDP PDID and PDCAP).

    Attributes:
        vendor: the maker's three-byte code, in hexadecimal.
        capabilities: (function code, compliance level, number of items), those that it has.
    """

    vendor: str
    model: int
    version: int
    serial: str
    firmware: str
    capabilities: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """How one address has answered since the start.

    Attributes:
        answers: commands that were answered.
        sessions: how often the secure channel was built; more than one means that the line was interrupted.
        answer_ms: mean time to an answer, over the last few dozen; None before the first.
    """

    answers: int = 0
    sessions: int = 0
    answer_ms: float | None = None


@dataclass(frozen=True, slots=True)
class BoardPart:
    """One peripheral on the line, as it is now."""

    address: int
    roles: tuple[Role, ...]
    online: bool
    loss: LossReason | None
    identification: Identification | None
    quality: LinkQuality


class Board(Turnstile, TrayDispenser, Signals, Protocol):
    """One access point's devices on one line, at one address or several, with one owner who retries."""

    @property
    def online(self) -> bool:
        """Whether the turnstile answers now under the secure channel."""
        ...

    @property
    def parts(self) -> tuple[BoardPart, ...]:
        """Every peripheral that is expected on the line."""
        ...

    def start(self) -> None:
        """Begin to talk and to report; the first report is BoardRecovered or BoardLost, within a second."""
        ...

    def stop(self) -> None:
        """Fall silent; nothing is reported after it returns."""
        ...
