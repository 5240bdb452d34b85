"""One address on the line: libosdp's session with it, and what becomes of that session.

libosdp's own recovery is not used. After one lost reply it waits a second, repeats a frame whose message code the
peripheral can no longer accept, and then stays offline for 300 s. Here, a command unanswered for `UNANSWERED_S` or a
broken secure channel ends the session and a new one begins at once: 25 ms of handshake. What the peripheral still holds
from before is discarded until its first empty answer, so that nothing typed or presented before a cut ever joins what
comes after.
"""

from __future__ import annotations

import ctypes
import enum
import logging
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

import osdp_sys
from osdp import Event, LibFlag, PDInfo

from firmware_bridge.channel_key import check_channel_key
from firmware_bridge.command_queue import CommandQueue, TurnstileCommand
from firmware_bridge.devices import BoardPart, Identification, LinkQuality, LossReason, Role
from firmware_bridge.errors import BoardMisused
from firmware_bridge.osdp_messages import Reported, StatusReport, reported
from firmware_bridge.serial_channel import ANSWER_WITHIN_S, PROBE_ANSWER_WITHIN_S, SECURITY_CHALLENGE, SerialLine

_log = logging.getLogger("canteen.firmware_bridge.peripheral_session")

UNANSWERED_S = 0.25
"""OSDP allows a peripheral 200 ms for a reply, libosdp polls soon after one: a longer pause is a failure."""
LOST_AFTER_S = 0.7
"""From the last answer to a loss: three sessions can fail first, and it stays well below a second."""
PROBE_EVERY_S = 0.4
"""How often one that is lost is asked, where others share its line: found again within a second, at a fifth of the
line's time."""
PERIOD_S = 0.005
"""How often a session is looked at that is being built, or whose answer is awaited; bytes wake the loop at once."""
POLL_PAUSE_S = 0.0215
"""libosdp polls this long after an answer: `OSDP_PD_POLL_TIMEOUT_MS`, which setup.sh compiles it with, and its clock's
millisecond. A build with another pause works as well: the loop is then woken a little early, or late."""
_STEPS = 3
"""Of libosdp's between an answer and the next command: it takes the answer in, takes the command up, sends it."""
_KEY_REFUSALS = 2
"""Noise can spoil one handshake; two in a row with an answer each time mean another key."""
_CAPABILITIES = range(1, 17)
"""Function codes of OSDP 2.2."""


@dataclass(frozen=True, slots=True)
class PeripheralPlace:
    """Where a peripheral is, what it is for, and the key it holds."""

    address: int
    key: bytes = field(repr=False)
    roles: tuple[Role, ...] = (Role.READER, Role.GATE)

    def __post_init__(self) -> None:
        """Raises ChannelKeyRefused, and BoardMisused for an address outside 0 to 126."""
        check_channel_key(self.key)
        if not 0 <= self.address <= 126:
            raise BoardMisused(f"OSDP addresses are 0 to 126, not {self.address}")


class SessionOwner(Protocol):
    """Who hears what becomes of a session; called on the line's own thread."""

    def answers(self, session: PeripheralSession, *, again: bool) -> None:
        """It answers under the secure channel, for the first time or after a loss (`again`: after a short cut)."""

    def began(self, session: PeripheralSession) -> None:
        """A new secure channel is up; it is not yet known to be empty of what was before."""

    def is_lost(self, session: PeripheralSession, reason: LossReason) -> None:
        """It has not answered for too long, or for another reason than before."""

    def reports(self, session: PeripheralSession, report: Reported, *, stale: bool) -> None:
        """What it says; `stale` where it was held since before an interruption."""

    def sends(self, session: PeripheralSession, command: TurnstileCommand) -> None:
        """A command is about to go to it."""

    def did(self, session: PeripheralSession, command: TurnstileCommand) -> None:
        """It confirmed a command."""


class Link(enum.Enum):
    """How far a session is."""

    CLOSED = enum.auto()
    CONNECTING = enum.auto()
    DRAINING = enum.auto()
    ONLINE = enum.auto()


def new_panel(information: PDInfo) -> Any:
    """A libosdp context for one peripheral.

    Its build draws the challenges of the secure channel from the C library's `rand`, which nobody seeds: after every
    start the same numbers, hence the same session keys, and a recorded session could be played back. Seeded here.
    """
    ctypes.CDLL(None).srand(secrets.randbits(32))
    return osdp_sys.ControlPanel([information.get()])


