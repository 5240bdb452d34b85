"""Real pictures on which fingers are painted over down to a stump, as of pupils who lack them.

No set shows hands that lack a finger. What such hands cost is measured on these: enrolled on painted pictures, laid as
painted ones, and tried by strangers who lack the same fingers and by strangers whose hand is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, Seen, acquire, looked_at
from hand_geometry.fit import AcquiredSet, held_out_folds
from hand_geometry.image_decoding import read_image
from hand_geometry.image_set import progress_bar
from hand_geometry.landmarks import Finger
from hand_geometry.mask import Mask
from hand_geometry.masked_numbers import SUPPORTED_MASKS
from hand_geometry.performance import TrialScores
from hand_geometry.quality import QualityReason
from hand_geometry.set_trials import trials_among
from hand_geometry.spoken_names import left_out_by
from hand_geometry.working_picture import WorkingPicture

# Of a finger's length, what is left of it; and how much further the middle of its round end stands out than its sides,
# in half breadths.
STUMP_SHARES = (0.05, 0.15)
ROUND = 0.5
# A finger's soft edge and its shadow on the ground go with it: in px at the working size.
EDGE_PX = 4
GROUND_STEP = 4
# Of a normal distribution: standard deviation over median of the absolute deviations.
MAD_TO_SIGMA = 1.4826

Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Painted:
    """One set under one mask.

    Attributes:
        mask: Which fingers were painted over.
        acquired: Of the painted pictures, in their order; a hand taken for the other hand is a failure.
        folds: Trials of painted pictures against references made of painted ones.
        whole: Impostor trials as in ``folds``, of strangers whose hand is whole.
    """

    mask: Mask
    acquired: list[Features | FailureToAcquire] = field(repr=False)
    folds: list[TrialScores] = field(repr=False)
    whole: list[TrialScores] = field(repr=False)

    def failures(self, *, other_hand: bool) -> int:
        """How many pictures could not be measured, or were taken for the other hand."""
        reasons = [one.reason for one in self.acquired if isinstance(one, FailureToAcquire)]
        return sum((reason is QualityReason.WRONG_HAND) is other_hand for reason in reasons)


def painted_trials(
    measured: AcquiredSet, support: Sequence[AcquiredSet] = (), *, enrolled: int = 3, seeds: int = 2
) -> Iterator[Painted]:
    """Each of ``SUPPORTED_MASKS`` in turn, on numbers fitted on whole hands of other people."""
    for mask in SUPPORTED_MASKS:
        painted: list[Features | FailureToAcquire] = []
        whole: list[Features | FailureToAcquire] = []
        with progress_bar(left_out_by(mask), len(measured.images)) as advance:
            for at, labelled in enumerate(measured.images):
                image = read_image(labelled.path)
                one, other = _both(image, measured, mask, np.random.default_rng([at, mask.bits]))
                painted.append(one)
                whole.append(other)
                advance()
        folds = list(held_out_folds(measured, support, seeds=seeds, mask=mask))
        yield Painted(
            mask,
            painted,
            [trials_among(measured.images, painted, numbers, people, enrolled) for numbers, people in folds],
            [
                trials_among(measured.images, painted, numbers, people, enrolled, probes=whole)
                for numbers, people in folds
            ],
        )


def _both(
    image: Picture | None, measured: AcquiredSet, mask: Mask, draw: np.random.Generator
) -> tuple[Features | FailureToAcquire, Features | FailureToAcquire]:
    """A picture without the fingers, and as it is, measured under the mask."""
    if image is None:
        unreadable = FailureToAcquire(QualityReason.UNREADABLE_IMAGE)
        return unreadable, unreadable
    whole = acquire(image, measured.platen, mask=mask)
    seen = looked_at(WorkingPicture(image), measured.platen)
    if not isinstance(seen, Seen):
        return seen, whole
    painted = acquire(without_fingers(image, seen, mask.left_out, draw), measured.platen, mask=mask)
    if isinstance(painted, Features) and painted.mirrored is not seen.features.mirrored:
        return FailureToAcquire(QualityReason.WRONG_HAND), whole
    return painted, whole


def without_fingers(image: Picture, seen: Seen, fingers: frozenset[Finger], draw: np.random.Generator) -> Picture:
    """The ground painted over these fingers down to a round stump, (H, W, 3) uint8; ``seen`` is what is in ``image``.

    Nothing of neighbours and palm is touched.
    """
    hand = seen.silhouette.mask() > 127
    gone = np.zeros_like(hand)
    for finger in sorted(fingers):
        gone |= _beyond_the_stump(hand, seen, finger, float(draw.uniform(*STUMP_SHARES)))
    size = (image.shape[1], image.shape[0])
    edge = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE_PX + 1, 2 * EDGE_PX + 1))
    near = cv2.dilate(gone.astype(np.uint8), edge) > 0
    kept = cv2.dilate((hand & ~gone).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    over = cv2.resize((near & ~kept).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    painted = np.asarray(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8).copy()
    around = cv2.resize(cv2.dilate(hand.astype(np.uint8), edge), size, interpolation=cv2.INTER_NEAREST)
    # Every so many pixels say as well what the ground is like.
    ground = painted[::GROUND_STEP, ::GROUND_STEP][around[::GROUND_STEP, ::GROUND_STEP] == 0]
    if not len(ground):
        return painted
    usual = np.median(ground, axis=0)
    grain = MAD_TO_SIGMA * np.median(np.abs(ground - usual), axis=0)
    rows, columns = np.nonzero(over)
    share = over[rows, columns, None]
    paint = usual + grain * draw.standard_normal((len(rows), 3))
    mixed = share * paint + (1.0 - share) * painted[rows, columns]
    painted[rows, columns] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return painted


def _beyond_the_stump(hand: NDArray[np.bool_], seen: Seen, finger: Finger, share: float) -> NDArray[np.bool_]:
    """(H, W) where this finger is beyond so much of its length, at the working size."""
    shape = seen.shape.fingers[finger]
    down, across = np.mgrid[0 : hand.shape[0], 0 : hand.shape[1]].astype(np.float64)
    beside, below = across - shape.tip_px[0], down - shape.tip_px[1]
    along = beside * shape.axis[0] + below * shape.axis[1]
    off = (below * shape.axis[0] - beside * shape.axis[1]) / (shape.widths_px[-1] / 2.0)
    # From the nearer valley: what lies beyond hangs on nothing else.
    end = (1.0 - share) * float(seen.shape.lengths_px[finger].min())
    bulge = ROUND * shape.widths_px[-1] / 2.0 * np.maximum(1.0 - off**2, 0.0)
    pieces = (hand & (along < end - bulge)).astype(np.uint8)
    _, labels = cv2.connectedComponents(pieces, connectivity=4)
    inside = shape.tip_px + 0.3 * shape.length_px * shape.axis
    own = labels[round(float(inside[1])), round(float(inside[0]))]
    return np.asarray((labels == own) & (own > 0), dtype=np.bool_)
