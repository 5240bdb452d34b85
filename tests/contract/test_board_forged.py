"""Somebody on the serial line who has no key: what is said there in a board's name, into an open session."""

from __future__ import annotations

import binascii
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firmware_bridge.channel_key import read_channel_key
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.devices import BoardRecovered, CommandOutcome, DigitPressed, InputInterrupted
from firmware_bridge.peripheral_session import PeripheralPlace
from firmware_bridge.serial_channel import AddressChannel
from tests.contract.test_board_contract import Inbox, Peripheral, wait_for

ADDRESS = 101
POLL, OUTPUT = 0x60, 0x68
ACK = b"\x40"
NAK = b"\x41\x06"
DIGIT = b"\x53\x00\x01" + b"4"
CARD = b"\x50\x00\x00\x38\x00" + bytes(range(1, 8))
UNLOCK = bytes([OUTPUT, 0, 5, 50, 0])
INPUTS = b"\x49" + bytes([1] * 8)

Forgery = Callable[[bytes], bytes]


def said(body: bytes, block: bytes = b"", to: int = 0x80) -> Forgery:
    """A whole frame with `body`, in the place of the true one: same number, good checksum, no key needed."""

    def forge(frame: bytes) -> bytes:
        control = frame[4] & 0x03 | 0x04 | (0x08 if block else 0)
        length = 5 + len(block) + len(body) + 2
        head = bytes([0x53, to | ADDRESS, length & 0xFF, length >> 8, control]) + block + body
        return head + binascii.crc_hqx(head, 0x1D0F).to_bytes(2, "little")

    return forge


def spoiled(frame: bytes) -> bytes:
    """The board's own answer with another code under the channel, and a good checksum."""
    head = frame[:-6] + bytes([frame[-6] ^ 0xFF]) + frame[-5:-2]
    return head + binascii.crc_hqx(head, 0x1D0F).to_bytes(2, "little")


@dataclass
class Line:
    """A panel and a board; the next answer to a `forged_to` is `forgery`'s, the next poll `forged_command`'s."""

    board: ControlPanelBoard
    inbox: Inbox
    peripheral: Peripheral
    forged_command: Forgery | None = None
    sent: list[int] = field(default_factory=list)
    forged_to: int = 0
    forgery: Forgery | None = None


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    write, deliver = AddressChannel.write, AddressChannel.deliver
    with tempfile.TemporaryDirectory(prefix="fg-") as folder:
        peripheral, inbox = Peripheral(Path(folder)), Inbox()
        wait_for(peripheral.line.exists, 10)
        places = [PeripheralPlace(ADDRESS, read_channel_key(peripheral.key_file))]
        line = Line(ControlPanelBoard(peripheral.line, places, inbox.take, production=False), inbox, peripheral)

        def noted(channel: AddressChannel, frame: bytes) -> int:
            at = frame.index(0x53)
            line.sent.append(frame[at + 5 + (frame[at + 5] if frame[at + 4] & 0x08 else 0)])
            if line.forged_command is not None and line.sent[-1:] == [POLL]:
                forged, line.forged_command = line.forged_command(frame[at:]), None
                write(channel, forged)
                return len(frame)
            return write(channel, frame)

        def replaced(channel: AddressChannel, frame: bytes) -> None:
            if line.forgery is not None and line.sent[-1:] == [line.forged_to]:
                frame, line.forgery = line.forgery(frame), None
            deliver(channel, frame)

        monkeypatch.setattr(AddressChannel, "write", noted)
        monkeypatch.setattr(AddressChannel, "deliver", replaced)
        line.board.start()
        inbox.until(BoardRecovered(), 10)
        assert line.board.lock() is CommandOutcome.DONE
        inbox.rest(0.2)
        line.sent.clear()
        yield line
        line.board.stop()
        peripheral.kill()


@pytest.mark.parametrize("block", [b"", b"\x03\x12\x01", b"\x03\x14\x01", b"\x02\x15", b"\x02\x16"], ids=bytes.hex)
@pytest.mark.parametrize("body", [DIGIT, CARD, INPUTS], ids=["digit", "card", "contacts"])
def test_nobody_types_without_the_key(line: Line, body: bytes, block: bytes) -> None:
    """Neither in the clear, nor as a step of a handshake, nor with a code that is none; and the board serves on."""
    line.forged_to, line.forgery = POLL, said(body, block)
    wait_for(lambda: line.forgery is None)
    assert {type(event) for event in line.inbox.rest(0.5)} <= {InputInterrupted}
    assert line.peripheral.client.press("7")
    assert line.inbox.next() == DigitPressed("7")


@pytest.mark.parametrize("forgery", [said(NAK), said(NAK, b"\x03\x14\x01"), said(ACK, b"\x03\x14\x01"), spoiled])
def test_an_unlock_is_sent_once_whatever_is_answered(line: Line, forgery: Forgery) -> None:
    """The board has opened: nobody's word makes it open again, nor makes the pass one that was refused."""
    line.forged_to, line.forgery = OUTPUT, forgery
    assert line.board.unlock(5.0) is CommandOutcome.BOARD_LOST
    time.sleep(1.0)
    assert 1 == line.sent.count(OUTPUT)


@pytest.mark.parametrize("block", [b"", b"\x03\x11\x00", b"\x03\x13\x00", b"\x02\x15", b"\x02\x17"], ids=bytes.hex)
def test_no_board_opens_without_the_key(line: Line, block: bytes) -> None:
    """The board's own duty (docs/board.md), which the twin keeps: libosdp's peripheral alone would open at SCS_11."""
    line.forged_command = said(UNLOCK, block, to=0)
    wait_for(lambda: line.forged_command is None)
    time.sleep(0.5)
    assert not line.peripheral.client.push()
    assert line.board.unlock(5.0) is CommandOutcome.DONE
    assert line.peripheral.client.push()