class PeripheralSession:
    """One peripheral. Driven by its owner's loop; nothing here waits."""

    def __init__(self, place: PeripheralPlace, line: SerialLine, owner: SessionOwner) -> None:
        self.place, self._line, self._owner = place, line, owner
        self._channel = line.channel(place.address)
        self._panel: Any = None
        self.link = Link.CLOSED
        self.loss: LossReason | None = None
        self.commands = CommandQueue()
        self._was_online = False
        self._last_answer_s = 0.0
        self._opened_at_s = 0.0
        self._quiet_until_s = 0.0
        self._ticked_at_s = 0.0
        self._key_refusals = 0
        self._answers_drained = 0
        self._answers_before = 0
        self._sessions = 0
        self._identification: Identification | None = None
        self._untrusted_events: list[dict[str, object]] = []

    @property
    def online(self) -> bool:
        """Whether it answers now under the secure channel."""
        return self.link is Link.ONLINE

    @property
    def part(self) -> BoardPart:
        """How it is, for the doctor; read from other threads."""
        delay_ms = self._channel.answer_ms
        quality = LinkQuality(
            self._answers_before + self._channel.answers,
            self._sessions,
            None if delay_ms is None else round(delay_ms, 1),
        )
        return BoardPart(self.place.address, self.place.roles, self.online, self.loss, self._identification, quality)

    @property
    def lets_others_pass(self) -> bool:
        """Whether its silence is known, so that it must not hold up those that answer."""
        return self.loss is not None and not self.online

    @property
    def due_at_s(self) -> float:
        """When libosdp wants to be called again, if no byte and no command comes first (monotonic)."""
        if not self.online or self._channel.owes_answer(self._ticked_at_s):
            return self._ticked_at_s + PERIOD_S
        return self._channel.answered_at_s + POLL_PAUSE_S

    def begin(self, now_s: float) -> None:
        """Silence counts from now."""
        self._last_answer_s = now_s

    def line_opened(self, now_s: float) -> None:
        """The device is there."""
        self._opened_at_s = now_s
        self._new_session(now_s)

    def line_closed(self) -> None:
        """The device is gone."""
        self._panel = None
        self.link = Link.CLOSED
        self._key_refusals = 0
        self.commands.put_back()

    def tick(self, now_s: float, *, alone: bool) -> None:
        """One round: libosdp, the state of the link, what was reported, a loss, the next command.

        Args:
            now_s: monotonic.
            alone: whether no other peripheral on the line is known to answer.
        """
        if self._panel is not None:
            self._refresh(now_s, alone=alone)
        self._pass_on_reports()
        self._note_loss(now_s)
        self.commands.expire(now_s)
        # libosdp would keep a command that comes while an answer is awaited until the next poll is due.
        free = self._line.free_for(self.place.address, now_s) and not self._channel.owes_answer(now_s)
        if self.link is Link.ONLINE and free:
            self._submit_next(now_s)

    def _refresh(self, now_s: float, *, alone: bool) -> None:
        since_s, self._ticked_at_s = self._ticked_at_s, now_s
        if now_s < self._quiet_until_s or not self._line.free_for(self.place.address, now_s):
            self._channel.excused_s += now_s - since_s  # waiting for one's turn is no silence of the peripheral
            return
        self._channel.patience_s = ANSWER_WITHIN_S if alone or self.loss is None else PROBE_ANSWER_WITHIN_S
        self._advance(now_s)
        if self._line.is_open:
            self._follow_link(now_s, alone=alone)

    def _advance(self, now_s: float) -> None:
        """Let libosdp go on until it waits: it takes one step a call, and waits for the next call in between."""
        for _step in range(_STEPS):
            self._panel.refresh()
            if self._channel.owes_answer(now_s):
                return

    def _new_session(self, now_s: float, *, pause_s: float = 0.0) -> None:
        """Replace libosdp's context: the only way to make it try again at once from every one of its states."""
        self.commands.put_back()
        self._untrusted_events.clear()
        self._answers_before += self._channel.answers
        self._channel.restart_bookkeeping()
        place = self.place
        panel = new_panel(PDInfo(place.address, self._channel, scbk=place.key, flags=[LibFlag.EnforceSecure]))
        panel.set_event_callback(self._take_event)
        panel.set_command_completion_callback(self._take_completion)
        self._panel = panel
        self._quiet_until_s = now_s + pause_s
        self._ticked_at_s = now_s
        self.link = Link.CONNECTING

    def _follow_link(self, now_s: float, *, alone: bool) -> None:
        """Move the link on, or begin again when it failed."""
        channel = self._channel
        secure = bool(self._panel.sc_status() & 1)
        unanswered = now_s - channel.commanded_at_s - channel.excused_s > UNANSWERED_S
        if self.link is Link.CONNECTING:
            if secure:
                self.link = Link.DRAINING
                self._answers_drained = channel.answers
                self._key_refusals = 0
                self._sessions += 1
                self._owner.began(self)
            elif unanswered:
                refused = channel.last_security_block == SECURITY_CHALLENGE and channel.frames_since_command > 0
                self._key_refusals = self._key_refusals + 1 if refused else 0
                probing = self.loss is not None and not alone
                self._new_session(now_s, pause_s=PROBE_EVERY_S - UNANSWERED_S if probing else 0.0)
            return
        if not secure or unanswered:
            _log.info("address %d: the line was interrupted; a new session begins", self.place.address)
            self._new_session(now_s)
            return
        if self.link is Link.ONLINE:
            self._last_answer_s = channel.advanced_at_s
        elif self._untrusted_events:
            self._answers_drained = channel.answers  # this answer held something: wait for the next one
        elif channel.answers > self._answers_drained + 1:
            self._go_online(now_s)

    def _go_online(self, now_s: float) -> None:
        """The peripheral has nothing left from before."""
        self.link = Link.ONLINE
        self._last_answer_s = now_s
        again = self.loss is None and self._was_online
        if not again:
            self._identification = _identification(self._panel)
            _log.info("address %d answers under the secure channel", self.place.address)
        self.loss = None
        self._was_online = True
        self.commands.show_again()
        self._owner.answers(self, again=again)

    def _note_loss(self, now_s: float) -> None:
        """Report a loss once, and again when its reason changes."""
        if self.link is Link.ONLINE or now_s - self._last_answer_s < LOST_AFTER_S:
            return
        if self.link is Link.CLOSED:
            reason = LossReason.NO_DEVICE
        elif self._key_refusals >= _KEY_REFUSALS:
            reason = LossReason.KEY_REFUSED
        else:
            reason = LossReason.SILENT
        if reason is self.loss or (self.loss is LossReason.KEY_REFUSED and self._key_refusals > 0):
            return
        if self.loss is LossReason.NO_DEVICE and now_s - self._opened_at_s < LOST_AFTER_S:
            return  # just plugged in: it may be about to answer
        self.loss = reason
        self.commands.abandon()
        _log.warning("address %d is lost: %s", self.place.address, reason.value)
        self._owner.is_lost(self, reason)

    def _take_event(self, _index: int, untrusted_event: dict[str, object]) -> int:
        """Called by libosdp: keep a copy. An exception here would surface in unrelated code."""
        if untrusted_event.get("event") != Event.Notification:
            self._untrusted_events.append(dict(untrusted_event))
        # The binding never releases this dictionary: emptied, at least no code or card number stays in memory.
        untrusted_event.clear()
        return 0

    def _pass_on_reports(self) -> None:
        """Translate and deliver what came in; while draining, only contacts count, and before that nothing does."""
        untrusted_events, self._untrusted_events = self._untrusted_events, []
        if self.link not in (Link.DRAINING, Link.ONLINE):
            return
        for untrusted_event in untrusted_events:
            for report in reported(untrusted_event):
                stale = self.link is not Link.ONLINE and not isinstance(report, StatusReport)
                self._owner.reports(self, report, stale=stale)

    def _submit_next(self, now_s: float) -> None:
        """Hand libosdp one command, and have it sent now."""
        command = self.commands.take()
        if command is None:
            return
        if isinstance(command, TurnstileCommand):
            self._owner.sends(self, command)
        message = command.message if isinstance(command, TurnstileCommand) else command
        if self._panel.submit_command(0, message):
            self._advance(now_s)
        else:
            self.commands.put_back()

    def _take_completion(self, _index: int, _message: dict[str, object], status: int) -> None:
        """Called by libosdp: what became of the command in flight."""
        # What fails a check ends the secure channel, and what comes without one is anybody's.
        proven = self._channel.answer_has_mac and bool(self._panel.sc_status() & 1)
        command = self.commands.complete(status, proven=proven)
        if command is not None:
            self._owner.did(self, command)
            command.finished.set()


def _identification(panel: Any) -> Identification | None:
    """What it said of itself while the session was built."""
    try:
        said = panel.get_pd_id(0)
        has = [(code, *panel.check_capability(0, code)) for code in _CAPABILITIES]
    except ValueError:
        return None
    firmware = int(said["firmware_version"])
    return Identification(
        vendor=f"{int(said['vendor_code']) & 0xFFFFFF:06x}",
        model=int(said["model"]),
        version=int(said["version"]),
        serial=f"{int(said['serial_number']) & 0xFFFFFFFF:08x}",
        firmware=".".join(str(firmware >> shift & 0xFF) for shift in (16, 8, 0)),
        capabilities=tuple(one for one in has if one[1] or one[2]),
    )
