"""Presentation attacks that can be built from pictures, and how often each passes (terms of ISO/IEC 30107-3).

Without a side mirror the comparison looks at the outline alone: whatever has the pupil's outline and is not refused as
another hue passes. With one, what is flat or everywhere as high is refused, and heights that do not fit count against.
These rates say so by kind. A cast of plaster or silicone cannot be built from a picture and is not simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, Threshold, compare, decide
from hand_geometry.errors import TrialsError
from hand_geometry.image_decoding import read_image
from hand_geometry.image_set import read_index
from hand_geometry.language import N_, _
from hand_geometry.performance import Estimate, wilson_interval
from hand_geometry.reference import Reference, make_reference
from hand_geometry.silhouette import Platen, Silhouette, find_silhouette
from hand_geometry.simulated_reader import WITH_MIRROR, SimulatedLens, calibration_of, laid_seen
from hand_geometry.synthetic_people import NO_GRAIN, draw_person, picture_of, ridges_of
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
# Seen from the side: paper, the foam board that somebody cuts because paper is refused, and a glove above and below.
PAPER_MM, FOAM_MM, GLOVE_MM = 0.3, 20.0, 2.0
HELD_MM = (20.0, 50.0, 100.0)

Ridges = list[NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Laid:
    """What lies on the platen: (1200, 1600, 3) uint8 from above, and its ``ridges_of`` where its side is known."""

    image: NDArray[np.uint8] = field(repr=False)
    ridges: Ridges | None = field(default=None, repr=False)

    def from_side(self, image: NDArray[np.uint8] | None, high: Callable[[Ridges], Ridges]) -> Laid | None:
        """Something else in this hand's place, as high as ``high`` makes of its ridges; None where there is none."""
        if image is None:
            return None
        return Laid(image, None if self.ridges is None else high(self.ridges))


class AttackKind(StrEnum):
    """What is laid on the platen."""

    BONA_FIDE = "bona_fide"
    OTHER_HAND = "other_hand"
    PAPER_CUT_OUT = "paper_cut_out"
    PAPER_CUT_OUT_3_PERCENT = "paper_cut_out_3_%_off"
    PRINTED_PHOTO = "printed_photo_cut_out"
    PHOTO_ON_A_SHEET = "photo_on_a_sheet"
    FOAM_CUT_OUT = "foam_board_cut_out"
    FLAT_GLOVE = "own_hand_in_a_glove"
    GLOVED_STRANGER = "stranger_in_a_glove"
    HELD_ABOVE = "stranger_held_above"


KINDS: Mapping[AttackKind, str] = {
    AttackKind.BONA_FIDE: N_("la propre main"),
    AttackKind.OTHER_HAND: N_("la main d’un inconnu"),
    AttackKind.PAPER_CUT_OUT: N_("papier découpé"),
    AttackKind.PAPER_CUT_OUT_3_PERCENT: N_("papier découpé, 3 % trop grand"),
    AttackKind.PRINTED_PHOTO: N_("photo imprimée et découpée"),
    AttackKind.PHOTO_ON_A_SHEET: N_("photo sur une feuille"),
    AttackKind.FOAM_CUT_OUT: N_("carton mousse découpé"),
    AttackKind.FLAT_GLOVE: N_("la propre main dans un gant"),
    AttackKind.GLOVED_STRANGER: N_("la main d’un inconnu dans un gant"),
    AttackKind.HELD_ABOVE: N_("la main d’un inconnu tenue au-dessus"),
}
"""What each kind is called, in French."""


@dataclass(frozen=True)
class AttackRate:
    """How many presentations of a kind were made to how many people's references, measured at all, and accepted."""

    kind: AttackKind
    people: int
    presented: int
    measured: int
    accepted: int

    @property
    def rate(self) -> float:
        """Impostor attack presentation accept rate (for bona fide: the true accept rate)."""
        return self.accepted / self.presented if self.presented else float("nan")

    @property
    def estimate(self) -> Estimate:
        """The same with its interval."""
        return wilson_interval(self.rate, self.people)


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


def simulate_attacks(
    people: int = 20, *, mirror: bool = False, threshold: Threshold = DEFAULT_THRESHOLD
) -> list[AttackRate]:
    """Synthetic people, each enrolled on three placements and attacked with things made of a fourth.

    With ``mirror`` all of it lies on a calibrated reader with a side mirror.
    """
    pictures = [partial(_placements, identity, mirror=mirror) for identity in range(people)]
    return attack_people(pictures, lens=WITH_MIRROR if mirror else None, threshold=threshold)


