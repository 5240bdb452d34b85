"""What is to be sent to a peripheral: turnstile commands somebody waits for, a tray, then the latest signal; one at a
time.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from osdp import CompletionStatus

from firmware_bridge.devices import CommandOutcome, Signal
from firmware_bridge.osdp_messages import OsdpMessage, signal_commands

_log = logging.getLogger("canteen.firmware_bridge.command_queue")

_REFUSALS = 3
"""libosdp reports a broken channel and a refusal alike, and noise breaks channels; a true refusal goes on."""


@dataclass(eq=False, slots=True)
class TurnstileCommand:
    """One command with a deadline; `finished` publishes `outcome` to whoever waits."""

    message: OsdpMessage
    unlocks: bool
    deadline_s: float
    once: bool = False
    """Whether it must never be sent twice, as unlocks never are: a second tray is a second tray."""
    refusals: int = 0
    outcome: CommandOutcome = CommandOutcome.BOARD_LOST
    finished: threading.Event = field(default_factory=threading.Event)


class CommandQueue:
    """`put` and `show` from any thread; everything else from the board's loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[TurnstileCommand] = deque()
        self._signal: tuple[Signal, str] | None = None
        self._signal_messages: deque[OsdpMessage] = deque()
        self._signal_refusals: Counter[int] = Counter()
        self._signals_known: set[int] = set()
        self._in_flight: TurnstileCommand | OsdpMessage | None = None

    def put(self, command: TurnstileCommand) -> None:
        """Queue a turnstile command."""
        with self._lock:
            self._waiting.append(command)

    def show(self, signal: Signal, text: str) -> None:
        """Replace what is to be shown."""
        with self._lock:
            self._signal = (signal, text)
            self._signal_messages = deque(signal_commands(signal, text))

    def show_again(self) -> None:
        """Lamp and text again for a board that may have rebooted, but no second beep."""
        with self._lock:
            if self._signal is not None and not self._signal_messages:
                self._signal_messages = deque(signal_commands(*self._signal)[:2])

    def take(self) -> TurnstileCommand | OsdpMessage | None:
        """The next thing to send, now in flight; None if there is none or one is in flight already."""
        if self._in_flight is not None:
            return None
        with self._lock:
            self._in_flight = self._waiting.popleft() if self._waiting else self._next_signal_message()
        return self._in_flight

    def complete(self, status: int, *, proven: bool = True) -> TurnstileCommand | None:
        """Settle what is in flight by libosdp's completion status; the command if it is a turnstile's and done.

        `proven`: whether it was the board that said so. A failure may be anybody's word on the line, or a broken reply,
        to a command that was carried out: as little as after a silence is an unlock sent again, or called refused.
        """
        command, self._in_flight = self._in_flight, None
        if not isinstance(command, TurnstileCommand):
            if command is not None:
                self._settle_signal(command, status)
            return None
        if status == CompletionStatus.Ok:
            command.outcome = CommandOutcome.DONE
            return command
        if not proven and (command.unlocks or command.once):
            command.finished.set()
            return None
        command.refusals += status == CompletionStatus.Failed
        if command.refusals >= _REFUSALS:
            command.outcome = CommandOutcome.REFUSED
            command.finished.set()
        else:
            with self._lock:
                self._waiting.appendleft(command)
        return None

    def put_back(self) -> None:
        """The session ended under what is in flight: locking twice is harmless, losing it is not.

        An unlock is never sent twice: the first may have been carried out with only its reply lost, somebody may have
        walked already, and a second one would let the next person walk on the same grant. Its outcome is not known.
        """
        command, self._in_flight = self._in_flight, None
        if command is None:
            return
        if isinstance(command, TurnstileCommand) and (command.unlocks or command.once):
            command.finished.set()
            return
        with self._lock:
            if isinstance(command, TurnstileCommand):
                self._waiting.appendleft(command)
            else:
                self._signal_messages.appendleft(command)

    def expire(self, now_s: float) -> None:
        """End what waits beyond its deadline, so that it can never open the turnstile for someone else."""
        with self._lock:
            expired = [command for command in self._waiting if command.deadline_s <= now_s]
            for command in expired:
                self._waiting.remove(command)
        for command in expired:
            command.finished.set()

    def abandon(self) -> None:
        """End everything somebody waits for: the board is lost or stopped."""
        with self._lock:
            abandoned = list(self._waiting)
            self._waiting.clear()
        if isinstance(self._in_flight, TurnstileCommand):
            abandoned.append(self._in_flight)
            self._in_flight = None
        for command in abandoned:
            command.finished.set()

    def _next_signal_message(self) -> OsdpMessage | None:
        while self._signal_messages:
            message = self._signal_messages.popleft()
            if self._signal_refusals[int(message["command"])] < _REFUSALS:
                return message
        return None

    def _settle_signal(self, message: OsdpMessage, status: int) -> None:
        """Try a failed signal again; give up a kind that the board does not have: each refusal ends a session."""
        kind = int(message["command"])
        if status == CompletionStatus.Ok:
            self._signals_known.add(kind)
            self._signal_refusals[kind] = 0
            return
        self._signal_refusals[kind] += status == CompletionStatus.Failed
        if self._signal_refusals[kind] < _REFUSALS:
            with self._lock:
                self._signal_messages.appendleft(message)
        elif kind in self._signals_known:
            self._signal_refusals[kind] = 0
        else:
            _log.warning("the board has no such signal (OSDP command kind %d); it is not sent any more", kind)
