"""`canteen-terminal install-key` against a new board and a second one on its line; and the board as configured."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import leashed
from firmware_bridge.channel_key import create_channel_key, read_channel_key
from firmware_bridge.devices import Role
from sync.facts import BoardKeyed
from terminal.configuration import read_configuration
from terminal.errors import ConfigurationRefused
from tests.conftest import wait_until
from tests.unit.terminal.programs import TerminalProgram

GATE = '[board.gate]\naddress = 102\nchannel_key = "gate.key"\ntray_dispenser = true\n[camera]'


@pytest.fixture
def program() -> Iterator[TerminalProgram]:
    """A terminal with a reader and, at another address, a gate with trays."""
    with tempfile.TemporaryDirectory(prefix="ik-") as name:
        program = TerminalProgram(Path(name))
        program.config.write_text(program.config.read_text().replace("[camera]", GATE))
        yield program


def run(program: TerminalProgram, *arguments: str, answer: str = "oui\n") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "terminal.main", "install-key", *arguments, "--config", str(program.config)]
    return subprocess.run(
        command, input=answer, capture_output=True, text=True, env={"LANG": "fr_FR.UTF-8"}, timeout=60, check=False
    )


def test_both_boards_get_keys(program: TerminalProgram) -> None:
    """Only after a yes; the new one its first, the other another; 1 where somebody is missing."""
    folder = program.folder
    create_channel_key(folder / "gate.key")
    (folder / "gate.theirs").write_bytes(read_channel_key(folder / "gate.key"))
    (folder / "gate.theirs").chmod(0o600)
    (folder / "channel.key").unlink()
    command = [sys.executable, "-m", "firmware_bridge.simulated_peripheral", "--serial", str(folder / "board.tty")]
    command += ["--control", str(folder / "world"), "--key-file", str(folder / "theirs"), "--install-mode"]
    command += ["--also", "102", "gate,trays", str(folder / "gate"), str(folder / "gate.theirs")]
    with subprocess.Popen(leashed(command)) as peripherals:
        wait_until((folder / "board.tty").exists, what="the line")
        asked = run(program, answer="\n")
        assert (1, "Rien n’est changé." in asked.stdout) == (asked.returncode, True)
        assert not (folder / "theirs").exists()
        done = run(program)
        peripherals.terminate()
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "première clé installée et vérifiée" in done.stdout
    assert "Adresse 102 : clé remplacée et vérifiée" in done.stdout
    for ours, theirs in (("channel.key", "theirs"), ("gate.key", "gate.theirs")):
        key = read_channel_key(folder / ours)
        assert key == read_channel_key(folder / theirs)
        assert key.hex() not in done.stdout + done.stderr
    assert [BoardKeyed(101, "installed"), BoardKeyed(102, "replaced")] == program.facts()
    absent = run(program, "gate")
    assert (1, True) == (absent.returncode, "la ligne manque" in absent.stdout)
    assert BoardKeyed(102, "no_device") == program.facts()[-1]
    nobody = run(program, "lamp")
    assert (1, True) == (nobody.returncode, "reader, gate, trays" in nobody.stdout)


def test_board_as_configured(program: TerminalProgram) -> None:
    """Roles follow the tables; what makes no board is refused with its place."""
    board = read_configuration(program.config).board
    assert [(101, (Role.READER,)), (102, (Role.GATE, Role.TRAYS))] == [
        (one.address, one.roles) for one in board.peripherals
    ]
    assert board.has_trays
    good = program.config.read_text()
    for old, new in [
        ("address = 102", "address = 101"),
        ("address = 102", "address = 127"),
        ("address = 102", ""),
        ("[camera]", '[board.trays]\naddress = 103\nchannel_key = "t.key"\n[camera]'),
        ("address = 101", "address = 101\nbaud = 1200"),
        ("address = 101", "address = 101\nbaut = 9600"),
    ]:
        program.config.write_text(good.replace(old, new))
        with pytest.raises(ConfigurationRefused, match=r"board"):
            read_configuration(program.config)