def attack_set(folder: Path, people: int, *, threshold: Threshold = DEFAULT_THRESHOLD) -> list[AttackRate]:
    """The same with a folder's pictures on a dark ground: of people with more than three, the first ones enroll."""
    paths: dict[str, list[Path]] = {}
    for image in read_index(folder):
        paths.setdefault(image.subject, []).append(image.path)
    able = [own[: PLACEMENTS + 1] for own in paths.values() if len(own) > PLACEMENTS][:people]
    return attack_people([partial(_read, own) for own in able], threshold=threshold)


def attack_people(
    pictures: Sequence[Callable[[], list[Laid]]],
    *,
    lens: SimulatedLens | None = None,
    threshold: Threshold = DEFAULT_THRESHOLD,
) -> list[AttackRate]:
    """Every way against every person; each entry gives a person's enrolment pictures and, last, the one copied."""
    results: dict[AttackKind, list[bool | None]] = {kind: [] for kind in AttackKind}
    attacked = 0
    for at, placements in enumerate(pictures):
        *enrolment, own = placements()
        other = pictures[(at + 1) % len(pictures)]()[-1]
        samples = [_measured(one, lens) for one in enrolment]
        reference = make_reference([one for one in samples if isinstance(one, Features)])
        if not isinstance(reference, Reference):
            continue
        attacked += 1
        for kind, presented in _presentations(own, other):
            results[kind].append(None if presented is None else _accepted(reference, presented, lens, threshold))
    return [
        AttackRate(kind, attacked, len(tries), sum(one is not None for one in tries), sum(one is True for one in tries))
        for kind, tries in results.items()
    ]


def _placements(identity: int, *, mirror: bool) -> list[Laid]:
    person = draw_person(identity)
    if not mirror:
        return [Laid(picture_of(person, sample)) for sample in range(PLACEMENTS + 1)]
    placements = range(PLACEMENTS + 1)
    return [Laid(picture_of(person, at, NO_GRAIN), ridges_of(person, at, NO_GRAIN)) for at in placements]


def _read(paths: Sequence[Path]) -> list[Laid]:
    found = [read_image(path) for path in paths]
    if any(one is None for one in found):
        raise TrialsError(_("{path} : une image n’y est pas lisible").format(path=paths[0].parent))
    return [Laid(one) for one in found if one is not None]


def _presentations(own: Laid, other: Laid) -> list[tuple[AttackKind, Laid | None]]:
    paper, foam, glove = partial(_as_high, mm=PAPER_MM), partial(_as_high, mm=FOAM_MM), partial(_raised, mm=GLOVE_MM)
    prints = [own.from_side(printed_photo(own.image, scale=scale), paper) for scale in PRINT_SCALES]
    above = [
        other.from_side(held_above(other.image, magnified), partial(_raised, mm=mm, held=True))
        for magnified, mm in zip(HEIGHTS, HELD_MM, strict=True)
    ]
    return [
        (AttackKind.BONA_FIDE, own),
        (AttackKind.OTHER_HAND, other),
        (AttackKind.PAPER_CUT_OUT, own.from_side(paper_cut_out(own.image), paper)),
        (AttackKind.PAPER_CUT_OUT_3_PERCENT, own.from_side(paper_cut_out(own.image, scale=1.03), paper)),
        *((AttackKind.PRINTED_PHOTO, one) for one in prints),
        (AttackKind.PHOTO_ON_A_SHEET, own.from_side(photo_on_a_sheet(own.image), paper)),
        (AttackKind.FOAM_CUT_OUT, own.from_side(paper_cut_out(own.image), foam)),
        (AttackKind.FLAT_GLOVE, own.from_side(flat_glove(own.image), glove)),
        (AttackKind.GLOVED_STRANGER, other.from_side(flat_glove(other.image), glove)),
        *((AttackKind.HELD_ABOVE, one) for one in above),
    ]


def _as_high(ridges: Ridges, *, mm: float) -> Ridges:
    return [np.column_stack([ridge[:, :2], np.full(len(ridge), mm)]) for ridge in ridges]


def _raised(ridges: Ridges, *, mm: float, held: bool = False) -> Ridges:
    """Higher by so much; held over the platen, its lower side too."""
    under = mm if held else 0.0
    return [np.column_stack([ridge[:, :2], ridge[:, 2] + mm, np.full(len(ridge), under)]) for ridge in ridges]


def _measured(laid: Laid, lens: SimulatedLens | None) -> Features | FailureToAcquire:
    """What the reader makes of it: straight from above, or through a lens with a side mirror."""
    if lens is None:
        return acquire(laid.image)
    return acquire(laid_seen(lens, laid.image, [20_37], laid.ridges), calibration=calibration_of(lens))


def _accepted(reference: Reference, presented: Laid, lens: SimulatedLens | None, threshold: Threshold) -> bool | None:
    """None where nothing could be measured."""
    acquired = _measured(presented, lens)
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
