"""A reference as a few bytes: the only form in which a hand is ever stored or sent (sealed by others).

Version 1, big-endian: version (1), flags (1: bit 0 mirrored, bit 1 guided by pegs, bit 2 measured in mm), platen (1),
samples (1), identifier of the fitted numbers (4), number of values (1), then each value as a signed 16-bit number of
1/256 of the spread between two pictures of one hand.

Version 2 is written only for a reference with a mask, so that a program that knows no masks refuses it instead of
comparing wrongly: after the same nine bytes come the fingers left out (1: bit 0 the thumb) and the last day (2: days
since 2000-01-01, 0: no end). What has no mask stays version 1, and old references are read as before.

Version 3 is written only for a reference with heights, which has no mask: after the nine bytes come the identifier of
the numbers for heights (4), how many heights (1), the heights, and then the values, all as above.
"""

from __future__ import annotations

import struct
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import ReferenceFormatError
from hand_geometry.mask import MOST_LEFT_OUT, NO_MASK, Mask, fingers_of
from hand_geometry.posture import Posture
from hand_geometry.reference import Heights, Reference
from hand_geometry.silhouette import Platen

VERSION, MASKED_VERSION, RAISED_VERSION = 1, 2, 3
MOST_HEIGHTS = 12
LARGEST_REFERENCE_BYTES = 256
# 1/256 of a standard deviation: nothing that a comparison could notice.
QUANTUM = 1.0 / 256.0
_HEADER = struct.Struct(">BBBBIB")
_MASK = struct.Struct(">BH")
_HEIGHTS = struct.Struct(">IB")
_DAY_ZERO = date(2000, 1, 1)
_PLATENS = (Platen.DARK, Platen.LIGHT, Platen.BACKLIT, Platen.SILHOUETTE)


def encode_reference(reference: Reference) -> bytes:
    """Writes a reference, quantised; at most 256 bytes."""
    if reference.heights is not None and reference.mask.left_out:
        raise ReferenceFormatError("a reference with a mask has no heights")
    quantised = _quantised(reference.values)
    head = _HEADER.pack(
        MASKED_VERSION if reference.mask.left_out else VERSION if reference.heights is None else RAISED_VERSION,
        int(reference.mirrored) | int(reference.posture is Posture.GUIDED) << 1 | int(reference.in_mm) << 2,
        _PLATENS.index(reference.platen),
        min(reference.sample_count, 255),
        reference.numbers_identifier,
        len(reference.values),
    )
    encoded = head + _mask_bytes(reference.mask) + _heights_bytes(reference.heights) + quantised
    if len(encoded) > LARGEST_REFERENCE_BYTES:
        raise ReferenceFormatError("the reference has too many values")
    return encoded


def decode_reference(untrusted_bytes: bytes) -> Reference:
    """Reads what ``encode_reference`` wrote.

    Raises:
        ReferenceFormatError: Anything else was given.
    """
    if not _HEADER.size <= len(untrusted_bytes) <= LARGEST_REFERENCE_BYTES:
        raise ReferenceFormatError("not the length of a reference")
    version, flags, platen, samples, identifier, count = _HEADER.unpack_from(untrusted_bytes)
    if version not in (VERSION, MASKED_VERSION, RAISED_VERSION):
        raise ReferenceFormatError("a version this program does not know")
    body, mask, heights = untrusted_bytes[_HEADER.size :], NO_MASK, None
    if version == MASKED_VERSION:
        mask, body = _mask_of(body[: _MASK.size]), body[_MASK.size :]
    if version == RAISED_VERSION:
        heights, body = _heights_of(body)
    if flags > 7 or platen >= len(_PLATENS) or samples == 0 or count == 0 or len(body) != 2 * count:
        raise ReferenceFormatError("fields that no reference has")
    values = _values(body)
    posture = Posture.GUIDED if flags & 2 else Posture.FREE
    mirrored, in_mm = bool(flags & 1), bool(flags & 4)
    return Reference(values, samples, _PLATENS[platen], mirrored, posture, identifier, mask, heights, in_mm)


def _quantised(values: NDArray[np.float64]) -> bytes:
    if not np.isfinite(values).all():
        raise ReferenceFormatError("values that are no numbers")
    return np.clip(np.rint(values / QUANTUM), -32768, 32767).astype(">i2").tobytes()


def _values(untrusted_bytes: bytes) -> NDArray[np.float64]:
    return np.asarray(np.frombuffer(untrusted_bytes, dtype=">i2").astype(np.float64) * QUANTUM, dtype=np.float64)


def _heights_bytes(heights: Heights | None) -> bytes:
    if heights is None:
        return b""
    if not 0 < len(heights.values) <= MOST_HEIGHTS:
        raise ReferenceFormatError("the reference has too many heights")
    return _HEIGHTS.pack(heights.numbers_identifier, len(heights.values)) + _quantised(heights.values)


def _heights_of(untrusted_bytes: bytes) -> tuple[Heights, bytes]:
    """The heights, and what follows them."""
    if len(untrusted_bytes) < _HEIGHTS.size:
        raise ReferenceFormatError("heights that are cut off")
    identifier, count = _HEIGHTS.unpack_from(untrusted_bytes)
    end = _HEIGHTS.size + 2 * count
    if not 0 < count <= MOST_HEIGHTS or len(untrusted_bytes) < end:
        raise ReferenceFormatError("heights that no reference has")
    return Heights(_values(untrusted_bytes[_HEIGHTS.size : end]), identifier), untrusted_bytes[end:]


def _mask_bytes(mask: Mask) -> bytes:
    if not mask.left_out:
        return b""
    last = 0 if mask.last_day is None else (mask.last_day - _DAY_ZERO).days
    if not 0 <= last <= 65535 or (mask.last_day is not None and last == 0):
        raise ReferenceFormatError("a last day that cannot be written")
    return _MASK.pack(mask.bits, last)


def _mask_of(untrusted_bytes: bytes) -> Mask:
    if len(untrusted_bytes) != _MASK.size:
        raise ReferenceFormatError("a mask that is cut off")
    bits, last = _MASK.unpack(untrusted_bytes)
    fingers = fingers_of(bits)
    if not fingers or bits > 31 or len(fingers) > MOST_LEFT_OUT:
        raise ReferenceFormatError("a mask that no reference has")
    return Mask(fingers, _DAY_ZERO + timedelta(days=last) if last else None)
