"""The timed platen speaks the camera twin's protocol, and knows how long it was looked at."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.timed_platen import TimedPlaten
from hand_geometry.simulated_camera import SimulatedCamera, empty_platen
from hand_geometry.synthetic_hand import encode_png


def test_the_twin_sees_what_was_laid(tmp_path: Path) -> None:
    """A picture while it lies there, the empty platen before and after; a second camera is served after the first."""
    picture = np.full((200, 300, 3), 90, dtype=np.uint8)
    platen = TimedPlaten(tmp_path / "camera.sock")
    try:
        for _ in range(2):
            camera = SimulatedCamera(tmp_path / "camera.sock", production=False)
            frame = camera.capture()
            assert frame is not None
            assert empty_platen().shape == frame.image.shape
            platen.lay(encode_png(picture))
            frame = camera.capture()
            assert frame is not None
            assert np.array_equal(picture, frame.image)
            platen.lift()
            camera.close()
    finally:
        platen.close()
    assert not (tmp_path / "camera.sock").exists()


def test_looked_for_spans_first_question_to_last_answer(tmp_path: Path) -> None:
    """What is taken off a pass: from the first frame since `begin` to the last, and nothing where none was asked."""
    platen = TimedPlaten(tmp_path / "camera.sock")
    camera = SimulatedCamera(tmp_path / "camera.sock", production=False)
    try:
        camera.capture()
        platen.begin()
        assert 0.0 == platen.looked_for_s
        began_s = time.monotonic()
        camera.capture()
        time.sleep(0.05)
        camera.capture()
        while platen.looked_for_s < 0.05:  # noted just after the answer has left
            assert time.monotonic() - began_s < 5
        assert 0.05 <= platen.looked_for_s <= time.monotonic() - began_s
    finally:
        camera.close()
        platen.close()
