"""The printed sheet at the terminal: found at set-up, measured by, and held against before service."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from hand_geometry.comparison import compare, decide
from hand_geometry.focus import LEAST_FOCUS
from hand_geometry.kept_calibration import load_calibration
from hand_geometry.platen import PlatenCalibration
from hand_geometry.reference import Reference, make_reference
from hand_geometry.simulated_camera import FrameServer, SimulatedCamera
from hand_geometry.simulated_reader import (
    HIGH_AND_WIDE,
    LOW_AND_STRAIGHT,
    SimulatedLens,
    block_seen,
    empty_platen_seen,
    hand_seen,
)
from hand_geometry.synthetic_hand import encode_jpeg
from terminal.configuration import read_configuration
from terminal.devices import HandCapture, PlatenState
from terminal.main import main
from terminal.verification import HandVerification, _looked_at
from tests.unit.terminal.programs import TerminalProgram, surrounded


def reader(folder: Path, lens: SimulatedLens) -> FrameServer:
    """A simulated reader with the sheet on its platen, as this lens sees it."""
    server = FrameServer(folder / "camera.sock", empty=encode_jpeg(empty_platen_seen(lens)))
    server.start()
    return server


def calibrated(folder: Path, lens: SimulatedLens, capsys: pytest.CaptureFixture[str]) -> PlatenCalibration:
    """As the caretaker does it, by the command."""
    configuration = TerminalProgram(folder).config
    server = reader(folder, lens)
    try:
        assert 0 == main(["calibrate", "--config", str(configuration), "--height", str(lens.height_mm)])
    finally:
        server.stop()
    assert "17 repères" in capsys.readouterr().out
    found = load_calibration(read_configuration(configuration).calibration)
    assert found is not None
    return found


def seen_by(folder: Path, lens: SimulatedLens, calibration: PlatenCalibration, sample: int) -> HandCapture:
    """What the terminal measures of person 1 on this reader."""
    server = reader(folder, lens)
    captures: queue.Queue[HandCapture] = queue.Queue()
    verification = HandVerification(
        SimulatedCamera(folder / "camera.sock", production=False), time.monotonic, calibration
    )
    try:
        server.lay(encode_jpeg(hand_seen(lens, 1, sample)))
        verification.watch(1, 5.0, captures.put, laid_anew=False)
        return captures.get(timeout=6)
    finally:
        verification.close()
        server.stop()


@pytest.mark.slow
def test_a_hand_enrolled_on_one_reader_passes_on_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lenses, each calibrated by the command: two placements on one, the pass on the other."""
    here = calibrated(tmp_path / "here", HIGH_AND_WIDE, capsys)
    there = calibrated(tmp_path / "there", LOW_AND_STRAIGHT, capsys)
    samples = [seen_by(tmp_path / "here", HIGH_AND_WIDE, here, sample).features for sample in range(2)]
    reference = make_reference([one for one in samples if one is not None])
    assert isinstance(reference, Reference)
    probe = seen_by(tmp_path / "there", LOW_AND_STRAIGHT, there, 7).features
    assert probe is not None
    assert decide(compare(reference, probe))


def test_nothing_is_kept_of_a_platen_without_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Black cloth, then no camera: a sentence each, no file, and the terminal goes on uncalibrated."""
    configuration = TerminalProgram(tmp_path).config
    server = FrameServer(tmp_path / "camera.sock")
    server.start()
    assert 1 == main(["calibrate", "--config", str(configuration)])
    server.stop()
    assert "La feuille ne se voit pas assez" in capsys.readouterr().err
    kept = read_configuration(configuration).calibration
    assert load_calibration(kept) is None
    kept.write_bytes(b"damaged")
    assert load_calibration(kept) is None


def test_the_height_is_measured_on_the_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet first, without a height; then the label on its block gives it within 2 %."""
    configuration = TerminalProgram(tmp_path).config
    server = reader(tmp_path, HIGH_AND_WIDE)
    try:
        assert 1 == main(["calibrate", "--config", str(configuration), "--block"])
        assert 0 == main(["calibrate", "--config", str(configuration)])
        assert 1 == main(["calibrate", "--config", str(configuration), "--block"])
        assert "poser le bloc de 40 mm" in capsys.readouterr().err
        server.lay(encode_jpeg(block_seen(HIGH_AND_WIDE)))
        assert 0 == main(["calibrate", "--config", str(configuration), "--block"])
    finally:
        server.stop()
    found = load_calibration(read_configuration(configuration).calibration)
    assert found is not None
    assert found.camera_height_mm == pytest.approx(HIGH_AND_WIDE.height_mm, rel=0.02)


@pytest.fixture
def watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[FrameServer, HandVerification]]:
    calibration = calibrated(tmp_path / "reader", HIGH_AND_WIDE, capsys)
    server = reader(tmp_path / "reader", HIGH_AND_WIDE)
    camera = SimulatedCamera(tmp_path / "reader" / "camera.sock", production=False)
    verification = HandVerification(camera, time.monotonic, calibration)
    yield server, verification
    verification.close()
    server.stop()


