"""What board, card reader and camera must do with nobody at them: the same over each twin and over real hardware.

Real hardware is what the environment names, and is skipped with a reason otherwise:

    CANTEEN_OSDP_PORT=/dev/ttyUSB0 CANTEEN_OSDP_KEY=/path/reader.key  (and CANTEEN_OSDP_ADDRESS, CANTEEN_OSDP_BAUD)
    CANTEEN_PCSC_READER="ACS ACR122U"
    CANTEEN_CAMERA=/dev/video0

The turnstile opens for moments. What wants a person, or a fault made on purpose, is in the twins' own suites.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.card_reading import UidCards
from firmware_bridge.channel_key import read_channel_key
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.devices import (
    BoardEvent,
    BoardLost,
    BoardRecovered,
    CardReaderRecovered,
    CommandOutcome,
    InputInterrupted,
    LossReason,
    PassageAbandoned,
    Role,
    Signal,
)
from firmware_bridge.pcsc_reader import PcscCardReader
from firmware_bridge.peripheral_session import PeripheralPlace
from hand_geometry.camera import Camera
from hand_geometry.capture_device import CaptureDevice
from hand_geometry.recorded_camera import RecordedCamera
from hand_geometry.simulated_camera import FrameServer, SimulatedCamera
from hand_geometry.synthetic_hand import encode_png, synthetic_hand
from tests.contract.test_board_contract import SOON_S, Inbox, Peripheral, wait_for
from tests.contract.test_card_reader_contract import Inbox as CardInbox
from tests.virtual_reader import virtual_reader

FRAMES = 5
HARDWARE = pytest.param("hardware", marks=pytest.mark.hardware)


def named(variable: str, what: str) -> str:
    """What the environment names; skips the test where it names nothing."""
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} names no {what}")
    return value


# The board


@dataclass
class Line:
    """A board that is there, and how to speak to it."""

    path: Path
    key: bytes
    address: int = 101
    baud: int = 115_200

    def board(self, inbox: Inbox, key: bytes | None = None) -> ControlPanelBoard:
        place = PeripheralPlace(self.address, key or self.key, (Role.READER, Role.GATE))
        return ControlPanelBoard(self.path, [place], inbox.take, production=False, baud=self.baud)


@pytest.fixture(scope="module", params=["twin", HARDWARE])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """One line for the whole module: a session is built anew in each test."""
    if request.param == "hardware":
        port = named("CANTEEN_OSDP_PORT", "board")
        key = read_channel_key(Path(named("CANTEEN_OSDP_KEY", "file with the board's key")))
        address, baud = os.environ.get("CANTEEN_OSDP_ADDRESS", "101"), os.environ.get("CANTEEN_OSDP_BAUD", "115200")
        yield Line(Path(port), key, int(address), int(baud))
        return
    peripheral = Peripheral(tmp_path_factory.mktemp("line"))
    wait_for(peripheral.line.exists, 10)
    yield Line(peripheral.line, read_channel_key(peripheral.key_file))
    peripheral.kill()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def board(line: Line, inbox: Inbox) -> Iterator[ControlPanelBoard]:
    """Online, locked, and quiet."""
    board = line.board(inbox)
    board.start()
    inbox.until(BoardRecovered(), SOON_S)
    assert CommandOutcome.DONE is board.lock()
    inbox.rest(0.5)
    yield board
    board.lock()
    board.stop()


def done_by_somebody(events: list[BoardEvent]) -> list[BoardEvent]:
    """Without what a busy machine does to a line."""
    return [one for one in events if not isinstance(one, InputInterrupted | BoardLost | BoardRecovered)]


def test_board_is_silent_while_nobody_is_there(board: ControlPanelBoard, inbox: Inbox) -> None:
    """No ghost key, card or passage in two seconds; the session is there, and it says who it is."""
    assert [] == done_by_somebody(inbox.rest(2.0))
    wait_for(lambda: board.online, SOON_S)
    (part,) = board.parts
    assert part.online
    assert part.quality.answers > 0
    assert part.identification is not None
    assert part.identification.capabilities


def test_gate_opens_for_its_time_and_locks_by_itself(board: ControlPanelBoard, inbox: Inbox) -> None:
    """Each unlock is confirmed and ends as abandoned, by the board's own timer; a lock before that is not reported."""
    for _ in range(3):
        assert CommandOutcome.DONE is board.unlock(0.5)
        assert PassageAbandoned() == inbox.next(SOON_S)
    assert [CommandOutcome.DONE] * 2 == [board.unlock(0.5), board.lock()]
    assert [] == done_by_somebody(inbox.rest(1.0))


