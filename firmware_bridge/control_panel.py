"""The control panel's end of the line: libosdp under a loop of our own, with one owner for every kind of recovery.

libosdp's own recovery is not used. After one lost reply it waits a second, repeats a frame whose message code the
peripheral can no longer accept, and then stays offline for 300 s. Here, a command unanswered for `UNANSWERED_S` or a
broken secure channel ends the session and a new one begins at once: 25 ms of handshake. What the peripheral still holds
from before is discarded until its first empty answer, so that nothing typed or presented before a cut ever joins what
comes after.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

import osdp_sys
from osdp import Event, LibFlag, LogLevel, PDInfo

from firmware_bridge.channel_key import check_channel_key
from firmware_bridge.command_queue import CommandQueue, TurnstileCommand
from firmware_bridge.contacts import Contacts
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    CommandOutcome,
    InputInterrupted,
    LossReason,
    OnBoardEvent,
    Signal,
)
from firmware_bridge.errors import BoardMisused, LineUnavailable, SimulatedDeviceInProduction
from firmware_bridge.osdp_messages import OsdpMessage, Refusal, StatusReport, lock_command, reported, unlock_command
from firmware_bridge.serial_channel import SECURITY_CHALLENGE, SerialChannel

_log = logging.getLogger("canteen.firmware_bridge.control_panel")

PERIOD_S = 0.005
"""Longest pause of the loop: replies and commands wake it at once; this only rounds libosdp's 50 ms between polls."""
UNANSWERED_S = 0.25
"""OSDP allows a peripheral 200 ms for a reply, libosdp polls 50 ms after one: a longer pause is a failure."""
LOST_AFTER_S = 0.7
"""From the last answer to BoardLost: three sessions can fail first, and it stays well below a second."""
REOPEN_S = 0.2
COMMAND_DEADLINE_S = 1.0
"""A pupil waits for the turnstile; later than this, nobody knows any more whom the command was for."""
_KEY_REFUSALS = 2
"""Noise can spoil one handshake; two in a row with an answer each time mean another key."""


class _Link(enum.Enum):
    CLOSED = enum.auto()
    CONNECTING = enum.auto()
    DRAINING = enum.auto()
    ONLINE = enum.auto()


