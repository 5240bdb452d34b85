"""Fitted numbers for heights, beside those for the outline: what a height that does not fit counts against a hand.

They come from simulated people (``height_simulation``): no set of real hands shows a side. So a height never speaks for
anybody. It only counts against: what it adds to the outline's score is cut off at zero, and up to an allowance that
nearly all placements of the right hand keep under it adds nothing. The false match rates of the outline, which were
measured on real hands, so stay upper bounds on a reader with a mirror.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.height_profile import HEIGHT_STATIONS
from hand_geometry.language import _
from hand_geometry.scoring import raw_score

HEIGHT_NUMBERS_FILE = Path(__file__).parent / "height_numbers.npz"
_PARTS = ("mean", "projection", "between")


@dataclass(frozen=True, eq=False)
class HeightNumbers:
    """The discriminant of heights.

    Attributes:
        fitted: As for outlines; its calibration is not used.
        allowance: Raw scores up to this count nothing.
    """

    fitted: FittedNumbers = field(repr=False)
    allowance: float

    @property
    def identifier(self) -> int:
        """Which version a reference's heights were projected with."""
        return self.fitted.identifier

    def against(self, reference: NDArray[np.float64], sample_count: int, heights: NDArray[np.float64]) -> float:
        """What (12,) heights of a probe add to the raw score: 0 or more, in units of a log likelihood ratio."""
        raw = float(raw_score(self.fitted, reference, sample_count, self.fitted.project(heights)))
        return max(0.0, raw - self.allowance)


@cache
def height_numbers(path: Path = HEIGHT_NUMBERS_FILE) -> HeightNumbers:
    """The shipped numbers.

    Raises:
        FittedNumbersError: They are missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in (*_PARTS, "allowance")}
    except (OSError, ValueError, KeyError) as error:
        raise FittedNumbersError(_("{name} : les nombres appris sont illisibles").format(name=path.name)) from error
    if arrays["mean"].shape != (len(HEIGHT_STATIONS),):
        raise FittedNumbersError(
            _("{name} : les nombres appris sont faits pour d’autres hauteurs").format(name=path.name)
        )
    identifier = zlib.crc32(b"".join(arrays[name].tobytes() for name in (*_PARTS, "allowance")))
    mean, projection, between = (arrays[name].astype(np.float64) for name in _PARTS)
    uncalibrated = np.array([[-30.0, -6.0], [30.0, 0.0]])
    fitted = FittedNumbers(mean, projection, between, uncalibrated, identifier=identifier)
    return HeightNumbers(fitted, float(arrays["allowance"]))


def save_height_numbers(path: Path, fitted: FittedNumbers, allowance: float, provenance: dict[str, Any]) -> None:
    """Writes the numbers as float32, with where they come from."""
    np.savez_compressed(
        path,
        provenance=np.array(json.dumps(provenance, sort_keys=True)),
        mean=fitted.mean.astype(np.float32),
        projection=fitted.projection.astype(np.float32),
        between=fitted.between.astype(np.float32),
        allowance=np.array(allowance, dtype=np.float32),
    )
    height_numbers.cache_clear()