def test_the_sheet_is_held_against_itself_before_service(watched: tuple[FrameServer, HandVerification]) -> None:
    """In order, a hand on it, moved, half covered, one marker smeared, black: each by its name and place."""
    server, verification = watched
    empty = empty_platen_seen(HIGH_AND_WIDE)
    assert (PlatenState.EMPTY, True) == (verification.look_at_platen().state, verification.look_at_platen().calibrated)
    server.lay(encode_jpeg(hand_seen(HIGH_AND_WIDE, 1, 0)))
    assert PlatenState.SOMETHING_LIES is verification.look_at_platen().state
    server.lay(encode_jpeg(np.asarray(np.roll(empty, 9, axis=1), np.uint8)))
    assert PlatenState.SHEET_MOVED is verification.look_at_platen().state
    covered = empty.copy()
    covered[:, 800:] = 60
    server.lay(encode_jpeg(covered))
    look = verification.look_at_platen()
    assert PlatenState.SHEET_COVERED is look.state
    assert look.place is not None
    assert look.place[0] > 0.6
    smeared = empty.copy()
    marker = load_place(verification)
    cv2.circle(smeared, marker, 45, (90, 90, 90), -1)
    server.lay(encode_jpeg(smeared))
    assert PlatenState.SHEET_DIRTY is verification.look_at_platen().state
    server.lay(encode_jpeg(np.zeros_like(empty)))
    assert PlatenState.TOO_DARK is verification.look_at_platen().state


def load_place(verification: HandVerification) -> tuple[int, int]:
    """The middle of one marker, in px."""
    assert verification._calibration is not None
    x, y = verification._calibration.corners_px[0].mean(axis=0)
    return round(float(x)), round(float(y))


@pytest.mark.slow
def test_the_terminal_says_it_before_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole program: calibrated by the command, in order; moved, and then unreadable, told by the doctor."""
    empty = empty_platen_seen(HIGH_AND_WIDE)
    with surrounded(tmp_path) as (program, platen):
        platen.lay(encode_jpeg(empty))
        assert 0 == main(["calibrate", "--config", str(program.config), "--height", "470"])
        capsys.readouterr()
        program.start(until_ready=False)
        program.wait_for("idle", timeout_s=40)
        assert ("empty", True) == said(program)
        platen.lay(encode_jpeg(np.asarray(np.roll(empty, 12, axis=0), np.uint8)))
        assert ("sheet-moved", True) == said(program)
        program.end()
        (program.folder / "platen.npz").write_bytes(b"spoiled")
        program.start(until_ready=False)
        program.wait_for("idle", timeout_s=40)
        assert ("calibration-unreadable", False) == said(program)
        program.end()


def said(program: TerminalProgram) -> tuple[str, bool]:
    """What the running terminal answers to the doctor about its hand reader."""
    report = httpx.get(f"http://127.0.0.1:{program.port}/doctor", timeout=10).json()
    measured = next(check["measured"] for check in report["checks"] if check["name"] == "camera")
    return measured["state"], measured["calibrated"]


def test_a_lens_that_loses_its_focus_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Smeared or turned since the calibration: said with how much is left; a darker lamp and noise are no blur."""
    calibration = calibrated(tmp_path, HIGH_AND_WIDE, capsys)
    sharp = empty_platen_seen(HIGH_AND_WIDE)
    noise = np.random.default_rng(1).normal(0.0, 4.0, sharp.shape)
    dim = np.clip(0.8 * sharp + noise, 0, 255).astype(np.uint8)
    for picture in (sharp, dim, hand_seen(HIGH_AND_WIDE, 1, 0)):
        look = _looked_at(picture, calibration)
        assert look.state in (PlatenState.EMPTY, PlatenState.SOMETHING_LIES)
        assert look.focus is not None
        assert 0.9 < look.focus < 1.1
    blurred = _looked_at(np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3.0), dtype=np.uint8), calibration)
    assert blurred.state is PlatenState.BLURRED
    assert blurred.focus is not None
    assert 0.4 < blurred.focus < LEAST_FOCUS
    # Said even where the camera now gives pictures of another shape.
    wide = _looked_at(np.ascontiguousarray(sharp[:900]), calibration)
    assert wide.state is PlatenState.SHEET_NOT_SEEN


def test_dirt_where_the_hand_will_lie_is_said_before_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crumb is for wiping, a napkin is in the way; both with their place, though every marker is seen."""
    calibration = calibrated(tmp_path, HIGH_AND_WIDE, capsys)
    dirty = empty_platen_seen(HIGH_AND_WIDE).copy()
    cv2.circle(dirty, (800, 600), 15, (120, 170, 200), cv2.FILLED)
    look = _looked_at(dirty, calibration)
    assert look.state is PlatenState.SHEET_DIRTY
    assert look.place == pytest.approx((0.5, 0.5), abs=0.01)
    for grey in (38, 230):
        dirty[300:900, 400:1200] = grey
        assert _looked_at(dirty, calibration).state is PlatenState.SHEET_COVERED
    # A hand is no napkin, and a dimmer lamp is none.
    assert _looked_at(hand_seen(HIGH_AND_WIDE, 3, 0), calibration).state is PlatenState.SOMETHING_LIES
    dim = np.asarray(0.65 * empty_platen_seen(HIGH_AND_WIDE) + 15.0, dtype=np.uint8)
    assert _looked_at(dim, calibration).state is PlatenState.EMPTY
