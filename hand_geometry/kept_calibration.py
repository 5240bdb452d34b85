"""A calibration on disk, written whole or not at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from hand_geometry.calibration_file import decode_calibration, encode_calibration
from hand_geometry.errors import CalibrationFormatError
from hand_geometry.platen import PlatenCalibration

_log = logging.getLogger("canteen.hand_geometry.kept_calibration")

# It shows the bare sheet and nothing of anybody; whoever calibrates need not be the user the service runs as.
READABLE = 0o644


def load_calibration(path: Path) -> PlatenCalibration | None:
    """The calibration in the file; None where there is none, or none that can be read."""
    try:
        return decode_calibration(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, CalibrationFormatError) as error:
        _log.error("the calibration cannot be read (%s): measure the sheet anew", type(error).__name__)
        return None


def keep_calibration(calibration: PlatenCalibration, path: Path) -> None:
    """Writes it in place of an earlier one; raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(encode_calibration(calibration))
    fresh.chmod(READABLE)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)
