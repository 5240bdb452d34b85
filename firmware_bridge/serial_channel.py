"""A serial line shared by the peripherals on it, and each one's share as libosdp wants it: bytes in, bytes out, never
an exception.

What goes wrong on the line closes it; the owner (`control_panel`) sees `is_open` false and opens it again. The line is
half duplex: while one address owes an answer, nobody else may speak. libosdp would arbitrate that by itself only within
one context, and one context cannot begin anew for one silent peripheral without breaking the others' sessions.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from pathlib import Path

import serial

from firmware_bridge.errors import LineUnavailable
from firmware_bridge.osdp_frames import FRAME_BYTES_MAX, FRAME_START, FrameAssembler

_log = logging.getLogger("canteen.firmware_bridge.serial_channel")

_READ_BYTES = 4096
_SECURITY_BLOCK_PRESENT = 0x08
_ADDRESS = 0x7F
_FRAMES_KEPT = 8
_DELAYS_KEPT = 64
SECURITY_CHALLENGE = 0x11
"""Security block type of the challenge, the first step of the secure channel (SCS_11)."""
_WITH_MAC = (0x16, 0x18)
"""Those of an answer in an open secure channel (SCS_16, SCS_18)."""
_ANSWERED_BY = {0: (0,), 0x11: (0x12,), 0x13: (0x14,), 0x15: _WITH_MAC, 0x17: _WITH_MAC}
"""From the security block of a command to those that its answer may have; 0: none."""
_IN_THE_CLEAR = (0x41, 0x79)
"""Codes that may come without one at any time: NAK, of a board that knows no session, and BUSY. They bring nothing."""
ANSWER_WITHIN_S = 0.2
"""OSDP gives a peripheral this long to begin its answer; until then the line is its own."""
PROBE_ANSWER_WITHIN_S = 0.1
"""One that has been silent for long is given less, so that it does not take the line from those that answer."""


class SerialLine:
    """One serial device, opened and reopened by its owner."""

    def __init__(self, path: Path, baud: int) -> None:
        self._path, self._baud = path, baud
        self._port: serial.Serial | None = None
        self._frames = FrameAssembler(replies=True)
        self._channels: dict[int, AddressChannel] = {}
        self.strangers = 0
        """Valid answers from addresses that nobody asked."""

    def channel(self, address: int) -> AddressChannel:
        """The share of one address."""
        return self._channels.setdefault(address, AddressChannel(self, address))

    @property
    def is_open(self) -> bool:
        """Whether the device is there, as far as the last read or write could tell."""
        return self._port is not None

    def fileno(self) -> int:
        """The descriptor to wait on; only while open."""
        if self._port is None:
            raise LineUnavailable(str(self._path))
        return int(self._port.fileno())

    def free_for(self, address: int, now_s: float) -> bool:
        """Whether nobody else owes an answer."""
        return not any(other.owes_answer(now_s) for at, other in self._channels.items() if at != address)

    def open(self) -> None:
        """Open the device for ourselves alone.

        Raises:
            LineUnavailable: it is absent, or another process holds it.
        """
        try:
            # Two panels on one line would each see half of the replies: hence exclusive.
            self._port = serial.Serial(str(self._path), self._baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError) as error:
            raise LineUnavailable(str(self._path)) from error
        self._frames.clear()
        for channel in self._channels.values():
            channel.restart_bookkeeping()

    def close(self) -> None:
        """Close the device if it is open."""
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError:
                _log.debug("the serial device was gone before it was closed")

    def pump(self) -> None:
        """Take in what the device has received, and hand each answer to its address; a device that fails is closed."""
        if self._port is None:
            return
        try:
            chunk = self._port.read(_READ_BYTES)
        except OSError:
            self._fail()
            return
        self._frames.feed(chunk)
        while frame := self._frames.take(FRAME_BYTES_MAX):
            channel = self._channels.get(frame[1] & _ADDRESS)
            if channel is None:
                self.strangers += 1
            else:
                channel.deliver(frame)

    def clear(self) -> None:
        """Take in what the device has received, and drop what makes no whole frame yet."""
        self.pump()
        self._frames.clear()

    def send(self, frame: bytes) -> None:
        """Put a frame on the line; one that is lost shows as a missing answer, which has its own handling."""
        if self._port is not None:
            try:
                self._port.write(frame)
            except OSError:
                self._fail()

    def _fail(self) -> None:
        """The device is gone."""
        _log.warning("the serial device failed; it is closed until it comes back")
        self.close()


class AddressChannel:
    """What one peripheral's session sees of the line; `id`, `read`, `write`, `flush` are libosdp's channel.

    It also reads the header of the frames it sends, because libosdp does not say whether a poll was answered: the
    two-bit sequence number of a command moves on only after a valid reply to the command before it.
    """

    id = 1

    def __init__(self, line: SerialLine, address: int) -> None:
        self._line, self._address = line, address
        self._answers: deque[bytes] = deque(maxlen=_FRAMES_KEPT)
        self._rest = b""
        self._delays_s: deque[float] = deque(maxlen=_DELAYS_KEPT)
        self.patience_s = ANSWER_WITHIN_S
        self.restart_bookkeeping()

    def restart_bookkeeping(self) -> None:
        """Forget the frames seen so far: a new session starts."""
        self._drop()
        self._sequence: int | None = None
        self._owes_answer = False
        self.advanced_at_s = time.monotonic()
        """When a command last had a new sequence number (monotonic)."""
        self.commanded_at_s = self.advanced_at_s
        """When the last command was sent (monotonic)."""
        self.answered_at_s = self.advanced_at_s
        """When the last answer came in (monotonic)."""
        self.excused_s = 0.0
        """How long since the last command it was not this peripheral's turn."""
        self.answers = 0
        """Commands known to be answered in this session."""
        self.last_security_block = 0
        self.answer_has_mac = False
        """Whether the last command was answered, in a frame with a code that libosdp verifies."""
        self.frames_since_command = 0
        """Valid replies to the last command, whether libosdp accepts them or not."""

    @property
    def answer_ms(self) -> float | None:
        """Mean time to an answer over the last few dozen."""
        return 1000.0 * sum(self._delays_s) / len(self._delays_s) if self._delays_s else None

    def owes_answer(self, now_s: float) -> bool:
        """Whether this address was asked something, and may still begin to answer."""
        return self._owes_answer and now_s - self.commanded_at_s < self.patience_s

    def deliver(self, frame: bytes) -> None:
        """An answer from this address has come in.

        libosdp verifies an answer that says it is under the secure channel, and takes one that says it belongs to a
        handshake on trust, also in the middle of a session: anybody on the line could type and present cards.
        """
        block = _security_block(frame)
        if block not in _ANSWERED_BY.get(self.last_security_block, ()) and (block or frame[5] not in _IN_THE_CLEAR):
            _log.warning("refused from the line: an answer outside the secure channel")
            return
        self.answered_at_s = time.monotonic()
        if self._owes_answer:
            self._owes_answer = False
            self._delays_s.append(self.answered_at_s - self.commanded_at_s)
        self._answers.append(frame)

    def read(self, max_bytes: int) -> bytes:
        """The next whole answer; one longer than `max_bytes` in parts, which libosdp accepts while each fills its
        read.
        """
        if not self._rest:
            if not self._answers:  # the line's owner has taken in what there is
                return b""
            self._rest = self._answers.popleft()
            self.answer_has_mac = _security_block(self._rest) in _WITH_MAC
            self.frames_since_command += 1
        part, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return part

    def write(self, buf: bytes) -> int:
        """Send a frame; always claims success."""
        # Whatever came in before a command cannot be its answer (late, doubled or noise).
        self._line.clear()
        self._drop()
        self._note_command(buf)
        self._line.send(buf)
        return len(buf)

    def flush(self) -> None:
        """Drop what came in so far."""
        self._line.clear()
        self._drop()

    def _drop(self) -> None:
        self._answers.clear()
        self._rest = b""

    def _note_command(self, frame: bytes) -> None:
        """Learn from a frame's header whether libosdp accepted the reply to the one before."""
        header = frame.find(FRAME_START, 0, 2)
        if header < 0 or len(frame) < header + 7:
            return
        control = frame[header + 4]
        sequence = control & 0x03
        now_s = time.monotonic()
        if sequence != self._sequence:
            if self._sequence is not None:
                self.answers += 1
            self._sequence = sequence
            self.advanced_at_s = now_s
        self.last_security_block = frame[header + 6] if control & _SECURITY_BLOCK_PRESENT else 0
        self.frames_since_command = 0
        self.answer_has_mac = False
        self.commanded_at_s, self.excused_s = now_s, 0.0
        self._owes_answer = True


def _security_block(frame: bytes) -> int:
    """The type of a whole frame's security block; 0: it has none."""
    return frame[6] if frame[4] & _SECURITY_BLOCK_PRESENT else 0
