"""A calibration read again is the same; anything else is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_geometry.calibration_file import decode_calibration, encode_calibration
from hand_geometry.errors import CalibrationFormatError
from hand_geometry.simulated_reader import WITH_MIRROR, calibration_of


@pytest.fixture(scope="module")
def written() -> bytes:
    return encode_calibration(calibration_of(WITH_MIRROR))


def test_a_calibration_read_again_is_the_same(written: bytes) -> None:
    kept, read = calibration_of(WITH_MIRROR), decode_calibration(written)
    points = np.array([[10.0, 20.0], [800.0, 600.0], [1500.0, 1100.0]])
    assert np.array_equal(read.to_mm(points, (1600, 1200)), kept.to_mm(points, (1600, 1200)))
    assert np.array_equal(read.empty, kept.empty)
    assert np.array_equal(read.corners_px, kept.corners_px, equal_nan=True)
    assert read.mirror == kept.mirror is not None
    assert (read.size_px, read.camera_height_mm) == (kept.size_px, kept.camera_height_mm)


@given(st.data())
def test_damaged_bytes_are_refused_or_read(written: bytes, data: st.DataObject) -> None:
    damaged = bytearray(written)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for untrusted in (bytes(damaged), bytes(damaged[:cut])):
        try:
            decode_calibration(untrusted)
        except CalibrationFormatError:
            pass


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(untrusted: bytes) -> None:
    with pytest.raises(CalibrationFormatError):
        decode_calibration(untrusted)
