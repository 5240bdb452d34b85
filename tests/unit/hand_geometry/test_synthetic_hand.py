"""The synthetic people: deterministic, measurable, and told apart by the same code as real ones."""

from __future__ import annotations

import numpy as np

from hand_geometry.acquisition import Features, decode_image
from hand_geometry.comparison import compare, decide
from hand_geometry.reference import Reference, make_reference
from hand_geometry.synthetic_hand import encode_jpeg, encode_png, synthetic_hand


def test_same_seed_same_picture() -> None:
    """Pins that a demo's pupil looks the same after every start."""
    assert np.array_equal(synthetic_hand(4, 2), synthetic_hand(4, 2))
    assert not np.array_equal(synthetic_hand(4, 2), synthetic_hand(4, 3))
    assert (1200, 1600, 3) == synthetic_hand(4, 2).shape


def test_thirty_people_match_themselves_and_nobody_else(people: list[list[Features]]) -> None:
    """Pins what the demo shows: enrolled on three placements, the same hand passes and every other does not."""
    for owner, samples in enumerate(people):
        reference = make_reference(samples[:3])
        assert isinstance(reference, Reference)
        for visitor, placements in enumerate(people):
            for probe in placements[3:]:
                assert (owner == visitor) == decide(compare(reference, probe)), (owner, visitor)


def test_encoded_pictures_are_decoded_again() -> None:
    """Pins that the demo's bytes are what decode_image takes: PNG without loss, JPEG nearly."""
    image = synthetic_hand(1, 0)
    again = decode_image(encode_png(image))
    assert again is not None
    assert np.array_equal(image, again)
    lossy = decode_image(encode_jpeg(image))
    assert lossy is not None
    assert image.shape == lossy.shape
