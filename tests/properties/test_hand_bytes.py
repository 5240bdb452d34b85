"""Untrusted bytes, as pictures and as references, give a value or this package's own error, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_geometry.acquisition import decode_image
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.posture import Posture
from hand_geometry.reference import Reference
from hand_geometry.reference_codec import LARGEST_REFERENCE_BYTES, QUANTUM, decode_reference, encode_reference
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_jpeg, encode_png

REFERENCES = st.builds(
    Reference,
    values=st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=64).map(np.array),
    sample_count=st.integers(1, 255),
    platen=st.sampled_from(list(Platen)),
    mirrored=st.booleans(),
    posture=st.sampled_from(list(Posture)),
    numbers_identifier=st.integers(0, 2**32 - 1),
)


@cache
def encoded_picture(jpeg: bool) -> bytes:
    """A small valid picture."""
    image = np.random.default_rng(1).integers(0, 256, (170, 180, 3)).astype(np.uint8)
    return encode_jpeg(image) if jpeg else encode_png(image)


@given(reference=REFERENCES)
def test_references_come_back(reference: Reference) -> None:
    """Pins that every field survives its bytes, the values to half a quantum."""
    encoded = encode_reference(reference)
    assert len(encoded) <= LARGEST_REFERENCE_BYTES
    again = decode_reference(encoded)
    assert float(np.abs(reference.values - again.values).max()) <= QUANTUM / 2
    for name in ("sample_count", "platen", "mirrored", "posture", "numbers_identifier"):
        assert getattr(reference, name) == getattr(again, name)


@given(untrusted_bytes=st.binary(max_size=300))
def test_any_bytes_as_a_reference(untrusted_bytes: bytes) -> None:
    """Pins that bytes are a reference that encodes to the same bytes, or a ReferenceFormatError."""
    try:
        reference = decode_reference(untrusted_bytes)
    except ReferenceFormatError:
        return
    assert untrusted_bytes == encode_reference(reference)


@given(untrusted_bytes=st.binary(max_size=2000))
def test_any_bytes_as_a_picture(untrusted_bytes: bytes) -> None:
    """Pins that bytes which are no picture are None."""
    assert decode_image(untrusted_bytes) is None


@settings(deadline=None)
@given(jpeg=st.booleans(), at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 20_000))
def test_damaged_pictures(jpeg: bool, at: int, value: int, cut: int) -> None:
    """Pins that a picture with a wrong byte or a missing end is a picture or None."""
    damaged = bytearray(encoded_picture(jpeg))
    damaged[at % len(damaged)] = value
    image = decode_image(bytes(damaged[: max(1, len(damaged) - cut)]))
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3)