class ControlPanelBoard:
    """A `Board` over OSDP on a serial line, secure channel enforced."""

    def __init__(
        self,
        serial_path: Path,
        address: int,
        secure_channel_key: bytes,
        on_event: OnBoardEvent,
        *,
        production: bool,
        baud: int = 115_200,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Raises:
            ChannelKeyRefused: the key has not 16 bytes or is publicly known.
            BoardMisused: an address outside 0 to 126.
        """
        check_channel_key(secure_channel_key)
        if not 0 <= address <= 126:
            raise BoardMisused(f"OSDP addresses are 0 to 126, not {address}")
        self._serial_path = serial_path
        self._address = address
        self._key = secure_channel_key
        self._on_event = on_event
        self._production = production
        self._channel = SerialChannel(serial_path, baud)
        self._panel: Any = None
        self._link = _Link.CLOSED
        self._loss: LossReason | None = None
        self._was_online = False
        self._last_answer_s = 0.0
        self._open_after_s = 0.0
        self._opened_at_s = 0.0
        self._key_refusals = 0
        self._answers_drained = 0
        self._untrusted_events: list[dict[str, object]] = []
        self._contacts = Contacts()
        self._commands = CommandQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = -1, -1

    def __repr__(self) -> str:
        return f"ControlPanelBoard({self._serial_path}, address={self._address}, link={self._link.name})"

    @property
    def online(self) -> bool:
        """Whether the board answers now under the secure channel."""
        return self._link is _Link.ONLINE

    def start(self) -> None:
        """Start the loop.

        Raises:
            SimulatedDeviceInProduction: in production the line must be a serial device, not a pseudo-terminal.
            BoardMisused: already started.
        """
        if self._thread is not None:
            raise BoardMisused("the board was started before")
        if self._production and Path(os.path.realpath(self._serial_path)).is_relative_to("/dev/pts"):
            raise SimulatedDeviceInProduction(str(self._serial_path))
        osdp_sys.set_loglevel(LogLevel.Emergency)  # libosdp writes to stderr by itself; what matters is logged here
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._last_answer_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="control-panel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the loop and close the line; commands still waiting end as BOARD_LOST."""
        self._stopping.set()
        self._wake()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join()
        with self._wake_lock:
            if self._wake_write >= 0:
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1

    def unlock(self, timeout_s: float) -> CommandOutcome:
        """Open for one passage; the board locks again by itself after `timeout_s`.

        Raises:
            BoardMisused: a timeout outside 0.1 to 25 s, or called from the event handler.
        """
        return self._command(unlock_command(timeout_s), unlocks=True)

    def lock(self) -> CommandOutcome:
        """Lock the turnstile now.

        Raises:
            BoardMisused: called from the event handler.
        """
        return self._command(lock_command(), unlocks=False)

    def show(self, signal: Signal, text: str) -> None:
        """Show `signal` and `text` (folded to ASCII, 32 characters) as soon as the board can."""
        self._commands.show(signal, text)
        self._wake()

    def _command(self, message: OsdpMessage, *, unlocks: bool) -> CommandOutcome:
        """Queue a turnstile command and wait for what becomes of it."""
        if threading.current_thread() is self._thread:
            raise BoardMisused("the event handler must not wait for the board")
        if self._thread is None or self._stopping.is_set() or self._loss is not None:
            return CommandOutcome.BOARD_LOST
        command = TurnstileCommand(message, unlocks, time.monotonic() + COMMAND_DEADLINE_S)
        self._commands.put(command)
        self._wake()
        # The loop keeps the deadline; the margin only covers a loop that has died.
        command.finished.wait(COMMAND_DEADLINE_S + 0.5)
        return command.outcome

    def _wake(self) -> None:
        with self._wake_lock:
            if self._wake_write >= 0:
                with contextlib.suppress(BlockingIOError):  # a full pipe wakes just as well
                    os.write(self._wake_write, b"w")

    # Everything below runs on the loop's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._tick(time.monotonic())
                self._pause()
        finally:
            self._link = _Link.CLOSED
            self._stopping.set()
            self._panel = None
            self._channel.close()
            self._commands.abandon()

    def _pause(self) -> None:
        """Sleep until a byte, a command or the end of the period."""
        descriptors = [self._wake_read]
        if self._channel.is_open:
            descriptors.append(self._channel.fileno())
        ready, _, _ = select.select(descriptors, [], [], PERIOD_S if self._channel.is_open else REOPEN_S / 4)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)

    def _tick(self, now_s: float) -> None:
        """One round: line, libosdp, link state, events, commands."""
        if self._link is _Link.CLOSED:
            self._try_open(now_s)
        if self._panel is not None:
            self._channel.pump()
            self._panel.refresh()
            if not self._channel.is_open:
                self._close_line(now_s)
            else:
                self._follow_link(now_s)
        self._pass_on_reports()
        self._note_loss(now_s)
        self._commands.expire(now_s)
        if self._link is _Link.ONLINE:
            self._submit_next()

    def _try_open(self, now_s: float) -> None:
        if now_s < self._open_after_s:
            return
        try:
            self._channel.open()
        except LineUnavailable:
            self._open_after_s = now_s + REOPEN_S
        else:
            self._opened_at_s = now_s
            self._new_session()

    def _close_line(self, now_s: float) -> None:
        self._panel = None
        self._link = _Link.CLOSED
        self._open_after_s = now_s
        self._key_refusals = 0
        self._commands.put_back()

    def _new_session(self) -> None:
        """Replace libosdp's context: the only way to make it try again at once from every one of its states."""
        self._commands.put_back()
        self._untrusted_events.clear()
        self._channel.restart_bookkeeping()
        information = PDInfo(self._address, self._channel, scbk=self._key, flags=[LibFlag.EnforceSecure])
        panel = osdp_sys.ControlPanel([information.get()])
        panel.set_event_callback(self._take_event)
        panel.set_command_completion_callback(self._take_completion)
        self._panel = panel
        self._link = _Link.CONNECTING

    def _follow_link(self, now_s: float) -> None:
        """Move the link on, or begin again when it failed."""
        channel = self._channel
        secure = bool(self._panel.sc_status() & 1)
        unanswered = now_s - channel.commanded_at_s > UNANSWERED_S
        if self._link is _Link.CONNECTING:
            if secure:
                self._link = _Link.DRAINING
                self._answers_drained = channel.answers
                self._key_refusals = 0
            elif unanswered:
                refused = channel.last_security_block == SECURITY_CHALLENGE and channel.frames_since_command > 0
                self._key_refusals = self._key_refusals + 1 if refused else 0
                self._new_session()
            return
        if not secure or unanswered:
            _log.info("the line was interrupted; a new session begins")
            self._new_session()
            return
        if self._link is _Link.ONLINE:
            self._last_answer_s = channel.advanced_at_s
        elif self._untrusted_events:
            self._answers_drained = channel.answers  # this answer held something: wait for the next one
        elif channel.answers > self._answers_drained + 1:
            self._go_online(now_s)

    def _go_online(self, now_s: float) -> None:
        """The peripheral has nothing left from before."""
        self._link = _Link.ONLINE
        self._last_answer_s = now_s
        event: BoardEvent = InputInterrupted()
        if self._loss is not None or not self._was_online:
            event = BoardRecovered()
            _log.info("the board answers under the secure channel")
        self._loss = None
        self._was_online = True
        self._commands.show_again()
        self._on_event(event)

    def _note_loss(self, now_s: float) -> None:
        """Report a loss once, and again when its reason changes."""
        if self._link is _Link.ONLINE or now_s - self._last_answer_s < LOST_AFTER_S:
            return
        if self._link is _Link.CLOSED:
            reason = LossReason.NO_DEVICE
        elif self._key_refusals >= _KEY_REFUSALS:
            reason = LossReason.KEY_REFUSED
        else:
            reason = LossReason.SILENT
        if reason is self._loss or (self._loss is LossReason.KEY_REFUSED and self._key_refusals > 0):
            return
        if self._loss is LossReason.NO_DEVICE and now_s - self._opened_at_s < LOST_AFTER_S:
            return  # just plugged in: it may be about to answer
        self._loss = reason
        self._contacts.forget()
        self._commands.abandon()
        _log.warning("the board is lost: %s", reason.value)
        self._on_event(BoardLost(reason))

    def _take_event(self, _index: int, untrusted_event: dict[str, object]) -> int:
        """Called by libosdp: keep a copy. An exception here would surface in unrelated code."""
        if untrusted_event.get("event") != Event.Notification:
            self._untrusted_events.append(dict(untrusted_event))
        # The binding never releases this dictionary: emptied, at least no code or card number stays in memory.
        untrusted_event.clear()
        return 0

    def _pass_on_reports(self) -> None:
        """Translate and deliver what came in; while draining, only the turnstile's contacts count."""
        untrusted_events, self._untrusted_events = self._untrusted_events, []
        for untrusted_event in untrusted_events:
            for report in reported(untrusted_event):
                if isinstance(report, Refusal):
                    _log.warning("refused from the board: %s", report.value)
                elif isinstance(report, StatusReport):
                    for event in self._contacts.update(report):
                        self._on_event(event)
                elif self._link is _Link.ONLINE:
                    self._on_event(report)
                else:
                    _log.info("discarded from the board: held since before an interruption")

    def _submit_next(self) -> None:
        """Hand libosdp one command."""
        command = self._commands.take()
        if command is None:
            return
        if isinstance(command, TurnstileCommand) and not command.unlocks:
            self._contacts.locking()
        message = command.message if isinstance(command, TurnstileCommand) else command
        if self._panel.submit_command(0, message):
            self._panel.refresh()  # sends now instead of in the next round
        else:
            self._commands.put_back()

    def _take_completion(self, _index: int, _message: dict[str, object], status: int) -> None:
        """Called by libosdp: what became of the command in flight."""
        command = self._commands.complete(status)
        if command is not None:
            if command.unlocks:
                self._contacts.unlocked()
            command.finished.set()
