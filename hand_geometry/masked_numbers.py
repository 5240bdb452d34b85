"""Fitted numbers for hands of which fingers are left out, each calibrated by itself.

A score is log10 of the share of strangers that come as near, whatever is compared: so one threshold keeps one false
match rate, and what a mask costs is paid in rejects. They are shipped as ``masked_numbers.npz``, made by ``fit``;
nothing is computed on a terminal, because two processors may disagree about the sign of a direction.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.fitted_numbers import FittedNumbers, numbers_for, rates_in
from hand_geometry.landmarks import Finger
from hand_geometry.language import _
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.posture import Posture
from hand_geometry.silhouette import Platen

MASKED_NUMBERS_FILE = Path(__file__).parent / "masked_numbers.npz"
# Each finger alone, and neighbours: they are strapped to each other or lie under one plaster.
SUPPORTED_MASKS = (
    *(Mask.without([finger]) for finger in Finger),
    *(Mask.without(pair) for pair in pairwise(Finger)),
)
_PARTS = ("mean", "projection", "between", "calibration")

MaskedNumbers = Mapping[tuple[Posture, int], FittedNumbers]


def numbers_under(posture: Posture, platen: Platen, mask: Mask = NO_MASK) -> FittedNumbers:
    """The shipped numbers for a posture and a mask.

    Raises:
        FittedNumbersError: Numbers for this mask are not shipped.
    """
    if not mask.left_out:
        return numbers_for(posture, platen)
    found = load_masked_numbers(MASKED_NUMBERS_FILE).get((posture, mask.bits))
    if found is None:
        raise FittedNumbersError(_("pas de nombres appris sans ces doigts"))
    return replace(found, mean=found.means[platen]) if platen in found.means else found


@cache
def load_masked_numbers(path: Path) -> MaskedNumbers:
    """Reads a file written by ``save_masked_numbers``."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except (OSError, ValueError) as error:
        raise FittedNumbersError(_("{name} : les nombres appris sont illisibles").format(name=path.name)) from error
    numbers: dict[tuple[Posture, int], FittedNumbers] = {}
    for posture in Posture:
        for mask in SUPPORTED_MASKS:
            prefix = f"{posture}_{mask.bits:02d}"
            if f"{prefix}_mean" not in arrays:
                continue
            parts = [arrays[f"{prefix}_{part}"] for part in _PARTS]
            means = {platen: arrays[name] for platen in Platen if (name := f"{prefix}_mean_{platen}") in arrays}
            identifier = zlib.crc32(b"".join(part.tobytes() for part in (*parts, *means.values())))
            mean, projection, between, calibration = (part.astype(np.float64) for part in parts)
            wide = {platen: one.astype(np.float64) for platen, one in means.items()}
            rates = rates_in(arrays, prefix)
            numbers[posture, mask.bits] = FittedNumbers(mean, projection, between, calibration, wide, identifier, rates)
    return numbers


def save_masked_numbers(path: Path, numbers: MaskedNumbers, provenance: dict[str, Any]) -> None:
    """Writes the numbers as float32, with where they come from."""
    arrays: dict[str, NDArray[Any]] = {"provenance": np.array(json.dumps(provenance, sort_keys=True))}
    for (posture, bits), fitted in numbers.items():
        for part in _PARTS:
            arrays[f"{posture}_{bits:02d}_{part}"] = getattr(fitted, part).astype(np.float32)
        for platen, mean in fitted.means.items():
            arrays[f"{posture}_{bits:02d}_mean_{platen}"] = mean.astype(np.float32)
        for count, rates in fitted.rates.items():
            arrays[f"{posture}_{bits:02d}_rates_{count}"] = rates.astype(np.float32)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own keywords
