"""The control panel's end of the line: its one owner, one loop over every peripheral on it, and a `Board` on top.

Keypad and reader may sit at one address, the turnstile at another, the tray dispenser at a third; most boards have
all at one. What is lost and found is told in the domain's words: without its turnstile the access point is lost;
without its keypad, cards beside the board and vouched passes go on; without trays, everything does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import osdp_sys
from osdp import LogLevel

from firmware_bridge.command_queue import TurnstileCommand
from firmware_bridge.contacts import Contacts, TrayContacts
from firmware_bridge.devices import (
    COMMAND_DEADLINE_S,
    BoardLost,
    BoardPart,
    BoardRecovered,
    CommandOutcome,
    InputInterrupted,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    OnBoardEvent,
    Role,
    Signal,
)
from firmware_bridge.errors import BoardMisused, LineUnavailable, SimulatedDeviceInProduction
from firmware_bridge.osdp_messages import (
    OsdpMessage,
    Refusal,
    Reported,
    StatusReport,
    give_tray_command,
    lock_command,
    unlock_command,
)
from firmware_bridge.peripheral_session import Link, PeripheralPlace, PeripheralSession
from firmware_bridge.serial_channel import SerialLine

_log = logging.getLogger("canteen.firmware_bridge.control_panel")

_SHORTEST_PAUSE_S = 0.001
REOPEN_S = 0.2
_LOOP_ANSWERS_WITHIN_S = 0.2
"""The loop keeps a command's deadline; the margin only covers a loop that has died."""
STOPPED_WITHIN_S = 3.0
"""One round takes milliseconds; only a driver that hangs takes longer, and it must not hold up the program's end."""


