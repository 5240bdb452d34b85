"""A reference as a few bytes: the only form in which a hand is ever stored or sent (sealed by others).

Version 1, big-endian: version (1), flags (1: bit 0 mirrored, bit 1 guided by pegs), platen (1), samples (1), identifier
of the fitted numbers (4), number of values (1), then each value as a signed 16-bit number of 1/256 of the spread
between two pictures of one hand.
"""

from __future__ import annotations

import struct

import numpy as np

from hand_geometry.errors import ReferenceFormatError
from hand_geometry.posture import Posture
from hand_geometry.reference import Reference
from hand_geometry.silhouette import Platen

VERSION = 1
LARGEST_REFERENCE_BYTES = 256
# 1/256 of a standard deviation: nothing that a comparison could notice.
QUANTUM = 1.0 / 256.0
_HEADER = struct.Struct(">BBBBIB")
_PLATENS = (Platen.DARK, Platen.LIGHT, Platen.BACKLIT, Platen.SILHOUETTE)


def encode_reference(reference: Reference) -> bytes:
    """Writes a reference, quantised; at most 256 bytes."""
    quantised = np.clip(np.rint(reference.values / QUANTUM), -32768, 32767).astype(">i2")
    head = _HEADER.pack(
        VERSION,
        int(reference.mirrored) | int(reference.posture is Posture.GUIDED) << 1,
        _PLATENS.index(reference.platen),
        min(reference.sample_count, 255),
        reference.numbers_identifier,
        len(quantised),
    )
    encoded = head + quantised.tobytes()
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
    if version != VERSION:
        raise ReferenceFormatError("a version this program does not know")
    body = untrusted_bytes[_HEADER.size :]
    if flags > 3 or platen >= len(_PLATENS) or samples == 0 or count == 0 or len(body) != 2 * count:
        raise ReferenceFormatError("fields that no reference has")
    values = np.frombuffer(body, dtype=">i2").astype(np.float64) * QUANTUM
    posture = Posture.GUIDED if flags & 2 else Posture.FREE
    return Reference(values, samples, _PLATENS[platen], bool(flags & 1), posture, identifier)
