"""A terminal whose key source is the machine's: its keys for boards and cards, from the first start to the doctor."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from canteen.private_file import create_private_file
from demo.processes import leashed
from firmware_bridge.channel_key import read_channel_key
from firmware_bridge.errors import ChannelKeyRefused
from firmware_bridge.key_installation import pending_beside
from sync.facts import BoardKeyed
from templates_store.errors import KeyUnavailable
from templates_store.kept_secret import KeptSecrets, SecretKind
from templates_store.key_source import FileKeySource
from terminal.configuration import read_configuration
from terminal.findings import Check, Verdict
from terminal.health import HealthSources, examine
from terminal.kept_keys import KeptKeys
from terminal.main import main
from terminal.provisioning import TERMINAL
from tests.conftest import wait_until
from tests.unit.terminal.lane import School
from tests.unit.terminal.programs import TerminalProgram


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[TerminalProgram]:
    """A terminal whose store's key is a credential, and a board that has its channel key already."""
    with tempfile.TemporaryDirectory(prefix="kk-") as name:
        folder = Path(name)
        machine = folder / "machine"
        machine.mkdir()
        (machine / "canteen-store-key").write_bytes(secrets.token_bytes(32))
        (machine / "canteen-store-key").chmod(0o400)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(machine))
        program = TerminalProgram(folder / "card")
        settings = program.config.read_text().replace('"store.key"', '"systemd:canteen-store-key"')
        program.config.write_text(settings)
        yield program
        if program.process is not None and program.process.poll() is None:
            program.kill()


@pytest.fixture
def board(program: TerminalProgram) -> Iterator[Path]:
    """The board on its line; where it has its key."""
    theirs = program.folder.parent / "theirs"
    shutil.copy(program.folder / "channel.key", theirs)
    command = [sys.executable, "-m", "firmware_bridge.simulated_peripheral", "--key-file", str(theirs)]
    command += ["--serial", str(program.folder / "board.tty"), "--control", str(program.folder / "world.sock")]
    process = subprocess.Popen(leashed(command))
    wait_until((program.folder / "board.tty").exists, what="the line")
    yield theirs
    process.kill()
    process.wait(5)


def test_an_existing_terminal_changes_over(program: TerminalProgram, board: Path) -> None:
    """Its plain channel key is taken in at the start, and the board answers; the next one is wrapped at once."""
    ours, theirs = program.folder / "channel.key", board
    key, opening = read_channel_key(ours), program.opening_key.octets
    program.start()
    assert key not in ours.read_bytes()
    said = json.loads(_canteen_terminal(program, "doctor", "--json").stdout)
    (check,) = [check for check in said["checks"] if check["name"] == "keys"]
    assert (Verdict.WELL.value, {"board-101": "wrapped"}) == (check["verdict"], check["measured"])
    assert 0 == program.end()
    done = _canteen_terminal(program, "install-key")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert BoardKeyed(101, "replaced") == program.facts()[-1]
    fresh = read_channel_key(theirs)
    assert fresh != key
    assert fresh not in ours.read_bytes()
    program.start()  # ready: the board answers under the new key
    assert 0 == program.end()
    held = [file.read_bytes() for file in program.folder.rglob("*") if file.is_file()]
    assert not any(one in content for content in held for one in (key, fresh, opening))


def _canteen_terminal(program: TerminalProgram, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "terminal.main", *words, "--config", str(program.config)]
    return subprocess.run(command, input="oui\n", capture_output=True, text=True, timeout=60, check=False)


def test_what_is_sealed_for_the_device_opens_on_its_machine_alone(
    program: TerminalProgram, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The opening key is taken in, and stays the same for the server's directory and a second provisioning."""
    before = program.opening_key.sealing_key
    configuration = read_configuration(program.config)
    assert before == configuration.opening_key().sealing_key
    assert program.opening_key.octets not in (program.folder / "sealing.key").read_bytes()
    assert 0 == main(["keys", "--config", str(program.config)])
    assert base64.b64encode(before.octets).decode() == json.loads(capsys.readouterr().out)["sealing_key"]
    assert before == TERMINAL.opening_key(program.config, program.folder / "sealing.key").sealing_key
    (program.folder / "sealing.key").unlink()
    assert before != read_configuration(program.config).opening_key().sealing_key
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert 1 == main(["keys", "--config", str(program.config)])


def test_a_first_key_before_the_first_start(program: TerminalProgram) -> None:
    """A new terminal, a new board: what everything rests on is there when the store comes to need it."""
    (program.folder / "channel.key").unlink()
    keys = KeptKeys.of(read_configuration(program.config))
    keys.keep(program.folder / "channel.key", bytes(range(16)))
    assert bytes(range(16)) == keys.places()[0].key


def test_a_machine_that_is_not_the_same(program: TerminalProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card in another machine, or without one: no board is spoken to, and it says which key."""
    KeptKeys.of(read_configuration(program.config)).places()
    other = program.folder.parent / "other"
    other.mkdir()
    (other / "canteen-store-key").write_bytes(secrets.token_bytes(32))
    (other / "canteen-store-key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(other))
    with pytest.raises(KeyUnavailable, match=r"channel\.key"):
        KeptKeys.of(read_configuration(program.config)).places()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(KeyUnavailable, match="LoadCredential"):
        KeptKeys.of(read_configuration(program.config)).places()


def test_a_public_key_is_no_key_however_it_is_kept(program: TerminalProgram) -> None:
    """Neither kept nor believed."""
    keys = KeptKeys.of(read_configuration(program.config))
    with pytest.raises(ChannelKeyRefused):
        keys.keep(program.folder / "channel.key", bytes(range(0x30, 0x40)))
    keys.kept.keep(program.folder / "channel.key", bytes(16), SecretKind.CHANNEL_KEY)
    with pytest.raises(ChannelKeyRefused):
        keys.places()


def test_the_doctor_says_how_keys_lie(school: School, program: TerminalProgram) -> None:
    """Wrapped; still in the clear; waiting for a board; as plain as the store's own."""
    keys, path = KeptKeys.of(read_configuration(program.config)), program.folder / "channel.key"
    reading = program.folder / "card-reading.key"
    create_private_file(reading, secrets.token_bytes(32))
    keys = replace(keys, cards=reading)
    check = _examined(school, keys)
    assert (Verdict.WATCH, "board-101, cards") == (check.verdict, check.measured["plain"])
    keys.places()
    keys.reading_keys(reading)
    check = _examined(school, keys)
    assert (Verdict.WELL, {"board-101": "wrapped", "cards": "wrapped"}) == (check.verdict, check.measured)
    keys.keep(pending_beside(path), bytes(range(16)))
    check = _examined(school, keys)
    assert (Verdict.WATCH, "board-101") == (check.verdict, check.measured["pending"])
    pending_beside(path).unlink()
    plain = KeptKeys(KeptSecrets(FileKeySource(program.folder / "store.key")), keys.boards, None)
    assert Verdict.WELL is _examined(school, plain).verdict


def _examined(school: School, keys: KeptKeys) -> Check:
    records = school.lane.runner._actions._records
    sources = HealthSources(school.lane.devices, school.lane.inbox, records, school.lane.identification, ())
    (check,) = [check for check in examine(replace(sources, kept_keys=keys)).checks if check.name == "keys"]
    return check
