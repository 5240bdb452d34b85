"""The door of every command: language, a reader that goes away, a full disk, Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from canteen.command_line import console_script, session_language

PROJECT = Path(__file__).resolve().parents[3]
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
TALKING = """
import sys
from canteen.command_line import console_script

@console_script
def main() -> int:
    try:
        for number in range(100_000):
            print(number)
    except OSError as error:
        sys.stderr.write(f"a handler of our own: {error}")
        return 7
    finally:
        sys.stderr.write("closed\\n")
    return 0

sys.exit(main())
"""


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ({}, "fr"),
        ({"LANG": "C.UTF-8"}, "fr"),
        ({"LANG": "de_DE.UTF-8"}, "fr"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "fr_FR.UTF-8", "LANG": "en_US.UTF-8"}, "fr"),
        ({"LANGUAGE": "en:fr", "LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_the_session_names_the_language(monkeypatch: pytest.MonkeyPatch, said: dict[str, str], language: str) -> None:
    """Pins gettext's order, that C is no language, and French for all others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert language == session_language()


def test_a_reader_that_goes_away_ends_a_command_without_a_word() -> None:
    """``| head``: the code a shell expects, what was opened is closed, and no handler of OSError says anything."""
    program = [sys.executable, "-c", TALKING]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT) as talking:
        assert talking.stdout is not None
        assert talking.stderr is not None
        assert b"0\n" == talking.stdout.readline()
        talking.stdout.close()
        assert b"closed\n" == talking.stderr.read()
    assert 128 + 13 == talking.returncode


def test_an_answer_that_does_not_fit_is_said() -> None:
    """A full disk: one line, and no success."""
    with Path("/dev/full").open("wb") as full:
        program = [sys.executable, "-c", TALKING]
        ended = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, cwd=PROJECT, check=False)
    assert 1 == ended.returncode
    assert b"No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_ctrl_c_is_an_exit_code() -> None:
    """Pins 130, and that the environment and gettext's domain are as before."""
    before = dict(os.environ)

    @console_script
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert 130 == interrupted()
    assert before == dict(os.environ)


def test_every_console_script_goes_through_the_door(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pins that argparse speaks French in each of them, and English where the session does."""
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    for place in scripts.values():
        module, _, name = place.partition(":")
        source = (PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert f"@console_script\ndef {name}(" in source, place
    from hand_geometry.platen_sheet import main

    for language, said in (("fr", "il manque : --out"), ("en", "arguments are required: --out")):
        monkeypatch.setenv("LANGUAGE", language)
        with pytest.raises(SystemExit):
            main(["sheet"])
        assert said in capsys.readouterr().err


def test_the_french_of_argparse_is_compiled() -> None:
    """`make messages` was run after the last change."""
    source = PROJECT / "canteen" / "locale" / "fr" / "LC_MESSAGES" / "argparse.po"
    with source.with_suffix(".mo").open("rb") as compiled_file, source.open("rb") as source_file:
        compiled, written = GNUTranslations(compiled_file), read_po(source_file)
    single = {entry.id: entry.string for entry in written if isinstance(entry.id, str) and entry.id}
    assert len(single) > 15
    assert single == {message: compiled.gettext(message) for message in single}
