"""A hand taken at a station with a side mirror, laid at a terminal with one and at one without, set up as people do.

The people are drawn: what is shown is that the parts fit, not how well heights tell people apart.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from canteen.access_decision import HandStatus
from canteen.hand_policy import HandPolicy
from hand_geometry.height_simulation import mirrored_picture
from hand_geometry.kept_calibration import load_calibration
from hand_geometry.presentation_attacks import PAPER_MM, paper_cut_out
from hand_geometry.quality import QualityReason
from hand_geometry.reference_codec import decode_reference
from hand_geometry.simulated_camera import FrameServer, SimulatedCamera
from hand_geometry.simulated_reader import (
    LOW_AND_STRAIGHT,
    OTHER_WITH_MIRROR,
    WITH_MIRROR,
    SimulatedLens,
    block_seen,
    calibration_of,
    empty_platen_seen,
    laid_seen,
)
from hand_geometry.synthetic_hand import encode_jpeg
from hand_geometry.synthetic_people import NO_GRAIN, draw_person, picture_of, ridges_of
from templates_store.store import StoredReference
from terminal.configuration import read_configuration
from terminal.devices import HandCapture, HandQuestion, PlatenState
from terminal.display.faces import guidance_face
from terminal.main import main
from terminal.verification import HandVerification
from tests.unit.enrollment_station.bench import ADA, NOON, Bench
from tests.unit.terminal.programs import TerminalProgram

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "station").mkdir()
    made = Bench(tmp_path / "station")
    yield made
    made.close()


class Terminal:
    """A terminal's hand reader and what lies on it."""

    def __init__(self, folder: Path, lens: SimulatedLens, server: FrameServer) -> None:
        self.lens, self.server = lens, server
        self.config = TerminalProgram(folder).config
        self.verification: HandVerification | None = None

    def calibrate(self, *options: str) -> int:
        return main(["calibrate", "--config", str(self.config), *options])

    def start(self, camera: Path) -> HandVerification:
        calibration = load_calibration(read_configuration(self.config).calibration)
        self.verification = HandVerification(SimulatedCamera(camera, production=False), time.monotonic, calibration)
        return self.verification

    def seen(self, picture: NDArray[np.uint8]) -> HandCapture:
        assert self.verification is not None
        captures: queue.Queue[HandCapture] = queue.Queue()
        self.server.lay(encode_jpeg(picture))
        self.verification.watch(1, 8.0, captures.put, laid_anew=False)
        return captures.get(timeout=9)


@contextmanager
def terminal_at(folder: Path, lens: SimulatedLens, *options: str, block: bool) -> Iterator[Terminal]:
    """Set up by the command: the sheet, and then the block where there is a mirror."""
    terminal = Terminal(folder, lens, FrameServer(folder / "camera.sock", empty=encode_jpeg(empty_platen_seen(lens))))
    terminal.server.start()
    try:
        assert 0 == terminal.calibrate(*options)
        if block:
            terminal.server.lay(encode_jpeg(block_seen(lens)))
            assert 0 == terminal.calibrate("--block")
            terminal.server.lift()
        terminal.start(folder / "camera.sock")
        yield terminal
    finally:
        if terminal.verification is not None:
            terminal.verification.close()
        terminal.server.stop()


def enrolled(bench: Bench) -> StoredReference:
    """Person 1 at the station, whose page was told of its mirror and shown its block."""
    bench.fill()

    def send(path: str, picture: NDArray[np.uint8]) -> None:
        files = [("image", ("image", encode_jpeg(picture), "image/jpeg"))]
        assert 200 == bench.client.post(path, files=files, headers=bench.bearer).status_code

    send("/api/lecteur/etalonnage?papier=a4&miroir=lower&ecart=6", empty_platen_seen(WITH_MIRROR))
    send("/api/lecteur/bloc", block_seen(WITH_MIRROR))
    bench.consent(ADA)
    images = [encode_jpeg(mirrored_picture(draw_person(1), sample)) for sample in range(3)]
    assert 200 == bench.enroll(ADA, images).status_code
    stored = bench.station.store.reference(ADA, NOON)
    assert isinstance(stored, StoredReference)
    return stored


def answered(terminal: Terminal, reference: StoredReference, capture: HandCapture) -> HandStatus:
    assert capture.features is not None, capture.failure
    assert terminal.verification is not None
    question = HandQuestion(
        reference, capture.features, NOON, NOON.date(), HandPolicy.USUAL, first_try=True, clock_believed=True
    )
    return terminal.verification.compare(question).status


