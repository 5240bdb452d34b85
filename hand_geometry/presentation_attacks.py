"""Presentation attacks that can be built from pictures, and how often each passes (terms of ISO/IEC 30107-3).

The comparison looks at the outline alone: whatever has the pupil's outline and is not refused as another hue passes.
These rates say so by kind. A cast of plaster or silicone cannot be built from a picture and is not simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, Threshold, compare, decide
from hand_geometry.errors import TrialsError
from hand_geometry.image_decoding import decode_image
from hand_geometry.image_set import read_index
from hand_geometry.reference import Reference, make_reference
from hand_geometry.silhouette import Platen, Silhouette, find_silhouette
from hand_geometry.synthetic_people import draw_person, picture_of
from hand_geometry.working_picture import WorkingPicture

PLACEMENTS = 3
# Paper under the reader's lamp, and a grey woollen or rubber glove of 1 mm: 6 px at the reader's scale.
PAPER_BGR = (225.0, 228.0, 230.0)
GLOVE_BGR = (120.0, 112.0, 105.0)
GLOVE_PX = 6
# Held 2, 5 and 10 cm over a platen that is 40 cm under the camera.
HEIGHTS = (1.05, 1.14, 1.33)
# A print's colours are flatter and a little wrong in size.
PRINT_SCALES = (0.97, 1.0, 1.03)


class AttackKind(StrEnum):
    """What is laid on the platen."""

    BONA_FIDE = "bona_fide"
    OTHER_HAND = "other_hand"
    PAPER_CUT_OUT = "paper_cut_out"
    PAPER_CUT_OUT_3_PERCENT = "paper_cut_out_3_%_off"
    PRINTED_PHOTO = "printed_photo_cut_out"
    PHOTO_ON_A_SHEET = "photo_on_a_sheet"
    FLAT_GLOVE = "own_hand_in_a_glove"
    GLOVED_STRANGER = "stranger_in_a_glove"
    HELD_ABOVE = "stranger_held_above"


@dataclass(frozen=True)
class AttackRate:
    """How many presentations of a kind were made, measured at all, and accepted."""

    kind: AttackKind
    presented: int
    measured: int
    accepted: int

    @property
    def rate(self) -> float:
        """Impostor attack presentation accept rate (for bona fide: the true accept rate)."""
        return self.accepted / self.presented if self.presented else float("nan")


def hand_in(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Where the hand is, (H, W) uint8 0 to 255, as somebody with scissors would follow it."""
    found = find_silhouette(WorkingPicture(image), Platen.DARK)
    if not isinstance(found, Silhouette):
        return None
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(found.mask(), size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def laid_on(background: NDArray[np.uint8], thing: NDArray[np.uint8], where: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The platen with a flat thing on it, its cut edge softened by the lens."""
    share = cv2.GaussianBlur(where, (0, 0), 1.0).astype(np.float32)[..., None] / 255.0
    return np.asarray(np.rint(background * (1.0 - share) + thing * share), dtype=np.uint8)


def paper_cut_out(image: NDArray[np.uint8], *, scale: float = 1.0) -> NDArray[np.uint8] | None:
    """White paper cut along the outline of a copy at ``scale``."""
    return _flat(image, PAPER_BGR, scale=scale)


def flat_glove(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The hand in a glove that adds 1 mm all around."""
    return _flat(image, GLOVE_BGR, grown_px=GLOVE_PX)


def printed_photo(image: NDArray[np.uint8], *, scale: float = 1.0) -> NDArray[np.uint8] | None:
    """A print of the picture, cut out: flatter colours, and as large as the printer made it."""
    where = hand_in(image)
    if where is None:
        return None
    flat = np.clip(0.8 * image + 30.0, 0, 255)
    return laid_on(_cloth(image), _scaled(flat.astype(np.uint8), scale), _scaled(where, scale))


def photo_on_a_sheet(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A print of the whole picture on a white sheet that covers most of the platen."""
    sheet = np.full_like(image, 228)
    small = _scaled(image, 0.9)
    inside = np.zeros(image.shape[:2], dtype=np.uint8)
    height, width = image.shape[0], image.shape[1]
    inside[height // 10 : -height // 10, width // 10 : -width // 10] = 255
    return laid_on(sheet, small, inside)


def held_above(image: NDArray[np.uint8], magnified: float) -> NDArray[np.uint8]:
    """A hand nearer to the camera: larger, out of focus and shifted against the pegs."""
    larger = _scaled(image, magnified)
    return np.asarray(cv2.GaussianBlur(larger, (0, 0), 8.0 * (magnified - 1.0) + 0.5), dtype=np.uint8)


def simulate_attacks(people: int = 20, *, threshold: Threshold = DEFAULT_THRESHOLD) -> list[AttackRate]:
    """Synthetic people, each enrolled on three placements and attacked with things made of a fourth."""
    pictures = [partial(_placements, identity) for identity in range(people)]
    return attack_people(pictures, threshold=threshold)


def attack_set(folder: Path, people: int, *, threshold: Threshold = DEFAULT_THRESHOLD) -> list[AttackRate]:
    """The same with a folder's pictures on a dark ground: of people with more than three, the first ones enroll."""
    paths: dict[str, list[Path]] = {}
    for image in read_index(folder):
        paths.setdefault(image.subject, []).append(image.path)
    able = [own[: PLACEMENTS + 1] for own in paths.values() if len(own) > PLACEMENTS][:people]
    return attack_people([partial(_read, own) for own in able], threshold=threshold)


def attack_people(
    pictures: Sequence[Callable[[], list[NDArray[np.uint8]]]], *, threshold: Threshold = DEFAULT_THRESHOLD
) -> list[AttackRate]:
    """Every way against every person; each entry gives a person's enrolment pictures and, last, the one copied."""
    results: dict[AttackKind, list[bool | None]] = {kind: [] for kind in AttackKind}
    for at, placements in enumerate(pictures):
        *enrolment, own = placements()
        other = pictures[(at + 1) % len(pictures)]()[-1]
        samples = [acquire(one) for one in enrolment]
        reference = make_reference([one for one in samples if isinstance(one, Features)])
        if not isinstance(reference, Reference):
            continue
        for kind, presented in _presentations(own, other):
            results[kind].append(None if presented is None else _accepted(reference, presented, threshold))
    return [
        AttackRate(kind, len(tries), sum(one is not None for one in tries), sum(one is True for one in tries))
        for kind, tries in results.items()
    ]


def _placements(identity: int) -> list[NDArray[np.uint8]]:
    return [picture_of(draw_person(identity), sample) for sample in range(PLACEMENTS + 1)]


def _read(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    found = [decode_image(path.read_bytes()) if path.is_file() else None for path in paths]
    if any(one is None for one in found):
        raise TrialsError(f"{paths[0].parent}: a picture in it cannot be read")
    return [one for one in found if one is not None]


def _presentations(
    own: NDArray[np.uint8], other: NDArray[np.uint8]
) -> list[tuple[AttackKind, NDArray[np.uint8] | None]]:
    prints = [printed_photo(own, scale=scale) for scale in PRINT_SCALES]
    above = [held_above(other, magnified) for magnified in HEIGHTS]
    return [
        (AttackKind.BONA_FIDE, own),
        (AttackKind.OTHER_HAND, other),
        (AttackKind.PAPER_CUT_OUT, paper_cut_out(own)),
        (AttackKind.PAPER_CUT_OUT_3_PERCENT, paper_cut_out(own, scale=1.03)),
        *((AttackKind.PRINTED_PHOTO, one) for one in prints),
        (AttackKind.PHOTO_ON_A_SHEET, photo_on_a_sheet(own)),
        (AttackKind.FLAT_GLOVE, flat_glove(own)),
        (AttackKind.GLOVED_STRANGER, flat_glove(other)),
        *((AttackKind.HELD_ABOVE, one) for one in above),
    ]


def _accepted(reference: Reference, presented: NDArray[np.uint8], threshold: Threshold) -> bool | None:
    """None where nothing could be measured."""
    acquired = acquire(presented)
    if not isinstance(acquired, Features):
        return None
    return decide(compare(reference, acquired), threshold)


def _cloth(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    draw = np.random.default_rng(20_33)
    return np.clip(18.0 + draw.normal(0.0, 2.5, image.shape), 0, 255).astype(np.uint8)


def _flat(
    image: NDArray[np.uint8], colour: tuple[float, float, float], *, scale: float = 1.0, grown_px: int = 0
) -> NDArray[np.uint8] | None:
    """One even colour in the outline, on the picture's own pegs and cloth."""
    where = hand_in(image)
    if where is None:
        return None
    if grown_px:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown_px + 1, 2 * grown_px + 1))
        where = np.asarray(cv2.dilate(where, disc), dtype=np.uint8)
    draw = np.random.default_rng(20_34)
    thing = np.clip(np.array(colour) + draw.normal(0.0, 3.0, image.shape), 0, 255).astype(np.uint8)
    return laid_on(_without_hand(image, where), thing, _scaled(where, scale))


def _without_hand(picture: NDArray[np.uint8], where: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The platen as it was before: cloth in the hand's place, pegs where they stand."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    gone = cv2.dilate(where, disc)[..., None] > 0
    cloth = np.full_like(picture, 18)
    saturated = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1:2] > 150
    bright = picture.max(axis=2, keepdims=True) > 90
    return np.where(gone & ~(saturated & bright), cloth, picture)


def _scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Larger or smaller about the middle of the picture."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0.0, scale)
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(warped, dtype=np.uint8)
