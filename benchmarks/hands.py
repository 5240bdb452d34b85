"""The few synthetic people whose hands are laid, with what it takes to enrol them. All of it stays in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkFailed
from benchmarks.language import _
from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import compare, decide
from hand_geometry.image_decoding import decode_image
from hand_geometry.reference import SAMPLES_TO_ENROLL, FailureToEnroll, Reference, make_reference
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand

_PEOPLE_TRIED = 40
_PROBES_TRIED = 4


@dataclass(frozen=True, eq=False)
class BenchHand:
    """One person's hand: enrolled, and once more as it will be laid.

    Attributes:
        picture: JPEG bytes, as the simulated camera sends them.
        image: (H, W, 3) uint8 BGR: `picture` decoded, as the terminal sees it.
    """

    reference: Reference = field(repr=False)
    picture: bytes = field(repr=False)
    image: NDArray[np.uint8] = field(repr=False)


def enrolled_hands(count: int, on_done: Callable[[int], None]) -> list[BenchHand]:
    """`count` people whose laid hand matches their own reference: what is timed is the way of a pupil who passes.

    Raises:
        BenchmarkFailed: too few of the synthetic people can be enrolled and recognized.
    """
    hands: list[BenchHand] = []
    for identity in range(1, _PEOPLE_TRIED + 1):
        hand = _enrolled(identity)
        if hand is not None:
            hands.append(hand)
            on_done(len(hands))
        if len(hands) == count:
            return hands
    raise BenchmarkFailed(_("trop peu de mains synthétiques sont reconnues : voir canteen-evaluate"))


def _enrolled(identity: int) -> BenchHand | None:
    samples: list[Features] = []
    for sample in range(SAMPLES_TO_ENROLL):
        features = acquire(synthetic_hand(identity, sample))
        if isinstance(features, FailureToAcquire):
            return None
        samples.append(features)
    reference = make_reference(samples)
    if isinstance(reference, FailureToEnroll):
        return None
    for sample in range(SAMPLES_TO_ENROLL, SAMPLES_TO_ENROLL + _PROBES_TRIED):
        picture = encode_jpeg(synthetic_hand(identity, sample))
        image = decode_image(picture)
        probe = None if image is None else acquire(image)
        if image is not None and isinstance(probe, Features) and decide(compare(reference, probe)):
            return BenchHand(reference, picture, image)
    return None
