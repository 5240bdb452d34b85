"""The one queue: whatever happens, on whichever thread, becomes an occurrence and waits its turn here."""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from canteen.credentials import CardNumber
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    CancelPressed,
    CardPresented,
    CardReaderLost,
    CardReaderRecovered,
    CardRefusal,
    CardRefused,
    CorrectionPressed,
    DigitPressed,
    EmergencyEnded,
    EmergencyReleased,
    EnterPressed,
    InputInterrupted,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    PassageAbandoned,
    PassageCompleted,
    PcscReaderEvent,
    ReaderLossReason,
    RotationRefused,
    TamperDetected,
    TraysChanged,
    TrayState,
)
from terminal.devices import HandCapture
from terminal.pass_machine import Event
from terminal.vouching import Vouching

SAME_CARD_S = 1.5
"""A card held to the reader is reported again and again: one presentation, until it was away this long."""

_log = logging.getLogger("canteen.terminal.inbox")

Payload = str | CardNumber | CardRefusal | HandCapture | Vouching | None
"""A digit, a card or why it gave no number, a hand, a word of staff, or why the board was lost."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event with what came along and when it happened (monotonic)."""

    event: Event
    at_s: float
    payload: Payload = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BoardSeen:
    """How the line to the board was since the start: what the doctor tells of it."""

    losses: int = 0
    interruptions: int = 0
    loss: str | None = None
    refused_rotations: int = 0


_PLAIN: dict[type[BoardEvent], Event] = {
    CorrectionPressed: Event.CORRECTION,
    EnterPressed: Event.ENTER,
    CancelPressed: Event.CANCEL,
    PassageCompleted: Event.PASSAGE_COMPLETED,
    PassageAbandoned: Event.PASSAGE_ABANDONED,
    BoardRecovered: Event.BOARD_RECOVERED,
    InputInterrupted: Event.INPUT_INTERRUPTED,
    EmergencyReleased: Event.EMERGENCY,
    EmergencyEnded: Event.BOARD_RECOVERED,
    RotationRefused: Event.ROTATION_REFUSED,
    TraysChanged: Event.TRAYS_CHANGED,
    KeypadLost: Event.KEYPAD_LOST,
}


class Inbox:
    """Posted to from any thread, emptied by the runner alone."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._waiting: queue.SimpleQueue[Occurrence] = queue.SimpleQueue()
        self._first: deque[Occurrence] = deque()
        self._last_card: tuple[CardNumber, float] | None = None
        self.board_seen = BoardSeen()
        self.card_reader_loss: ReaderLossReason | None = None
        """Why the reader beside the board reads nothing now; None where it does, or where there is none."""
        self.keypad_loss: LossReason | None = None
        """Why no key is heard, where the turnstile answers."""
        self.trays: TrayState | None = None
        """How the tray dispenser is; None where there is none, or before its first word."""
        self.emergency = False
        """Whether the gate was freed by alarm."""
        self.tampered = False
        """Whether the board's cover was opened since the start; staff see it on the screen."""

    def post(self, event: Event, payload: Payload = None) -> None:
        """Queue an event that happened now."""
        self._waiting.put(Occurrence(event, self._monotonic_s(), payload))

    def on_board_event(self, event: BoardEvent) -> None:
        """What the board reports; called on its thread, so it only queues."""
        match event:
            case DigitPressed(digit):
                self.post(Event.DIGIT, digit)
            case CardPresented(card):
                self._take_card(card)
            case BoardLost(reason):
                self.board_seen = replace(self.board_seen, losses=self.board_seen.losses + 1, loss=reason.value)
                self.post(Event.BOARD_LOST, reason.value)
            case TamperDetected():
                _log.warning("the board's cover was opened")
                self.tampered = True
            case KeypadRecovered():
                self.keypad_loss = None
            case _:
                self._note(event)
                self.post(_PLAIN[type(event)])

    def _note(self, event: BoardEvent) -> None:
        """What is told of the board beyond the one event: at the foot of the screen, and by the doctor."""
        seen = self.board_seen
        match event:
            case InputInterrupted():
                self.board_seen = replace(seen, interruptions=seen.interruptions + 1)
            case BoardRecovered():
                self.board_seen = replace(seen, loss=None)
            case RotationRefused():
                self.board_seen = replace(seen, refused_rotations=seen.refused_rotations + 1)
            case KeypadLost(reason):
                self.keypad_loss = reason
            case TraysChanged(state):
                self.trays = state
                _log.info("the tray dispenser is %s", state.value)
            case EmergencyReleased() | EmergencyEnded():
                self.emergency = isinstance(event, EmergencyReleased)
                _log.warning("the gate is %s", "free: emergency release" if self.emergency else "obeying again")

    def on_card_reader_event(self, event: PcscReaderEvent) -> None:
        """What a reader beside the board reports, on its thread: a card is the same card, whichever way it came."""
        match event:
            case CardPresented(card):
                self._take_card(card)
            case CardRefused(reason):
                self.post(Event.CARD_REFUSED, reason)
            case CardReaderLost(loss):
                self.card_reader_loss = loss
            case CardReaderRecovered():
                self.card_reader_loss = None

    def put_first(self, occurrences: list[Occurrence]) -> None:
        """Handle these, in their order, before anything that waits."""
        self._first.extendleft(reversed(occurrences))

    def next(self, timeout_s: float) -> Occurrence | None:
        """The next occurrence, or None if none comes within `timeout_s`."""
        if self._first:
            return self._first.popleft()
        try:
            return self._waiting.get(timeout=timeout_s) if timeout_s > 0 else self._waiting.get_nowait()
        except queue.Empty:
            return None

    @property
    def empty(self) -> bool:
        return not self._first and self._waiting.empty()

    def _take_card(self, card: CardNumber) -> None:
        now_s = self._monotonic_s()
        last = self._last_card
        self._last_card = (card, now_s)
        if last is None or last[0] != card or now_s - last[1] > SAME_CARD_S:
            self.post(Event.CARD, card)
