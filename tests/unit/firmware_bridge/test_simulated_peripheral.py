"""The twin as a program: what it refuses, and that its side door cannot be broken."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.processes import leashed
from firmware_bridge.channel_key import create_channel_key
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.errors import BoardMisused, ChannelKeyRefused, ControlRefused, SimulatedDeviceInProduction
from firmware_bridge.peripheral_client import PeripheralClient, PeripheralState
from firmware_bridge.peripheral_session import PeripheralPlace
from firmware_bridge.phrases import translator
from firmware_bridge.simulated_peripheral import main


def _arguments(folder: Path) -> list[str]:
    pairs = {"--serial": "line", "--control": "door", "--key-file": "key"}
    return [argument for option, name in pairs.items() for argument in (option, str(folder / name))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running peripheral's folder; nobody is on its line."""
    folder = tmp_path_factory.mktemp("peripheral")
    create_channel_key(folder / "key")
    command = [sys.executable, "-m", "firmware_bridge.simulated_peripheral", *_arguments(folder)]
    with subprocess.Popen(leashed(command)) as process:
        until_s = time.monotonic() + 10
        while not (folder / "door").exists():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        yield folder
        process.terminate()
        assert process.wait(5) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["key"]


def test_it_refuses_production(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A twin never serves a school: exit code 2 and a sentence, nothing created."""
    create_channel_key(tmp_path / "key")
    assert main([*_arguments(tmp_path), "--production"]) == 2
    assert "production" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_it_refuses_a_key_that_others_can_read(tmp_path: Path) -> None:
    """Like the panel does."""
    create_channel_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    assert main(_arguments(tmp_path)) == 2


def test_a_second_one_at_the_same_door_is_refused(folder: Path) -> None:
    """The first keeps its line and its door."""
    assert main(_arguments(folder)) == 2
    assert PeripheralClient(folder / "door").state().turnstile == "locked"


def test_the_door_is_private(folder: Path) -> None:
    """Who can open it can let people in."""
    assert stat.S_IMODE((folder / "door").stat().st_mode) == 0o600


def test_without_a_panel_keypad_and_reader_are_dead(folder: Path) -> None:
    """What is typed now must not arrive when a panel comes."""
    client = PeripheralClient(folder / "door")
    assert [client.press("1"), client.card("04A1B2C3D4E5F6"), client.push()] == [False, False, False]
    assert client.state() == PeripheralState("off", "", 0, "locked", 0, secure=False, online=False)


@given(st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_requests_get_an_error_and_break_nothing(folder: Path, untrusted_lines: list[bytes]) -> None:
    """Every line has its answer, on the same connection, and the next request works."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(5)
        door.connect(str(folder / "door"))
        replies = door.makefile("rb")
        for line in [*untrusted_lines, b'{"do":"state"}']:
            door.sendall(line + b"\n")
            reply = json.loads(replies.readline())
        replies.close()
    assert reply["turnstile"] == "locked"


def test_an_endless_line_is_cut_off(folder: Path) -> None:
    """No client can fill the memory, and the next one is served."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(5)
        door.connect(str(folder / "door"))
        door.sendall(b"x" * 20_000)
        assert "error" in json.loads(door.makefile("rb").readline())
    assert PeripheralClient(folder / "door").state().passages == 0


def test_an_error_reaches_the_client_as_an_exception(folder: Path) -> None:
    """A typing mistake in a test must not pass for a dead keypad."""
    with pytest.raises(ControlRefused):
        PeripheralClient(folder / "door").press("12")
    with pytest.raises(ControlRefused):
        PeripheralClient(folder / "nowhere").state()


def test_the_panel_refuses_a_pseudo_terminal_in_production(folder: Path) -> None:
    """The same rule from the other end."""
    board = ControlPanelBoard(folder / "line", [PeripheralPlace(101, bytes(range(16)))], print, production=True)
    with pytest.raises(SimulatedDeviceInProduction):
        board.start()


def test_the_panel_refuses_bad_keys_and_addresses_and_hides_its_key() -> None:
    """Before it opens anything."""
    with pytest.raises(ChannelKeyRefused):
        ControlPanelBoard(Path("/dev/null"), [PeripheralPlace(1, bytes(16))], print, production=False)
    with pytest.raises(BoardMisused):
        ControlPanelBoard(Path("/dev/null"), [PeripheralPlace(127, bytes(range(16)))], print, production=False)
    board = ControlPanelBoard(Path("/dev/null"), [PeripheralPlace(1, bytes(range(16)))], print, production=False)
    assert bytes(range(16)).hex() not in repr(board)
    assert str(bytes(range(16))) not in repr(board)


def test_words_are_french_first_and_english_too() -> None:
    """The catalogue has every sentence the program says when it refuses."""
    french = "Une carte simulée ne sert jamais en production."
    assert translator("fr_FR.UTF-8")(french) == french
    assert translator("en_GB.UTF-8")(french) == "A simulated board never serves in production."
    assert translator("C")(french) == french
