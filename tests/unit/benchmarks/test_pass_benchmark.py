"""`canteen-bench pass` over the real programs, with very few passes: the shape of what it says, never how fast."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from benchmarks.child import Child, resident_mib
from benchmarks.errors import BenchmarkFailed, LaneInterrupted
from benchmarks.hands import enrolled_hands
from benchmarks.main import main
from benchmarks.screen_watch import ScreenWatch
from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare, decide
from terminal.display.server import ScreenServer
from terminal.display.view import ScreenView, Tone, Words

NAMES = [
    "pass.hand.median_to_floor",
    "pass.hand.p99_to_floor",
    "pass.card.median_to_floor",
    "pass.card.p99_to_floor",
    "pass.card.median_to_own_floor",
    "terminal.idle_cpu",
    "terminal_and_sync.resident",
    "terminal.memory_growth",
    "terminal.handle_growth",
    "terminal.cold_start",
    "hand_geometry.first_comparison",
    "hand_geometry.first_comparison_peak",
]

MAY_BE_NOTHING = {"terminal.idle_cpu", "terminal.memory_growth", "terminal.handle_growth"}


def test_pass_says_every_figure_and_leaves_nothing() -> None:
    """Two passes each way: the JSON line is whole, every ratio is a positive number, the folder is gone."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder:  # a short name: a Unix socket's path has 107 bytes
        command = [sys.executable, "-m", "benchmarks.main", "pass", "--passes", "2", "--starts", "1"]
        done = subprocess.run(
            [*command, "--idle-seconds", "0.5"],
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
            env={**os.environ, "TMPDIR": folder, "LANG": "fr_FR.UTF-8"},
        )
        assert 0 == done.returncode, done.stderr
        assert [] == list(Path(folder).iterdir())
    figures = json.loads(done.stdout.splitlines()[-1])
    assert NAMES == [figure["figure"] for figure in figures]
    for figure in figures:
        assert {"figure", "value", "unit", "goal", "better"} == set(figure)
        assert figure["better"] == "lower"
        assert math.isfinite(figure["value"])
        # Half a second of rest may be less than one tick of the processor's accounting; growth is best nothing.
        assert figure["value"] > 0 or figure["figure"] in MAY_BE_NOTHING
        assert figure["goal"] > 0
    assert {"ratio"} == {figure["unit"] for figure in figures if figure["figure"].endswith("floor")}
    assert "Plancher (médianes de cette exécution)" in done.stdout


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a benchmark, its name first."""
    assert 0 == main(["list"])
    assert {"hand", "pass", "store", "sync"} == {line.split()[0] for line in capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize(
    "wrong", [["--passes", "0"], ["--passes", "100000"], ["--idle-seconds", "x"], ["--starts", "-1"]]
)
def test_refuses_what_it_cannot_do(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence and status 2, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        main(["pass", *wrong])
    assert 2 == ended.value.code
    assert wrong[0] in capsys.readouterr().err


def test_the_hands_that_are_laid_are_recognized() -> None:
    """What is timed is the way of those who pass; a failure to match would time something else."""
    done: list[int] = []
    (hand,) = enrolled_hands(1, done.append)
    assert [1] == done
    features = acquire(hand.image)
    assert isinstance(features, Features)
    assert decide(compare(hand.reference, features))


def test_a_program_that_ended_is_said_with_its_last_words(tmp_path: Path) -> None:
    """A missing configuration ends a terminal: the sentence in its log is in the error."""
    child = Child("terminal.main", ["--config", str(tmp_path / "none.toml")], tmp_path / "log")
    with pytest.raises(BenchmarkFailed, match="ne répond pas"):
        ScreenWatch(_closed_port(), lambda: child.running, 20.0)
    child.stop()
    with pytest.raises(BenchmarkFailed, match=r"none\.toml"):
        child.check_running()
    with pytest.raises(BenchmarkFailed):
        child.cpu_s()


def test_a_lane_that_was_interrupted_is_waited_for_until_it_rests() -> None:
    """A pass that opened too late for us closes by itself; its denial is not taken for the next one's."""
    screen = ScreenServer("127.0.0.1", 0, production=False)
    try:
        watch = ScreenWatch(screen.port, lambda: True, 5.0)
        shown = threading.Thread(target=_show_a_late_pass, args=(screen,))
        shown.start()
        with pytest.raises(LaneInterrupted):
            watch.wait_for_state("guiding", 0.5)
        watch.wait_for_rest(20.0)
        shown.join(5)
        screen.show(_view("passage-open"))
        assert "passage-open" == watch.wait_for(lambda seen: seen.state != "idle", 5.0, "an answer").state
        with pytest.raises(LaneInterrupted, match="passage-open"):
            watch.wait_for_rest(0.5)
    finally:
        screen.close()


def _show_a_late_pass(screen: ScreenServer) -> None:
    for state in ("idle", "passage-open", "showing-denial", "idle"):
        screen.show(_view(state))
        time.sleep(0.7)


def _view(state: str) -> ScreenView:
    words = Words(state, state)
    return ScreenView(state, Tone.READY, "keypad", words, words)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_memory_is_read_from_proc() -> None:
    """The kernel counts in KiB."""
    assert 2.0 == resident_mib("Name:\tpython\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\n")
    assert 3.0 == resident_mib("VmHWM:\t3072 kB\n", "VmHWM")
    with pytest.raises(BenchmarkFailed):
        resident_mib("Name:\tzombie\n")