def test_board_shows_every_signal_and_stays(board: ControlPanelBoard, inbox: Inbox) -> None:
    """Lamp, buzzer and text, or what of them it has: none of it costs the session."""
    for signal in Signal:
        board.show(signal, f"Essai {signal.value}")
        time.sleep(0.3)
    wait_for(lambda: board.online, SOON_S)
    assert CommandOutcome.DONE is board.lock()
    assert [] == done_by_somebody(inbox.rest(0.3))


def test_board_refuses_a_key_that_is_not_its_own(line: Line, inbox: Inbox) -> None:
    """Reported as such, and no command is taken; with its own key it serves again."""
    stranger = line.board(inbox, secrets.token_bytes(16))
    stranger.start()
    inbox.until(BoardLost(LossReason.KEY_REFUSED), SOON_S)
    assert CommandOutcome.BOARD_LOST is stranger.unlock(0.5)
    stranger.stop()
    ours = line.board(inbox)
    ours.start()
    inbox.until(BoardRecovered(), SOON_S)
    ours.stop()
    assert not ours.online
    assert CommandOutcome.BOARD_LOST is ours.unlock(0.5)


# The card reader beside the board


@pytest.fixture(params=["twin", HARDWARE])
def reader_name(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A reader that is plugged in, by its name."""
    if request.param == "hardware":
        yield named("CANTEEN_PCSC_READER", "card reader")
        return
    with virtual_reader(tmp_path):
        yield "Virtual PCD"


def test_card_reader_is_ready_reports_no_ghost_and_stops(reader_name: str) -> None:
    """Started three times: ready each time; with no card, nothing more; after its stop, silence."""
    for _ in range(3):
        inbox = CardInbox()
        reader = PcscCardReader(reader_name, UidCards(), inbox.take, production=False)
        reader.start()
        assert CardReaderRecovered() == inbox.next(SOON_S)
        assert reader.ready
        assert len(inbox.rest(0.6)) <= 1  # the card that may lie there, once
        reader.stop()
        assert [] == inbox.rest(0.3)


# The camera


@pytest.fixture(params=["twin", "recorded", HARDWARE])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], CaptureDevice]]:
    """Opens the camera."""
    with ExitStack() as closing:
        if request.param == "hardware":
            source = named("CANTEEN_CAMERA", "camera")
            yield lambda: Camera(source)
        elif request.param == "recorded":
            for number in range(FRAMES):
                (tmp_path / f"hand-{number}.png").write_bytes(encode_png(synthetic_hand(1, 1)))
            yield lambda: RecordedCamera(tmp_path, production=False)
        else:
            server = FrameServer(tmp_path / "platen.sock")
            server.start()
            closing.callback(server.stop)
            yield lambda: SimulatedCamera(tmp_path / "platen.sock", production=False)


def test_camera_gives_frames_of_now_again_and_again(opened: Callable[[], CaptureDevice]) -> None:
    """Colour pictures of one size, each taken after it was asked for; closed twice, and open again."""
    for _ in range(2):
        camera = opened()
        sizes, before_s = set(), time.monotonic()
        for _ in range(FRAMES):
            frame = camera.capture()
            assert frame is not None
            assert np.uint8 == frame.image.dtype
            assert 3 == frame.image.shape[2]
            assert before_s <= frame.captured_at_s <= time.monotonic()
            sizes.add(frame.image.shape)
            before_s = frame.captured_at_s
        assert 1 == len(sizes)
        camera.close()
        camera.close()