class ControlPanelBoard:
    """A `Board` over OSDP on a serial line, secure channel enforced."""

    def __init__(
        self,
        serial_path: Path,
        places: Sequence[PeripheralPlace],
        on_event: OnBoardEvent,
        *,
        production: bool,
        baud: int = 115_200,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Raises:
            BoardMisused: two peripherals at one address, or a role that nobody or more than one has.
        """
        self._serial_path = serial_path
        self._on_event = on_event
        self._production = production
        self._line = SerialLine(serial_path, baud)
        if len({place.address for place in places}) != len(places):
            raise BoardMisused("each address once")
        self._sessions = [PeripheralSession(place, self._line, self) for place in places]
        self._reader, self._gate = self._who_is(Role.READER), self._who_is(Role.GATE)
        trays = [session for session in self._sessions if Role.TRAYS in session.place.roles]
        self._trays = self._who_is(Role.TRAYS) if trays else None
        self._open_after_s = 0.0
        self._contacts = {session.place.address: Contacts() for session in self._sessions}
        self._tray_contacts = TrayContacts()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = -1, -1

    def __repr__(self) -> str:
        links = ", ".join(f"{session.place.address}: {session.link.name}" for session in self._sessions)
        return f"ControlPanelBoard({self._serial_path}, {links})"

    @property
    def online(self) -> bool:
        """Whether the turnstile answers now under the secure channel."""
        return self._gate.online

    @property
    def parts(self) -> tuple[BoardPart, ...]:
        """Every peripheral that is expected on the line."""
        return tuple(session.part for session in self._sessions)

    def start(self) -> None:
        """Start the loop.

        Raises:
            SimulatedDeviceInProduction: in production the line must be a serial device, not a pseudo-terminal.
            BoardMisused: already started.
        """
        if self._thread is not None:
            raise BoardMisused("the board was started before")
        refuse_pseudo_terminal(self._serial_path, production=self._production)
        osdp_sys.set_loglevel(LogLevel.Emergency)  # libosdp writes to stderr by itself; what matters is logged here
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for session in self._sessions:
            session.begin(time.monotonic())
        self._thread = threading.Thread(target=self._run, name="control-panel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the loop and close the line; commands still waiting end as BOARD_LOST."""
        self._stopping.set()
        self._wake()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(STOPPED_WITHIN_S)
        if thread.is_alive():
            _log.warning("the line's driver does not return; the program ends without it")
            return
        with self._wake_lock:
            if self._wake_write >= 0:
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1

    def unlock(self, timeout_s: float, within_s: float = COMMAND_DEADLINE_S) -> CommandOutcome:
        """Open for one passage; the board locks again by itself after `timeout_s`. Not sent later than `within_s`.

        Raises:
            BoardMisused: a timeout outside 0.1 to 25 s, or called from the event handler.
        """
        return self._command(unlock_command(timeout_s), min(within_s, COMMAND_DEADLINE_S), unlocks=True)

    def lock(self) -> CommandOutcome:
        """Lock the turnstile now.

        Raises:
            BoardMisused: called from the event handler.
        """
        return self._command(lock_command(), COMMAND_DEADLINE_S, unlocks=False)

    def give_tray(self) -> None:
        """Push out one tray now or not at all; nothing where there is no dispenser."""
        if self._trays is None or not self._trays.online:
            return
        until_s = time.monotonic() + COMMAND_DEADLINE_S
        self._trays.commands.put(TurnstileCommand(give_tray_command(), unlocks=False, deadline_s=until_s, once=True))
        self._wake()

    def show(self, signal: Signal, text: str) -> None:
        """Show `signal` and `text` (folded to ASCII, 32 characters) as soon as the board can."""
        self._reader.commands.show(signal, text)
        self._wake()

    def _who_is(self, role: Role) -> PeripheralSession:
        those = [session for session in self._sessions if role in session.place.roles]
        if len(those) != 1:
            raise BoardMisused(f"one peripheral is the {role.value}, not {len(those)}")
        return those[0]

    def _command(self, message: OsdpMessage, within_s: float, *, unlocks: bool) -> CommandOutcome:
        """Queue a turnstile command and wait for what becomes of it."""
        if threading.current_thread() is self._thread:
            raise BoardMisused("the event handler must not wait for the board")
        if self._thread is None or self._stopping.is_set() or self._gate.loss is not None:
            return CommandOutcome.BOARD_LOST
        command = TurnstileCommand(message, unlocks, time.monotonic() + within_s)
        self._gate.commands.put(command)
        self._wake()
        command.finished.wait(within_s + _LOOP_ANSWERS_WITHIN_S)
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
            self._stopping.set()
            for session in self._sessions:
                session.line_closed()
                session.commands.abandon()
            self._line.close()

    def _pause(self) -> None:
        """Sleep until a byte, a command or the next poll: a rest that wakes for nothing costs a Pi its idle time."""
        descriptors = [self._wake_read]
        if self._line.is_open:
            descriptors.append(self._line.fileno())
        pause_s = REOPEN_S / 4
        if self._line.is_open:
            due_s = min(session.due_at_s for session in self._sessions)
            pause_s = max(_SHORTEST_PAUSE_S, due_s - time.monotonic())
        ready, _, _ = select.select(descriptors, [], [], pause_s)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)

    def _tick(self, now_s: float) -> None:
        """One round over the line and everybody on it."""
        if not self._line.is_open:
            self._try_open(now_s)
        self._line.pump()
        for session in self._sessions:
            others = [other for other in self._sessions if other is not session]
            session.tick(now_s, alone=all(other.lets_others_pass for other in others))
        if not self._line.is_open and any(session.link is not Link.CLOSED for session in self._sessions):
            self._open_after_s = now_s
            for session in self._sessions:
                session.line_closed()

    def _try_open(self, now_s: float) -> None:
        if now_s < self._open_after_s:
            return
        try:
            self._line.open()
        except LineUnavailable:
            self._open_after_s = now_s + REOPEN_S
            return
        for session in self._sessions:
            session.line_opened(now_s)

    # What the sessions tell

    def answers(self, session: PeripheralSession, *, again: bool) -> None:
        """It answers: the access point, or one of its parts, is there."""
        if session is self._gate and not again:
            self._on_event(BoardRecovered())
        elif session is self._reader:
            self._on_event(InputInterrupted() if again else KeypadRecovered())

    def began(self, session: PeripheralSession) -> None:
        """Its contacts are reported anew."""
        self._contacts[session.place.address].session_began()

    def is_lost(self, session: PeripheralSession, reason: LossReason) -> None:
        """It does not: what it held is void."""
        self._contacts[session.place.address].forget()
        if session is self._trays:
            for event in self._tray_contacts.lost():
                self._on_event(event)
        if session is self._gate:
            self._on_event(BoardLost(reason))
        elif session is self._reader:
            self._on_event(KeypadLost(reason))

    def reports(self, session: PeripheralSession, report: Reported, *, stale: bool) -> None:
        """What a peripheral is not there for is not believed of it."""
        if isinstance(report, Refusal):
            _log.warning("refused from the board: %s", report.value)
        elif isinstance(report, StatusReport):
            self._take_contacts(session, report)
        elif session is not self._reader:
            _log.warning("refused from address %d: it is no reader", session.place.address)
        elif stale:
            _log.info("discarded from the board: held since before an interruption")
        else:
            self._on_event(report)

    def sends(self, session: PeripheralSession, command: TurnstileCommand) -> None:
        """What locks from here on is our doing."""
        if session is self._gate and not command.unlocks and not command.once:
            self._contacts[session.place.address].locking()

    def did(self, session: PeripheralSession, command: TurnstileCommand) -> None:
        """An unlock was confirmed, which clears the passage's latch."""
        if command.unlocks:
            self._contacts[session.place.address].unlocked()

    def _take_contacts(self, session: PeripheralSession, report: StatusReport) -> None:
        contacts = self._contacts[session.place.address]
        for event in contacts.update(report) if session is self._gate else contacts.tamper(report):
            self._on_event(event)
        if session is self._trays:
            for event in self._tray_contacts.update(report):
                self._on_event(event)


def refuse_pseudo_terminal(serial_path: Path, *, production: bool) -> None:
    """Raises SimulatedDeviceInProduction where production would speak to a twin."""
    if production and Path(os.path.realpath(serial_path)).is_relative_to("/dev/pts"):
        raise SimulatedDeviceInProduction(str(serial_path))
