"""A calibration as bytes, so that a terminal keeps it over a restart. It shows the bare sheet and no hand.

An ``.npz`` archive without pickled objects: the numbers, and the picture of the bare sheet as PNG.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from tokenize import TokenError

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import CalibrationFormatError
from hand_geometry.image_decoding import decode_image
from hand_geometry.platen import PlatenCalibration
from hand_geometry.side_mirror import SideMirror

VERSION = 2
# As before there were mirrors; read as a reader without one.
WITHOUT_MIRROR = 1
LARGEST_BYTES = 8 * 1024 * 1024
# No sheet has more markers, and no camera more pixels a side.
MOST_MARKERS = 50
LONGEST_SIDE_PX = 16384
# What damaged archives make numpy and zipfile raise.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    IndexError,
    SyntaxError,
    TokenError,
    MemoryError,
    OverflowError,
)


def encode_calibration(calibration: PlatenCalibration) -> bytes:
    """Writes a calibration, a few hundred KiB."""
    done, png = cv2.imencode(".png", calibration.empty)
    if not done:
        raise CalibrationFormatError("the picture of the bare sheet cannot be written")
    height, mirror = calibration.camera_height_mm, calibration.mirror
    built_in = [] if mirror is None else [*mirror.foot_mm, *mirror.outward, mirror.lean_deg, mirror.tall_mm]
    written = io.BytesIO()
    np.savez_compressed(
        written,
        version=np.array(VERSION),
        size_px=np.array(calibration.size_px, dtype=np.int64),
        homography=calibration.homography,
        lens=np.array([calibration.k1, calibration.k2, calibration.residual_px]),
        camera_height_mm=np.array(np.nan if height is None else height),
        mirror=np.array(built_in, dtype=np.float64),
        corners_px=calibration.corners_px,
        contrast=calibration.contrast,
        empty=np.asarray(png, dtype=np.uint8).ravel(),
    )
    return written.getvalue()


def decode_calibration(untrusted_bytes: bytes) -> PlatenCalibration:
    """Reads what ``encode_calibration`` wrote.

    Raises:
        CalibrationFormatError: Anything else was given; the sheet has to be looked at again.
    """
    if len(untrusted_bytes) > LARGEST_BYTES:
        raise CalibrationFormatError("larger than any calibration")
    try:
        with zipfile.ZipFile(io.BytesIO(untrusted_bytes)) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_BYTES:
                raise CalibrationFormatError("larger than any calibration")
        with np.load(io.BytesIO(untrusted_bytes), allow_pickle=False) as arrays:
            return _checked({name: np.asarray(arrays[name]) for name in arrays.files})
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise CalibrationFormatError("not a calibration") from error


def _checked(untrusted: Mapping[str, NDArray[np.generic]]) -> PlatenCalibration:
    if int(_numbers(untrusted, "version", ())) not in (VERSION, WITHOUT_MIRROR):
        raise CalibrationFormatError("a version this program does not know")
    width, height = (int(side) for side in _numbers(untrusted, "size_px", (2,)))
    corners = np.asarray(untrusted["corners_px"], dtype=np.float64)
    count = len(corners)
    if corners.shape != (count, 4, 2) or count > MOST_MARKERS or np.isinf(corners).any():
        raise CalibrationFormatError("markers that no sheet has")
    homography = _numbers(untrusted, "homography", (3, 3))
    k1, k2, residual = (float(one) for one in _numbers(untrusted, "lens", (3,)))
    png = untrusted["empty"]
    empty = decode_image(png.tobytes()) if png.dtype == np.uint8 and png.ndim == 1 else None
    raised = float(np.asarray(untrusted["camera_height_mm"], dtype=np.float64).reshape(()))
    if (
        not 1 <= min(width, height) <= max(width, height) <= LONGEST_SIDE_PX
        or empty is None
        or abs(float(np.linalg.det(homography))) < 1e-12
        or np.isnan(corners).all()
        or not (np.isnan(raised) or 0.0 < raised < 1e5)
    ):
        raise CalibrationFormatError("values that no calibration has")
    return PlatenCalibration(
        (width, height),
        homography,
        k1,
        k2,
        corners,
        _numbers(untrusted, "contrast", (count,)),
        empty,
        residual,
        None if np.isnan(raised) else raised,
        _mirror(untrusted),
    )


def _mirror(untrusted: Mapping[str, NDArray[np.generic]]) -> SideMirror | None:
    if "mirror" not in untrusted or untrusted["mirror"].shape == (0,):
        return None
    x, y, out_x, out_y, lean, tall = (float(one) for one in _numbers(untrusted, "mirror", (6,)))
    if abs(np.hypot(out_x, out_y) - 1.0) > 1e-6 or not 10.0 < lean < 90.0 or not 0.0 < tall < 1e3:
        raise CalibrationFormatError("a mirror that no reader has")
    return SideMirror((x, y), (out_x, out_y), lean, tall)


def _numbers(untrusted: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array of finite numbers of this shape."""
    found = np.asarray(untrusted[name], dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise CalibrationFormatError(f"{name}: not what a calibration has")
    return found
