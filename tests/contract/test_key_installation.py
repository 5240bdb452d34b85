"""A key set over the line: a new board's first, another in its place, what a cut leaves; over the true peripheral."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.processes import leashed
from firmware_bridge.channel_key import PlainChannelKeys, create_channel_key, read_channel_key
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.devices import BoardLost, BoardRecovered, CommandOutcome, LossReason
from firmware_bridge.errors import ChannelKeyRefused, SimulatedDeviceInProduction
from firmware_bridge.key_installation import KeyOutcome, install_channel_key, pending_beside
from firmware_bridge.peripheral_session import PeripheralPlace
from tests.contract.test_board_contract import SOON_S, Inbox, wait_for

ADDRESS = 101


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="key-") as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., None]]:
    """Starts a peripheral whose key lies in `theirs`; started again, it stands for a reboot."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> None:
        for process in running:
            process.terminate()
            process.wait(5)
        command = [sys.executable, "-m", "firmware_bridge.simulated_peripheral", "--serial", str(folder / "line")]
        command += ["--control", str(folder / "door"), "--key-file", str(folder / "theirs"), *options]
        running.append(subprocess.Popen(leashed(command)))
        wait_for((folder / "line").exists, 10)

    yield begin
    for process in running:
        process.terminate()
        process.wait(5)


def install(folder: Path) -> KeyOutcome:
    return install_channel_key(folder / "line", 115_200, ADDRESS, folder / "ours", PlainChannelKeys(), production=False)


def serves(folder: Path) -> bool:
    """Whether the terminal's own panel, which never takes the installation key, opens the gate with what we keep."""
    inbox = Inbox()
    place = PeripheralPlace(ADDRESS, read_channel_key(folder / "ours"))
    board = ControlPanelBoard(folder / "line", [place], inbox.take, production=False)
    board.start()
    inbox.until(BoardRecovered(), SOON_S)
    opened = board.unlock(1.0)
    board.stop()
    return opened is CommandOutcome.DONE


def test_a_new_board_gets_its_key_once(folder: Path, start: Callable[..., None]) -> None:
    """Made here, kept on both sides, private; the board's install mode is over, also after a reboot."""
    start("--install-mode")
    assert install(folder) is KeyOutcome.INSTALLED
    assert stat.S_IMODE((folder / "ours").stat().st_mode) == 0o600
    assert read_channel_key(folder / "ours") == read_channel_key(folder / "theirs")
    assert not pending_beside(folder / "ours").exists()
    assert serves(folder)
    start()
    assert serves(folder)


def test_a_board_with_the_installation_key_is_refused_by_a_terminal(folder: Path, start: Callable[..., None]) -> None:
    """Whoever knows the standard could be that board: reported as a wrong key, never served."""
    start("--install-mode")
    create_channel_key(folder / "ours")
    inbox = Inbox()
    place = PeripheralPlace(ADDRESS, read_channel_key(folder / "ours"))
    board = ControlPanelBoard(folder / "line", [place], inbox.take, production=False)
    board.start()
    inbox.until(BoardLost(LossReason.KEY_REFUSED), SOON_S)
    assert board.unlock(1.0) is CommandOutcome.BOARD_LOST
    assert not (folder / "theirs").exists(), "the panel gave its key away under the public one"
    board.stop()


def test_another_key_in_its_place(folder: Path, start: Callable[..., None]) -> None:
    """Sent under the old one; the old one opens nothing any more."""
    start("--install-mode")
    install(folder)
    before = read_channel_key(folder / "ours")
    assert install(folder) is KeyOutcome.REPLACED
    assert before != read_channel_key(folder / "ours") == read_channel_key(folder / "theirs")
    assert serves(folder)


def test_a_cut_after_the_board_took_it(folder: Path, start: Callable[..., None]) -> None:
    """Our file still has the old key, the pending one is beside it: asking again finds out, and loses nothing."""
    start("--install-mode")
    install(folder)
    old = read_channel_key(folder / "ours")
    install(folder)
    # As if the power had gone before the last step: the new key pending, the old one in its place.
    (folder / "ours").rename(folder / "ours.pending")
    (folder / "ours").write_bytes(old)
    (folder / "ours").chmod(0o600)
    assert pending_beside(folder / "ours").exists()
    assert install(folder) is KeyOutcome.ALREADY
    assert serves(folder)


def test_a_board_of_somebody_elses(folder: Path, start: Callable[..., None]) -> None:
    """It holds a key, and not ours: refused; nothing of ours is lost or replaced."""
    create_channel_key(folder / "theirs")
    create_channel_key(folder / "ours")
    before = [read_channel_key(folder / name) for name in ("ours", "theirs")]
    start()
    assert install(folder) is KeyOutcome.REFUSED
    assert before == [read_channel_key(folder / name) for name in ("ours", "theirs")]


def test_nobody_there(folder: Path, start: Callable[..., None]) -> None:
    """No line, or nobody at that address."""
    assert install(folder) is KeyOutcome.NO_DEVICE
    create_channel_key(folder / "theirs")
    start("--address", "55")
    assert install(folder) is KeyOutcome.SILENT
    assert not (folder / "ours").exists()


def test_what_is_refused_before_anything_is_sent(folder: Path, start: Callable[..., None]) -> None:
    """A key file that others can read, and a pseudo-terminal in production."""
    start("--install-mode")
    create_channel_key(folder / "ours")
    (folder / "ours").chmod(0o644)
    with pytest.raises(ChannelKeyRefused):
        install(folder)
    with pytest.raises(SimulatedDeviceInProduction):
        install_channel_key(folder / "line", 115_200, ADDRESS, folder / "fresh", PlainChannelKeys(), production=True)
    assert not (folder / "theirs").exists()