def test_from_the_station_to_both_terminals(bench: Bench, tmp_path: Path) -> None:
    """Heights are in the reference; they are compared where there is a mirror, and paper is told from a hand there."""
    reference = enrolled(bench)
    assert decode_reference(reference.reference).heights is not None
    person = draw_person(1)
    with terminal_at(tmp_path / "a", OTHER_WITH_MIRROR, "--mirror", "lower", "--mirror-gap", "7", block=True) as there:
        assert there.verification is not None
        look = there.verification.look_at_platen()
        assert (PlatenState.EMPTY, True) == (look.state, look.heights)
        own = there.seen(mirrored_picture(person, 7, OTHER_WITH_MIRROR))
        assert own.features is not None
        assert own.features.heights is not None
        assert HandStatus.MATCHED is answered(there, reference, own)
        other = there.seen(mirrored_picture(draw_person(2), 7, OTHER_WITH_MIRROR))
        assert HandStatus.NOT_MATCHED is answered(there, reference, other)
        paper = paper_cut_out(picture_of(person, 3, NO_GRAIN))
        assert paper is not None
        flat = [np.column_stack([one[:, :2], np.full(len(one), PAPER_MM)]) for one in ridges_of(person, 3, NO_GRAIN)]
        refused = there.seen(laid_seen(OTHER_WITH_MIRROR, paper, [1], flat))
        assert (QualityReason.FLAT_THING, None) == (refused.failure, refused.finding)
        # Five flat things and no hand between them: the mirror may be covered, whatever it shows of an empty platen.
        for _ in range(4):
            assert QualityReason.FLAT_THING is there.seen(laid_seen(OTHER_WITH_MIRROR, paper, [1], flat)).failure
        there.server.lift()
        assert PlatenState.MIRROR_BLIND is there.verification.look_at_platen().state
        assert there.seen(mirrored_picture(person, 7, OTHER_WITH_MIRROR)).features is not None
        there.server.lift()
        assert PlatenState.EMPTY is there.verification.look_at_platen().state
        assert "Pose juste ta main" == guidance_face(QualityReason.FLAT_THING).message
    height = str(LOW_AND_STRAIGHT.height_mm)
    with terminal_at(tmp_path / "b", LOW_AND_STRAIGHT, "--height", height, block=False) as plain:
        assert plain.verification is not None
        assert not plain.verification.look_at_platen().heights
        own = plain.seen(laid_seen(LOW_AND_STRAIGHT, picture_of(person, 7, NO_GRAIN), [7]))
        assert own.features is not None
        assert own.features.heights is None
        assert HandStatus.MATCHED is answered(plain, reference, own)


def test_the_mirror_is_looked_at_before_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A smear is told with its place; a hand that lies there is not taken for one."""
    with terminal_at(tmp_path, WITH_MIRROR, "--mirror", "lower", "--mirror-gap", "6", block=True) as terminal:
        assert "Miroir penché de 51" in capsys.readouterr().out
        assert terminal.verification is not None
        calibration = calibration_of(WITH_MIRROR)
        middle = calibration.seen_in_mirror(np.array([[70.0, 60.0, 20.0]]), (1600, 1200))[0]
        smeared = empty_platen_seen(WITH_MIRROR).copy()
        cv2.circle(smeared, (round(float(middle[0])), round(float(middle[1]))), 30, (90, 90, 90), -1)
        terminal.server.lay(encode_jpeg(smeared))
        look = terminal.verification.look_at_platen()
        assert PlatenState.MIRROR_DIRTY is look.state
        assert look.place == pytest.approx((middle[0] / 1600, middle[1] / 1200), abs=0.02)
        terminal.server.lay(encode_jpeg(mirrored_picture(draw_person(1), 0)))
        assert PlatenState.MIRROR_DIRTY is not terminal.verification.look_at_platen().state


def test_what_does_not_fit_is_said_and_nothing_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mirror told along the wrong edge shows no block; a ruler's height and a mirror do not go together."""
    with terminal_at(tmp_path, WITH_MIRROR, "--mirror", "upper", block=False) as terminal:
        assert "poser maintenant le bloc" in capsys.readouterr().out
        terminal.server.lay(encode_jpeg(block_seen(WITH_MIRROR)))
        assert 1 == terminal.calibrate("--block")
        assert "ne se voit pas dans le miroir" in capsys.readouterr().err
        kept = load_calibration(read_configuration(terminal.config).calibration)
        assert kept is not None
        assert not kept.measures_heights
        # The sheet once more: the mirror is not forgotten, a height by ruler is refused, and it goes when that is told.
        terminal.server.lift()
        assert 1 == terminal.calibrate("--height", "430")
        assert "Ce lecteur avait un miroir (bord upper, à 0 mm)" in capsys.readouterr().err
        assert 0 == terminal.calibrate()
        assert "Miroir gardé : bord upper, à 0 mm" in capsys.readouterr().out
        again = load_calibration(read_configuration(terminal.config).calibration)
        assert again is not None
        assert kept.mirror == again.mirror
        assert 0 == terminal.calibrate("--mirror", "none", "--height", "430")
        plain = load_calibration(read_configuration(terminal.config).calibration)
        assert plain is not None
        assert plain.mirror is None
        read_configuration(terminal.config).calibration.write_bytes(b"damaged")
        assert 0 == terminal.calibrate()
        assert "si ce lecteur a un miroir" in capsys.readouterr().out
        for options in (
            ("--mirror", "lower", "--height", "430"),
            ("--mirror", "lower", "--mirror-gap", "-3"),
            ("--mirror-gap", "3"),
        ):
            with pytest.raises(SystemExit):
                terminal.calibrate(*options)
