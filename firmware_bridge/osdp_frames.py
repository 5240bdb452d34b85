"""Whole OSDP frames out of the pieces, noise and echoes of a serial line.

libosdp 3.2.9's binding does not understand a frame that arrives in more than one read, which is how a real line
delivers every frame; so both ends hand it whole frames only. Checking length and check code here also means that noise
before a reply costs nothing. Authenticity is not this module's matter: libosdp verifies the message code of the secure
channel.
"""

from __future__ import annotations

import binascii

FRAME_START = 0x53
_REPLY = 0x80
_CRC_PRESENT = 0x04
_CRC_SEED = 0x1D0F
_HEADER_BYTES = 5
_FRAME_BYTES_MIN = 7
FRAME_BYTES_MAX = 512
"""libosdp's packet buffer is no larger."""
_BUFFER_BYTES = 4096


class FrameAssembler:
    """Takes bytes as they come, gives frames; `replies` says which direction to listen to."""

    def __init__(self, *, replies: bool) -> None:
        self._direction = _REPLY if replies else 0
        self._received = bytearray()
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Add what came in; beyond 4 KiB without a frame, the oldest can only be noise."""
        self._received += chunk
        del self._received[:-_BUFFER_BYTES]

    def clear(self) -> None:
        """Drop everything."""
        self._received.clear()
        self._rest = b""

    def take(self, max_bytes: int) -> bytes:
        """The next valid frame, without what came before it; empty if there is none yet.

        A frame longer than `max_bytes` comes in parts, which libosdp accepts while each but the last fills its read.
        """
        frame = self._rest or self._next_frame()
        self._rest = frame[max_bytes:]
        return frame[:max_bytes]

    def _next_frame(self) -> bytes:
        start = self._received.find(FRAME_START)
        while start >= 0:
            length = self._valid_length(start)
            if length:
                frame = bytes(self._received[start : start + length])
                del self._received[: start + length]
                return frame
            # Not only the first start byte: an invented one must not hide a true frame behind it.
            start = self._received.find(FRAME_START, start + 1)
        return b""

    def _valid_length(self, start: int) -> int:
        """The length of the whole and valid frame at `start`, else 0."""
        header = self._received[start : start + _HEADER_BYTES]
        if len(header) < _HEADER_BYTES or header[1] & _REPLY != self._direction:
            return 0
        length = header[2] | header[3] << 8
        if not _FRAME_BYTES_MIN <= length <= FRAME_BYTES_MAX or len(self._received) < start + length:
            return 0
        frame = self._received[start : start + length]
        if header[4] & _CRC_PRESENT:
            valid = binascii.crc_hqx(frame[:-2], _CRC_SEED) == frame[-2] | frame[-1] << 8
        else:
            valid = sum(frame) & 0xFF == 0
        return length if valid else 0
