"""Several peripherals on one line: reader and keypad at one address, turnstile at another, trays at a third."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.processes import leashed
from firmware_bridge.channel_key import create_channel_key, read_channel_key
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.devices import (
    BoardLost,
    BoardRecovered,
    CommandOutcome,
    DigitPressed,
    EmergencyEnded,
    EmergencyReleased,
    KeypadLost,
    KeypadRecovered,
    LossReason,
    PassageCompleted,
    Role,
    RotationRefused,
    Signal,
    TraysChanged,
    TrayState,
)
from firmware_bridge.errors import BoardMisused
from firmware_bridge.peripheral_client import PeripheralClient
from firmware_bridge.peripheral_session import PeripheralPlace
from tests.contract.test_board_contract import SOON_S, Inbox, wait_for

READER, GATE, TRAYS = 101, 102, 103


@dataclass
class Line:
    """Three peripherals in one process, as three boards on one cable."""

    folder: Path
    process: subprocess.Popen[bytes]
    inbox: Inbox
    board: ControlPanelBoard
    reader: PeripheralClient
    gate: PeripheralClient
    trays: PeripheralClient

    def places(self) -> list[PeripheralPlace]:
        return places(self.folder)


def places(folder: Path) -> list[PeripheralPlace]:
    return [
        PeripheralPlace(READER, read_channel_key(folder / "reader.key"), (Role.READER,)),
        PeripheralPlace(GATE, read_channel_key(folder / "gate.key"), (Role.GATE,)),
        PeripheralPlace(TRAYS, read_channel_key(folder / "trays.key"), (Role.TRAYS,)),
    ]


@pytest.fixture(scope="module")
def peripherals() -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The three, in a folder with a short name: a Unix socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="line-") as name:
        folder = Path(name)
        for role in ("reader", "gate", "trays"):
            create_channel_key(folder / f"{role}.key")
        command = [sys.executable, "-m", "firmware_bridge.simulated_peripheral", "--serial", str(folder / "line")]
        command += ["--control", str(folder / "reader.door"), "--key-file", str(folder / "reader.key")]
        command += ["--address", str(READER), "--roles", "reader"]
        command += ["--also", str(GATE), "gate", str(folder / "gate.door"), str(folder / "gate.key")]
        command += ["--also", str(TRAYS), "trays", str(folder / "trays.door"), str(folder / "trays.key")]
        with subprocess.Popen(leashed(command)) as process:
            wait_for((folder / "line").exists, 10)
            yield folder, process
            process.terminate()


@pytest.fixture
def line(peripherals: tuple[Path, subprocess.Popen[bytes]]) -> Iterator[Line]:
    """A panel on the line, with everybody online."""
    folder, process = peripherals
    inbox = Inbox()
    board = ControlPanelBoard(folder / "line", places(folder), inbox.take, production=False)
    doors = [PeripheralClient(folder / f"{name}.door") for name in ("reader", "gate", "trays")]
    doors[2].act("clear")
    doors[2].act("refill")
    board.start()
    line = Line(folder, process, inbox, board, *doors)
    wait_for(lambda: all(part.online for part in board.parts), SOON_S)
    board.lock()
    inbox.rest(0.3)
    yield line
    board.stop()


def test_each_does_its_own(line: Line) -> None:
    """Keys and lamp here, the arm there, a tray from the third; a push at the locked arm is told."""
    line.board.show(Signal.GRANTED, "Bon appetit")
    assert line.reader.press("7")
    assert line.inbox.next() == DigitPressed("7")
    assert line.gate.push() is False
    assert line.inbox.next() == RotationRefused()
    before = line.trays.state().trays
    assert line.board.unlock(5.0) is CommandOutcome.DONE
    line.board.give_tray()
    assert line.gate.push()
    assert line.inbox.next() == PassageCompleted()
    wait_for(lambda: line.trays.state().trays == before + 1, SOON_S)
    wait_for(lambda: line.reader.state().lamp == "green", SOON_S)
    assert [line.gate.state().lamp, line.trays.state().lamp] == ["off", "off"]


def test_a_key_from_a_peripheral_that_is_no_reader_is_refused(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """A taken-over turnstile board must not type codes."""
    assert line.gate.press("7")
    assert line.gate.card("04A1B2C3D4E5F6")
    assert line.inbox.rest(0.5) == []
    assert [record.getMessage() for record in caplog.records].count("refused from address 102: it is no reader") == 2


def test_the_turnstile_goes_on_without_its_keypad(line: Line) -> None:
    """Lost, told, and back without a restart; meanwhile the gate opens and closes as ever."""
    line.reader.act("cut")
    started_s = time.monotonic()
    assert line.inbox.until(KeypadLost(LossReason.SILENT), SOON_S) == []
    assert time.monotonic() - started_s < SOON_S
    assert line.board.online
    for _ in range(3):
        assert line.board.unlock(3.0) is CommandOutcome.DONE
        assert line.gate.push()
        assert line.inbox.next() == PassageCompleted()
    assert [part.loss for part in line.board.parts] == [LossReason.SILENT, None, None]
    line.reader.act("restore")
    assert line.inbox.until(KeypadRecovered(), SOON_S) == []
    assert line.reader.press("1")
    assert line.inbox.next() == DigitPressed("1")


def test_keys_are_heard_while_the_turnstile_is_lost(line: Line) -> None:
    """The access point is lost with its gate, and says so; the other addresses keep their sessions."""
    sessions = [part.quality.sessions for part in line.board.parts]
    line.gate.act("cut")
    assert line.inbox.until(BoardLost(LossReason.SILENT), SOON_S) == []
    assert line.board.unlock(1.0) is CommandOutcome.BOARD_LOST
    for digit in "12345":
        assert line.reader.press(digit)
        assert line.inbox.next() == DigitPressed(digit)
    line.gate.act("restore")
    assert line.inbox.until(BoardRecovered(), SOON_S) == []
    assert line.board.unlock(1.0) is CommandOutcome.DONE
    after = [part.quality.sessions for part in line.board.parts]
    assert [after[0], after[2]] == [sessions[0], sessions[2]], "a session broke for another's loss"
    assert after[1] == sessions[1] + 1


def test_a_jam_is_told_and_gives_no_late_tray(line: Line) -> None:
    """Jammed, empty, in order again; what was asked during the jam is not given after it."""
    before = line.trays.state().trays
    line.trays.act("jam")
    assert line.inbox.next() == TraysChanged(TrayState.JAMMED)
    line.board.give_tray()
    time.sleep(0.3)
    line.trays.act("empty")
    line.trays.act("clear")
    assert line.inbox.next() == TraysChanged(TrayState.EMPTY)
    line.trays.act("refill")
    assert line.inbox.next() == TraysChanged(TrayState.READY)
    assert line.inbox.rest(0.3) == []
    assert line.trays.state().trays == before
    line.trays.act("cut")
    assert line.inbox.until(TraysChanged(TrayState.LOST), SOON_S) == []
    line.board.give_tray()  # void: nobody is there
    assert line.board.unlock(1.0) is CommandOutcome.DONE
    line.trays.act("restore")
    assert line.inbox.until(TraysChanged(TrayState.READY), SOON_S) == []
    assert line.trays.state().trays == before


def test_an_alarm_is_told_and_its_end(line: Line) -> None:
    """Also to a panel that comes while it lasts."""
    line.gate.act("alarm")
    assert line.inbox.next() == EmergencyReleased()
    line.board.stop()
    inbox = Inbox()
    board = ControlPanelBoard(line.folder / "line", line.places(), inbox.take, production=False)
    board.start()
    assert EmergencyReleased() in inbox.until(BoardRecovered(), SOON_S) + inbox.rest(0.5)
    line.gate.act("calm")
    assert EmergencyEnded() in inbox.rest(0.5)
    board.stop()


def test_what_each_says_of_itself(line: Line) -> None:
    """Maker, model, firmware and capabilities, as PDID and PDCAP carry them; and how it answers."""
    for part, address in zip(line.board.parts, (READER, GATE, TRAYS), strict=True):
        said = part.identification
        assert said is not None
        assert (part.address, said.vendor, said.model, said.firmware) == (address, "ca57ee", 7, "1.2.3")
        assert said.serial == f"{address:08x}"
        assert (9, 1, 0) in said.capabilities  # communication security: AES-128
        assert part.quality.answers > 0
        assert part.quality.answer_ms is not None


def test_the_whole_cable_pulled(line: Line) -> None:
    """Everything is lost and found together."""
    line.reader.unplug()
    lost = [line.inbox.next(), line.inbox.next(), line.inbox.next()]
    assert {type(event) for event in lost} == {BoardLost, KeypadLost, TraysChanged}
    line.reader.plug()
    wait_for(lambda: all(part.online for part in line.board.parts), SOON_S)
    assert {BoardRecovered(), KeypadRecovered()} <= set(line.inbox.rest(0.5))


def test_places_that_make_no_board() -> None:
    """Two at one address, no gate, two readers."""
    key = bytes(range(16))
    gate = PeripheralPlace(1, key, (Role.GATE,))
    reader = PeripheralPlace(2, key, (Role.READER,))
    for wrong in ([gate, PeripheralPlace(1, key, (Role.READER,))], [reader], [gate, reader, PeripheralPlace(3, key)]):
        with pytest.raises(BoardMisused):
            ControlPanelBoard(Path("/dev/null"), wrong, print, production=False)
