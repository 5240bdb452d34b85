"""Cameras and their twins, and waiting for a hand at rest."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.camera import Camera
from hand_geometry.capture import capture_hand
from hand_geometry.capture_device import CaptureDevice, Frame
from hand_geometry.errors import CameraUnavailableError, SimulatedDeviceInProductionError
from hand_geometry.quality import QualityReason
from hand_geometry.recorded_camera import RecordedCamera
from hand_geometry.simulated_camera import FrameServer, SimulatedCamera, empty_platen
from hand_geometry.synthetic_hand import encode_jpeg, encode_png, synthetic_hand


class Clock:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FrameServer]:
    running = FrameServer(tmp_path / "platen.sock")
    running.start()
    yield running
    running.stop()


def captured(device: CaptureDevice, *, timeout_s: float = 2.0) -> Features | FailureToAcquire:
    """One wait for a hand on a clock of its own."""
    clock = Clock()
    return capture_hand(
        device, timeout_s=timeout_s, monotonic=clock, cancelled=lambda: False, pause=lambda _: clock.wait(0.1)
    )


def test_frame_shows_nothing_of_its_picture() -> None:
    """Pins that a frame that reaches a log leaves no pixel there."""
    assert "image" not in repr(Frame(empty_platen(), 1.0))


def test_twins_are_refused_in_production(tmp_path: Path) -> None:
    """Pins that a terminal in service never takes a recording for a hand."""
    with pytest.raises(SimulatedDeviceInProductionError):
        SimulatedCamera(tmp_path / "x", production=True)
    with pytest.raises(SimulatedDeviceInProductionError):
        RecordedCamera(tmp_path, production=True)


def test_what_is_laid_is_seen(server: FrameServer, tmp_path: Path) -> None:
    """Pins the whole twin: empty platen, a hand, empty again, a socket nobody else may open."""
    path = tmp_path / "platen.sock"
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    camera = SimulatedCamera(path, production=False)
    image = synthetic_hand(1, 1)
    empty = camera.capture()
    assert empty is not None
    assert np.array_equal(empty_platen(), empty.image)
    server.lay(encode_png(image))
    frame = camera.capture()
    assert frame is not None
    assert np.array_equal(image, frame.image)
    assert isinstance(captured(camera), Features)
    server.lift()
    assert FailureToAcquire(QualityReason.NO_HAND) == captured(camera)
    camera.close()
    camera.close()


def test_lost_server_is_none_and_then_found_again(tmp_path: Path) -> None:
    """Pins that a dead frame server is a lost device, and that the camera connects again by itself."""
    path = tmp_path / "platen.sock"
    camera = SimulatedCamera(path, production=False)
    assert camera.capture() is None
    assert FailureToAcquire(QualityReason.DEVICE_LOST) == captured(camera)
    for _ in range(2):
        server = FrameServer(path)
        server.start()
        assert camera.capture() is not None
        server.stop()
        assert camera.capture() is None
    camera.close()


def test_garbage_from_the_server_is_no_picture(server: FrameServer, tmp_path: Path) -> None:
    """Pins that bytes which are no picture make the capture fail and the next one work."""
    camera = SimulatedCamera(tmp_path / "platen.sock", production=False)
    server.lay(b"not a picture")
    assert camera.capture() is None
    server.lay(encode_jpeg(synthetic_hand(1, 1)))
    assert camera.capture() is not None
    for refused in (b"", bytes(16 * 1024 * 1024 + 1)):
        with pytest.raises(ValueError, match="MiB"):
            server.lay(refused)
    camera.close()


def test_a_length_over_the_bound_is_not_read(tmp_path: Path) -> None:
    """Pins that a server which claims 4 GiB cannot make the terminal allocate them."""
    path = tmp_path / "evil.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        camera = SimulatedCamera(path, production=False)
        # The answer waits in the buffer before the question is asked: no thread is needed.
        camera._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        camera._connection.connect(str(path))
        other, _ = listener.accept()
        with other:
            other.sendall(b"\xff\xff\xff\xff")
            assert camera.capture() is None
    camera.close()


def test_recording_gives_each_picture_once(tmp_path: Path) -> None:
    """Pins the order of a recording, that a broken picture is a lost frame, and that it ends as a lost device."""
    for sample in range(2):
        (tmp_path / f"{sample}.png").write_bytes(encode_png(synthetic_hand(3, sample)))
    (tmp_path / "2.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    camera = RecordedCamera(tmp_path, production=False)
    for sample in range(2):
        frame = camera.capture()
        assert frame is not None
        assert np.array_equal(synthetic_hand(3, sample), frame.image)
    assert camera.capture() is None
    assert camera.capture() is None
    camera.close()


def test_no_camera_is_an_error_at_the_start() -> None:
    """Pins that a terminal whose camera is missing says so at once."""
    with pytest.raises(CameraUnavailableError):
        Camera("/nowhere/video99")


class Scripted:
    """A device that shows given pictures, the last one for ever."""

    def __init__(self, images: list[NDArray[np.uint8] | None]) -> None:
        self._images = images
        self.asked = 0

    def capture(self) -> Frame | None:
        image = self._images[min(self.asked, len(self._images) - 1)]
        self.asked += 1
        return None if image is None else Frame(image, 0.0)

    def close(self) -> None:
        """Nothing to let go of."""


def test_a_moving_hand_is_waited_for() -> None:
    """Pins that only a hand at rest is measured."""
    device = Scripted([empty_platen(), synthetic_hand(1, 0), synthetic_hand(1, 1), synthetic_hand(1, 2)])
    assert isinstance(captured(device), Features)
    assert 5 == device.asked


def test_a_skipped_frame_is_no_lost_device() -> None:
    """Pins that one missing picture is forgiven."""
    device = Scripted([empty_platen(), None, synthetic_hand(1, 0)])
    assert isinstance(captured(device), Features)


def test_the_reason_is_told_when_the_hand_stays_wrong() -> None:
    """Pins that a pupil hears what is wrong long before the time is over."""
    image = synthetic_hand(2, 0)
    moved = np.full_like(image, 18)
    moved[:, :1100] = image[:, 500:]
    device = Scripted([moved])
    assert FailureToAcquire(QualityReason.HAND_CUT_OFF) == captured(device, timeout_s=60.0)
    assert device.asked < 20


def test_cancelled_ends_the_wait() -> None:
    """Pins that a card presented meanwhile stops the waiting for a hand."""
    clock = Clock()
    device = Scripted([empty_platen()])
    got = capture_hand(
        device, timeout_s=9.0, monotonic=clock, cancelled=lambda: clock() > 101.0, pause=lambda _: clock.wait(0.1)
    )
    assert FailureToAcquire(QualityReason.CANCELLED) == got
