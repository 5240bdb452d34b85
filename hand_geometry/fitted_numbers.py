"""The numbers learnt from other people's hands: what differs between people, what differs between two pictures of one.

They are computed by ``fit`` and shipped as ``numbers.npz``; here they are only read, with numpy alone. They hold
covariances over dozens of people and nothing of one person.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.language import _
from hand_geometry.posture import Posture
from hand_geometry.silhouette import Platen

NUMBERS_FILE = Path(__file__).parent / "numbers.npz"


@dataclass(frozen=True, eq=False)
class FittedNumbers:
    """A linear discriminant with its variances, for one posture.

    Attributes:
        mean: (n,) float64, mean of the features over people.
        means: The same for platens whose pictures differ as a whole from those fitted on: another camera or side of the
            hand. How unusual a hand is can only be said against others seen alike.
        projection: (n, k) float64; in the projected space two pictures of one hand differ with unit variance.
        between: (k,) float64, variance between people in the projected space.
        calibration: (m, 2) float64, raw score against log10 of the share of strangers that score as low, rising.
        identifier: Checksum of the above, kept in each reference: numbers fitted anew do not read old references
            wrongly.
        rates: By number of enrolment pictures, what ``calibration`` was replaced by: it may be measured better later
            on, and references stay readable, because it does not count for the identifier.
    """

    mean: NDArray[np.float64] = field(repr=False)
    projection: NDArray[np.float64] = field(repr=False)
    between: NDArray[np.float64] = field(repr=False)
    calibration: NDArray[np.float64] = field(repr=False)
    means: Mapping[Platen, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    identifier: int = 0
    rates: Mapping[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def rates_for(self, sample_count: int) -> NDArray[np.float64]:
        """(m, 2): raw score against log10 of the share of strangers, for references of so many pictures."""
        known = [count for count in self.rates if count <= sample_count]
        return self.rates[max(known)] if known else self.calibration

    @property
    def dimensions(self) -> int:
        """Length of a projected vector."""
        return int(self.projection.shape[1])

    def project(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) or (m, n) features to (k,) or (m, k)."""
        if values.shape[-1] != len(self.mean):
            raise FittedNumbersError(_("les nombres appris sont faits pour d’autres mesures"))
        return np.asarray((values - self.mean) @ self.projection, dtype=np.float64)


def numbers_for(posture: Posture, platen: Platen) -> FittedNumbers:
    """The shipped numbers for a posture, around the mean of hands seen on this platen where it is known."""
    try:
        numbers = load_numbers(NUMBERS_FILE)[posture]
    except KeyError as error:
        raise FittedNumbersError(_("pas de nombres appris pour la pose {posture}").format(posture=posture)) from error
    return replace(numbers, mean=numbers.means[platen]) if platen in numbers.means else numbers


@cache
def load_numbers(path: Path) -> dict[Posture, FittedNumbers]:
    """Reads a file written by ``save_numbers``."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except (OSError, ValueError) as error:
        raise FittedNumbersError(_("{name} : les nombres appris sont illisibles").format(name=path.name)) from error
    numbers: dict[Posture, FittedNumbers] = {}
    for posture in Posture:
        if f"{posture}_mean" in arrays:
            parts = [arrays[f"{posture}_{part}"] for part in ("mean", "projection", "between", "calibration")]
            means = {platen: arrays[name] for platen in Platen if (name := f"{posture}_mean_{platen}") in arrays}
            identifier = zlib.crc32(b"".join(part.tobytes() for part in (*parts, *means.values())))
            mean, projection, between, calibration = (part.astype(np.float64) for part in parts)
            wide = {platen: one.astype(np.float64) for platen, one in means.items()}
            rates = rates_in(arrays, str(posture))
            numbers[posture] = FittedNumbers(mean, projection, between, calibration, wide, identifier, rates)
    return numbers


def rates_in(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[int, NDArray[np.float64]]:
    """The tables of a file by number of enrolment pictures."""
    start = f"{prefix}_rates_"
    return {int(name[len(start) :]): one.astype(np.float64) for name, one in arrays.items() if name.startswith(start)}


def read_provenance(path: Path = NUMBERS_FILE) -> dict[str, Any]:
    """From which sets, of how many people and pictures, and when the numbers were made."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(json.loads(str(archive["provenance"])))
    except (OSError, ValueError, KeyError) as error:
        raise FittedNumbersError(
            _("{name} : rien ne dit d’où viennent les nombres appris").format(name=path.name)
        ) from error


def save_numbers(path: Path, numbers: dict[Posture, FittedNumbers], provenance: dict[str, Any]) -> None:
    """Writes the numbers as float32, with where they come from."""
    arrays: dict[str, NDArray[Any]] = {"provenance": np.array(json.dumps(provenance, sort_keys=True))}
    for posture, fitted in numbers.items():
        for part in ("mean", "projection", "between", "calibration"):
            arrays[f"{posture}_{part}"] = getattr(fitted, part).astype(np.float32)
        for platen, mean in fitted.means.items():
            arrays[f"{posture}_mean_{platen}"] = mean.astype(np.float32)
        arrays |= {f"{posture}_rates_{count}": rates.astype(np.float32) for count, rates in fitted.rates.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own keywords
