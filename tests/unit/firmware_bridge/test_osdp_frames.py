"""Whole frames out of pieces, noise and echoes."""

from __future__ import annotations

import binascii

from hypothesis import assume, given
from hypothesis import strategies as st

from firmware_bridge.osdp_frames import FrameAssembler

_CONTROL, _CRC_PRESENT = 4, 0x04
"""The byte of the header whose bit says that a CRC follows, and the bit."""


def _frame(body: bytes, *, reply: bool = True, crc: bool = True) -> bytes:
    """A frame of our own making, as the standard lays it out."""
    length = 5 + len(body) + (2 if crc else 1)
    head = bytes([0x53, 0x65 | 0x80 * reply, length & 0xFF, length >> 8, 0x01 | 0x04 * crc]) + body
    return head + (binascii.crc_hqx(head, 0x1D0F).to_bytes(2, "little") if crc else bytes([-sum(head) & 0xFF]))


_bodies = st.binary(min_size=1, max_size=100)
_noise = st.binary(max_size=30).map(lambda noise: noise.replace(b"\x53", b""))


def _drain(assembler: FrameAssembler) -> list[bytes]:
    frames = []
    while frame := assembler.take(512):
        frames.append(frame)
    return frames


def test_a_frame_as_the_library_sends_it() -> None:
    """A recorded identification command of libosdp: the check code is the standard's."""
    assembler = FrameAssembler(replies=False)
    assembler.feed(bytes.fromhex("ff53650900046100d97a"))
    assert assembler.take(64) == bytes.fromhex("53650900046100d97a")


@given(st.lists(st.tuples(_noise, _bodies, st.booleans()), max_size=6), st.integers(1, 40))
def test_frames_survive_noise_between_them_and_any_cutting(
    pieces: list[tuple[bytes, bytes, bool]], piece_bytes: int
) -> None:
    """What was sent comes out whole and in order, however it was cut."""
    frames = [_frame(body, crc=crc) for _, body, crc in pieces if crc or len(body) > 1]
    line = b"".join(noise + _frame(body, crc=crc) for noise, body, crc in pieces if crc or len(body) > 1)
    assembler = FrameAssembler(replies=True)
    taken = []
    for start in range(0, len(line), piece_bytes):
        assembler.feed(line[start : start + piece_bytes])
        taken += _drain(assembler)
    assert taken == frames


@given(st.binary(max_size=300), _bodies)
def test_any_noise_is_harmless(noise: bytes, body: bytes) -> None:
    """No exception, and a true frame behind invented start bytes is still found."""
    assembler = FrameAssembler(replies=True)
    assembler.feed(noise)
    _drain(assembler)
    assembler.clear()
    assembler.feed(b"\x53\xe5\xff\x01\x04" + _frame(body))
    assert _drain(assembler) == [_frame(body)]


@given(_bodies, st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_byte_is_no_frame(body: bytes, position: int, change: int) -> None:
    """One wrong byte anywhere is caught by the check code.

    But for the bit that says which: without it the frame is judged by its eight-bit sum, which one in 256 passes.
    """
    frame = bytearray(_frame(body))
    assume(position % len(frame) != _CONTROL or not change & _CRC_PRESENT)
    frame[position % len(frame)] ^= change
    assembler = FrameAssembler(replies=True)
    assembler.feed(bytes(frame))
    assert bytes(frame) not in _drain(assembler)


def test_our_own_echo_is_not_a_reply() -> None:
    """Some RS-485 adapters hear themselves."""
    assembler = FrameAssembler(replies=True)
    assembler.feed(_frame(b"\x60", reply=False) + _frame(b"\x40"))
    assert _drain(assembler) == [_frame(b"\x40")]


def test_a_long_frame_comes_in_full_parts() -> None:
    """Libosdp reads 64 bytes at a time, and goes on while it gets as many."""
    frame = _frame(bytes(100))
    assembler = FrameAssembler(replies=True)
    assembler.feed(frame)
    assert [assembler.take(64), assembler.take(64), assembler.take(64)] == [frame[:64], frame[64:], b""]


def test_the_buffer_is_bounded() -> None:
    """A babbling line costs 4 KiB, no more."""
    assembler = FrameAssembler(replies=True)
    for _ in range(100):
        assembler.feed(b"\x00" * 1000)
    assert len(assembler._received) == 4096
