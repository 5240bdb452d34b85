"""A picture becomes features or a reason, whatever is on it."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire, decode_image
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen
from hand_geometry.simulated_camera import empty_platen
from hand_geometry.synthetic_hand import encode_png, synthetic_hand


def reason_of(image: NDArray[np.uint8], platen: Platen = Platen.DARK) -> QualityReason | None:
    """Why a picture could not be measured, None if it could."""
    acquired = acquire(image, platen)
    return acquired.reason if isinstance(acquired, FailureToAcquire) else None


def test_a_hand_is_measured() -> None:
    """Pins the names and the kind of the features."""
    acquired = acquire(synthetic_hand(2, 0))
    assert isinstance(acquired, Features)
    assert len(acquired.names) == len(acquired.values) == len(set(acquired.names))
    assert acquired.mirrored is False
    assert Platen.DARK is acquired.platen


def test_empty_platen_has_no_hand() -> None:
    """Pins that an empty platen, even a perfectly even one, is not an error."""
    assert QualityReason.NO_HAND == reason_of(empty_platen())
    assert QualityReason.NO_HAND == reason_of(np.zeros((1200, 1600, 3), np.uint8))
    assert QualityReason.NO_HAND == reason_of(np.full((1200, 1600, 3), 255, np.uint8))


def test_wrong_hand_is_said_where_one_is_expected() -> None:
    """Pins that a left palm is told from a right one by its outline alone."""
    left = np.ascontiguousarray(synthetic_hand(2, 0)[::-1])
    acquired = acquire(left)
    assert isinstance(acquired, Features)
    assert acquired.mirrored is True
    assert acquire(left, mirrored=False) == FailureToAcquire(QualityReason.WRONG_HAND)


def test_closed_fingers_are_said() -> None:
    """Pins that two fingers that touch are refused with their reason, never measured as one."""
    image = synthetic_hand(2, 0)
    hand = image[:, :, 2] > 90
    for column in range(420, 900):
        rows = np.nonzero(hand[420:, column])[0] + 420
        steps = np.nonzero(np.diff(rows) > 3)[0]
        # The first gap under the index finger is filled with skin, and so are the shades of both fingers beside it.
        if len(steps):
            image[rows[steps[0]] - 25 : rows[steps[0] + 1] + 25, column] = (120, 150, 205)
    assert QualityReason.FINGERS_CLOSED == reason_of(image)


def test_hand_cut_off_is_said() -> None:
    """Pins that fingertips outside the picture are named as the cause."""
    image = synthetic_hand(2, 0)
    moved = np.full_like(image, 18)
    moved[:, :1100] = image[:, 500:]
    assert QualityReason.HAND_CUT_OFF == reason_of(moved)


@pytest.mark.parametrize("turn", [None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_measured_whichever_way_the_hand_points(turn: int | None) -> None:
    """Pins that the measurements do not depend on where the camera is mounted."""
    image = synthetic_hand(5, 1)
    straight = acquire(image)
    turned = acquire(image if turn is None else np.asarray(cv2.rotate(image, turn), dtype=np.uint8))
    assert isinstance(straight, Features)
    assert isinstance(turned, Features)
    assert 0.01 > float(np.abs(straight.values - turned.values).max())
    assert straight.mirrored is turned.mirrored


def test_silhouette_backlit_and_light_platens() -> None:
    """Pins that each kind of ground has its own segmentation that finds the same hand."""
    image = synthetic_hand(3, 0)
    hand = (image[:, :, 2] > 90).astype(np.uint8) * 255
    hand = np.asarray(cv2.medianBlur(hand, 5), dtype=np.uint8)
    white = np.where(hand[:, :, None] > 0, image, 235).astype(np.uint8)
    assert reason_of(hand, Platen.SILHOUETTE) is None
    assert reason_of(np.asarray(255 - hand, dtype=np.uint8), Platen.BACKLIT) is None
    assert reason_of(white, Platen.LIGHT) is None


@pytest.mark.parametrize("shape", [(3, 3, 3), (160, 1600, 3), (1, 5000), (200, 200, 4), (300, 300, 1), (0, 0, 3)])
def test_pictures_of_odd_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Pins that no array of bytes is resized to something enormous."""
    assert QualityReason.UNREADABLE_IMAGE == reason_of(np.zeros(shape, np.uint8))


def test_garbage_and_bombs_are_no_pictures() -> None:
    """Pins that a header which claims gigabytes is refused before anything is decoded."""
    png = encode_png(np.zeros((200, 200, 3), np.uint8))
    bomb = png[:16] + (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big") + png[24:]
    for untrusted_bytes in (b"", b"hello", png[:40], bomb, b"\xff\xd8" + b"\xff" * 50, b"GIF89a" + bytes(100)):
        assert decode_image(untrusted_bytes) is None


def test_nothing_on_the_terminal_imports_scikit_learn() -> None:
    """Pins the start-up time and the memory of a terminal: scikit-learn takes seconds and 100 MiB."""
    code = "import sys, hand_geometry.acquisition, hand_geometry.comparison; sys.exit('sklearn' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
