"""A serial line as libosdp wants it: bytes in, bytes out, never an exception.

What goes wrong on the line closes it; the owner (`control_panel`) sees `is_open` false and opens it again. The channel
also reads the header of the frames it sends, because libosdp does not say whether a poll was answered: the two-bit
sequence number of a command moves on only after a valid reply to the command before it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import serial

from firmware_bridge.errors import LineUnavailable
from firmware_bridge.osdp_frames import FRAME_START, FrameAssembler

_log = logging.getLogger("canteen.firmware_bridge.serial_channel")

_READ_BYTES = 4096
_SECURITY_BLOCK_PRESENT = 0x08
SECURITY_CHALLENGE = 0x11
"""Security block type of the challenge, the first step of the secure channel (SCS_11)."""


class SerialChannel:
    """One serial device, opened and reopened by its owner; `id`, `read`, `write`, `flush` are libosdp's channel."""

    id = 1

    def __init__(self, path: Path, baud: int) -> None:
        self._path = path
        self._baud = baud
        self._port: serial.Serial | None = None
        self._frames = FrameAssembler(replies=True)
        self.restart_bookkeeping()

    def restart_bookkeeping(self) -> None:
        """Forget the frames seen so far: a new session starts."""
        self._frames.clear()
        self._sequence: int | None = None
        self.advanced_at_s = time.monotonic()
        """When a command last had a new sequence number (monotonic)."""
        self.commanded_at_s = self.advanced_at_s
        """When the last command was sent (monotonic)."""
        self.answers = 0
        """Commands known to be answered in this session."""
        self.last_security_block = 0
        self.frames_since_command = 0
        """Valid replies to the last command, whether libosdp accepts them or not."""

    @property
    def is_open(self) -> bool:
        """Whether the device is there, as far as the last read or write could tell."""
        return self._port is not None

    def fileno(self) -> int:
        """The descriptor to wait on; only while open."""
        if self._port is None:
            raise LineUnavailable(str(self._path))
        return int(self._port.fileno())

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
        self.restart_bookkeeping()

    def close(self) -> None:
        """Close the device if it is open."""
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError:
                _log.debug("the serial device was gone before it was closed")

    def pump(self) -> None:
        """Take in what the device has received; a device that fails is closed."""
        if self._port is None:
            return
        try:
            chunk = self._port.read(_READ_BYTES)
        except OSError:
            self._fail()
            return
        self._frames.feed(chunk)

    def read(self, max_bytes: int) -> bytes:
        """The next whole reply that came in."""
        self.pump()
        frame = self._frames.take(max_bytes)
        self.frames_since_command += bool(frame)
        return frame

    def write(self, buf: bytes) -> int:
        """Send a frame. Always claims success: a lost frame shows as a missing reply, which has its own handling."""
        # The line is half duplex: whatever came in before a command cannot be its reply (late, doubled or noise).
        self.flush()
        self._note_command(buf)
        if self._port is not None:
            try:
                self._port.write(buf)
            except OSError:
                self._fail()
        return len(buf)

    def flush(self) -> None:
        """Drop what came in so far."""
        self.pump()
        self._frames.clear()

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
        self.commanded_at_s = now_s

    def _fail(self) -> None:
        """The device is gone."""
        _log.warning("the serial device failed; it is closed until it comes back")
        self.close()
