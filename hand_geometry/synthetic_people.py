"""Synthetic people who differ as real ones do, of any age, with rings, sleeves, lamps and lenses of all kinds.

A person is drawn from the mean and the covariance of what was measured on real hands between pegs; the outline is then
built so that it measures as drawn. A child is the same person at the size of its age (``growth_model``). They drive
simulations; no figure got from them is an accuracy. ``canteen-evaluate synthetic`` says how far they are from real
hands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import FittedNumbersError
from hand_geometry.growth_model import ADULT_LENGTH_MM, Sex, growth_pattern, mean_length_mm
from hand_geometry.landmarks import Finger
from hand_geometry.language import _
from hand_geometry.measurements import BEND_STATIONS, FEATURE_NAMES, WIDTH_STATIONS
from hand_geometry.synthetic_hand import (
    ALONG,
    ANGLES_DEG,
    HEIGHT_PX,
    SCALE_PX_PER_MM,
    SKINS_BGR,
    WIDTH_PX,
    Placement,
    cover,
    finger_outline,
    paint,
    pegs_beside,
    smooth_outline,
)
from hand_geometry.synthetic_heights import heights_of, ridges_mm

SPREAD_FILE = Path(__file__).parent / "synthetic_spread.npz"
FINGERS = ("thumb", "index", "middle", "ring", "little")
STEPS = 11
EDGE_PX = 30.0
GAP_MM = 2.0
# Of hand lengths in ANSUR II (4,082 men, 1,986 women), standard deviation of the logarithm within one sex: 0.051 and
# 0.053. Children spread a little more, because they mature at different ages.
CHILD_SPREAD = 0.055
GOLD_BGR = (60.0, 170.0, 210.0)
BANDAGE_BGR = (200.0, 215.0, 225.0)
# Of a finger's length, what a stump stands out by, beside its round end.
STUMP_SHARE = 0.1
THUMB_ROOT = 0.3


@dataclass(frozen=True)
class Look:
    """What differs between pictures besides the hand.

    Attributes:
        spread: How far fingers lie from their usual angles, as a factor of the usual spread.
        ring: On which finger (0 thumb … 4 little) a ring sits, or None.
        missing: Fingers of which only a stump is left.
        bandaged: A finger under a bandage half as wide again, tip and all, or None.
        sleeve_bgr: The colour of a sleeve over the wrist, or None.
        sleeve_mm: How far it reaches from the wrist towards the fingers.
        skin: From 0 (pale) to 1 (dark), or None for the person's own.
        light: Factor on the lamp.
        colour_cast: Factors on blue, green and red.
        barrel: Radial distortion of the lens at the corner, as a part of the distance (positive: barrel).
        blur_px: Standard deviation of a blur.
        noise: Standard deviation of the sensor's noise in grey levels.
    """

    spread: float = 1.0
    ring: int | None = None
    missing: tuple[int, ...] = ()
    bandaged: int | None = None
    sleeve_bgr: tuple[float, float, float] | None = None
    sleeve_mm: float = -12.0
    skin: float | None = None
    light: float = 1.0
    colour_cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    barrel: float = 0.0
    blur_px: float = 0.0
    noise: float = 2.5


PLAIN = Look()
NO_GRAIN = Look(noise=0.0)


@dataclass(frozen=True, eq=False)
class Person:
    """A drawn person: ``values`` (n,) float64 in the order and unit of ``Features.values``."""

    identity: int
    values: NDArray[np.float64] = field(repr=False)
    skin: float


@dataclass(frozen=True, eq=False)
class _Spread:
    """Fitted numbers: ``mean`` (n,), ``factor`` (n, k) with factor @ factor.T the covariance between people, ``pose``
    (n, j) with that of one person's bends between placements, and ``offset`` (n,), by which a drawn outline measures
    other than asked.
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]
    pose: NDArray[np.float64]
    offset: NDArray[np.float64]


@cache
def _spread(path: Path) -> _Spread:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _Spread(*(archive[part].astype(np.float64) for part in ("mean", "factor", "pose", "offset")))
    except (OSError, ValueError, KeyError) as error:
        raise FittedNumbersError(_("{name} : les nombres appris sont illisibles").format(name=path.name)) from error


def save_spread(
    path: Path,
    mean: NDArray[np.float64],
    factor: NDArray[np.float64],
    pose: NDArray[np.float64],
    offset: NDArray[np.float64],
    provenance: dict[str, Any],
) -> None:
    """Writes the numbers as float32, with where they come from."""
    np.savez_compressed(
        path,
        provenance=np.array(json.dumps(provenance, sort_keys=True)),
        mean=mean.astype(np.float32),
        factor=factor.astype(np.float32),
        pose=pose.astype(np.float32),
        offset=offset.astype(np.float32),
    )
    _spread.cache_clear()


def draw_person(identity: int, *, age_years: float | None = None, sex: Sex | None = None) -> Person:
    """The person of this number: grown, or as a child of this age. A person keeps its form and its place among its
    like at every age.
    """
    numbers = _spread(SPREAD_FILE)
    draw = np.random.default_rng([20_30, identity])
    values = numbers.mean + numbers.factor @ draw.standard_normal(numbers.factor.shape[1])
    skin = float(draw.random())
    drawn_sex = Sex.BOY if draw.random() < 0.5 else Sex.GIRL
    if age_years is not None:
        sex = sex or drawn_sex
        grown = float(np.mean(list(ADULT_LENGTH_MM.values())))
        size = np.log(mean_length_mm(sex, age_years) / grown)
        # The set's adults spread in size by both sexes: within one, some of it is taken back and drawn anew.
        values = values + (size + (CHILD_SPREAD - 0.05) * draw.standard_normal()) * growth_pattern()
    return Person(identity, values, skin)


def picture_of(person: Person, sample: int, look: Look = PLAIN) -> NDArray[np.uint8]:
    """One placement between pegs, (1200, 1600, 3) uint8 BGR; the same arguments give the same picture."""
    laid = _laid(person, sample, look)
    to_px, bases, angles, lengths, _ = laid.parts
    coverage = cover([to_px(piece) for piece in laid.pieces])
    mix = (person.skin if look.skin is None else look.skin) * (len(SKINS_BGR) - 1)
    at = min(int(mix), len(SKINS_BGR) - 2)
    skin = (SKINS_BGR[at] * (1 - (mix - at)) + SKINS_BGR[at + 1] * (mix - at)) * np.array(look.colour_cast) * look.light
    pegs = [to_px(point) for point in pegs_beside(bases, angles, float(lengths[2]) / 83.0)]
    image = paint(coverage, [to_px(line) for line in laid.creases], pegs, skin, laid.draw, noise=False)
    return _looked_at(image, person, sample, look, laid.parts)


def ridges_of(person: Person, sample: int, look: Look = PLAIN) -> list[NDArray[np.float64]]:
    """(n, 3) float64 each: px of the same picture and mm of height, along the top of the palm and of every finger."""
    to_px, bases, angles, lengths, half_widths = _laid(person, sample, look).parts
    breadth = 2.0 * float(half_widths[1:, 2:8].mean())
    heights = heights_of(person.identity, sample, breadth, float(lengths[2]))
    ridges = ridges_mm(heights, bases, angles, lengths, half_widths)
    return [np.column_stack([to_px(ridge[:, :2]), ridge[:, 2]]) for ridge in ridges]


@dataclass(frozen=True, eq=False)
class _Laid:
    """One placement before it is painted: outlines in mm, creases, where things lie, and what is drawn from next."""

    pieces: list[NDArray[np.float64]]
    creases: list[NDArray[np.float64]]
    parts: tuple[Any, ...]
    draw: np.random.Generator


def _laid(person: Person, sample: int, look: Look) -> _Laid:
    draw = np.random.default_rng([20_31, person.identity, sample])
    turn, shift = np.deg2rad(draw.normal(0.0, 2.5)), draw.normal(0.0, 12.0, 2)
    usual = np.array([2.5, 1.0, 0.8, 1.0, 1.4])
    angles = np.deg2rad(ANGLES_DEG + look.spread * draw.normal(0.0, usual))
    pressed = np.exp(draw.normal(0.0, 0.006, 5))
    numbers = _spread(SPREAD_FILE)
    # How fingers bend when they are laid down once more.
    posed = np.random.default_rng([20_39, person.identity, sample]).standard_normal(numbers.pose.shape[1])
    values = person.values + numbers.pose @ posed - numbers.offset
    lengths, half_widths, midlines = _fingers(values)
    half_widths = half_widths * pressed[:, None]
    valleys = _valleys(values)
    bases = _bases(valleys, half_widths)
    angles = _parted(angles, bases, lengths, half_widths)
    pieces, creases = [smooth_outline(_palm(valleys, bases, half_widths))], []
    for finger in range(5):
        if finger in look.missing:
            wide = np.full(STEPS, half_widths[finger, 0])
            length = wide[0] + STUMP_SHARE * lengths[finger]
            pieces.append(finger_outline(bases[finger], angles[finger], length, wide)[0])
            continue
        # A thumb turned away would end in a corner beside the palm.
        root = THUMB_ROOT if finger == Finger.THUMB else 1.0
        outline, lines = finger_outline(
            bases[finger], angles[finger], lengths[finger], half_widths[finger], midlines[finger], root
        )
        pieces.append(outline)
        creases += lines
    # Nobody lays the thumb outside the frame: a large hand lies lower.
    highest = float(min(Placement(turn, shift)(piece)[:, 1].min() for piece in pieces))
    to_px = Placement(turn, np.array([shift[0], shift[1] + max(0.0, EDGE_PX - highest)]))
    return _Laid(pieces, creases, (to_px, bases, angles, lengths, half_widths), draw)


def _named(values: NDArray[np.float64], name: str) -> float:
    return float(values[FEATURE_NAMES.index(name)])


def _mm(logarithm: float) -> float:
    return float(np.exp(logarithm)) / SCALE_PX_PER_MM


def _fingers(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lengths (5,), half-widths from base to tip (5, 11) and midlines beside the axes (5, 60), all in mm."""
    lengths, widths, midlines = [], [], []
    for name in FINGERS:
        own = [_mm(_named(values, one)) for one in FEATURE_NAMES if one.startswith(f"{name}_length_")]
        length = float(np.mean(own))
        across = [_mm(_named(values, f"{name}_width_{round(100 * at):02d}")) / 2.0 for at in WIDTH_STATIONS]
        rounded = length - across[0]
        from_tip = (length - np.linspace(0.0, 1.0, STEPS) * rounded) / length
        lengths.append(length)
        widths.append(np.interp(from_tip, WIDTH_STATIONS, across))
        bends = [_named(values, f"{name}_bend_{round(100 * at):02d}") * length for at in BEND_STATIONS]
        midlines.append(_midline(bends, (length - ALONG * rounded) / length))
    return np.array(lengths), np.array(widths), np.array(midlines)


def _midline(bends: list[float], from_tip: NDArray[np.float64]) -> NDArray[np.float64]:
    """The line through what is measured at ``BEND_STATIONS``, from the base on; beyond them it goes on straight."""
    line = np.interp(from_tip, BEND_STATIONS, bends)
    for end, inner in ((0, 1), (-1, -2)):
        slope = (bends[end] - bends[inner]) / (BEND_STATIONS[end] - BEND_STATIONS[inner])
        past = from_tip < BEND_STATIONS[0] if end == 0 else from_tip > BEND_STATIONS[-1]
        line[past] = bends[end] + slope * (from_tip[past] - BEND_STATIONS[end])
    return np.asarray(line - line[0], dtype=np.float64)


def _valleys(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 2) mm from their five distances: thumb and index, index and middle, middle and ring, ring and little."""
    d = {name: _mm(_named(values, f"valley_{name}")) for name in ("im_mr", "mr_rl", "im_rl", "ti_im", "ti_rl")}
    index, little = np.array([102.0, d["im_rl"] / 2.0]), np.array([92.0, -d["im_rl"] / 2.0])
    line = (little - index) / float(np.hypot(*(little - index)))
    little = index + line * d["im_rl"]
    outwards = np.array([-line[1], line[0]]) if -line[1] > 0 else np.array([line[1], -line[0]])

    def beside(one: float, other: float, side: float) -> NDArray[np.float64]:
        along = (one**2 - other**2 + d["im_rl"] ** 2) / (2.0 * d["im_rl"])
        off = float(np.sqrt(max(one**2 - along**2, 0.0)))
        return np.asarray(index + along * line + side * off * outwards, dtype=np.float64)

    return np.stack([beside(d["ti_im"], d["ti_rl"], -1.0), index, beside(d["im_mr"], d["mr_rl"], 1.0), little])


def _bases(valleys: NDArray[np.float64], half_widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2) mm where the fingers' midlines pass their valleys."""
    angles = np.deg2rad(ANGLES_DEG)
    normals = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    return np.stack(
        [
            valleys[0] + normals[0] * half_widths[0, 0],
            valleys[1] + normals[1] * half_widths[1, 0],
            (valleys[1] + valleys[2]) / 2.0,
            (valleys[2] + valleys[3]) / 2.0,
            valleys[3] - normals[4] * half_widths[4, 0],
        ]
    )


def _parted(
    angles: NDArray[np.float64],
    bases: NDArray[np.float64],
    lengths: NDArray[np.float64],
    half_widths: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Turns fingers away from the middle one until they leave ``GAP_MM`` between them: pegs stand there."""
    parted = angles.copy()
    for finger, neighbour, outwards in ((1, 2, 1.0), (3, 2, -1.0), (4, 3, -1.0)):
        gap = float(np.hypot(*(bases[finger] - bases[neighbour])))
        up = np.linspace(8.0, 0.75 * min(lengths[finger], lengths[neighbour]), 20)
        steps = np.linspace(0.0, 1.0, STEPS)
        wide = sum(np.interp(up / lengths[at], steps, half_widths[at]) for at in (finger, neighbour))
        needed = float(np.max(np.arcsin(np.clip((wide + GAP_MM - gap) / up, 0.0, 0.4))))
        parted[finger] += outwards * max(0.0, needed - outwards * (parted[finger] - parted[neighbour]))
    return parted


def _palm(
    valleys: NDArray[np.float64], bases: NDArray[np.float64], half_widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A palm under the valleys: as wide as index and little finger reach, down to the wrist."""
    top, low = bases[1, 1] + half_widths[1, 0], bases[4, 1] - half_widths[4, 0]
    back = [[0.0, -28.0], [-60.0, -27.0], [-60.0, 27.0], [0.0, 28.0], [18.0, 36.0]]
    angle = np.deg2rad(ANGLES_DEG[0])
    axis, normal = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    ball = bases[0] + normal * (half_widths[0, 0] - 0.5) - axis * 14.0
    thumb = [ball.tolist(), (valleys[0] - [4.0, -1.0]).tolist(), [valleys[0, 0] + 4.0, top - 1.0]]
    front = [[valleys[1, 0] - 12.0, top], *(valleys[1:] - [3.0, 0.0]).tolist(), [valleys[3, 0] - 10.0, low]]
    side = [[valleys[3, 0] - 30.0, low - 3.0], [40.0, low - 1.0], [14.0, -34.0]]
    return np.array([*back, *thumb, *front, *side])


def _looked_at(
    image: NDArray[np.uint8], person: Person, sample: int, look: Look, hand: tuple[Any, ...]
) -> NDArray[np.uint8]:
    """Rings, sleeves, lens, blur and noise over the painted picture."""
    to_px, bases, angles, lengths, half_widths = hand
    drawn = image.copy()
    if look.ring is not None:
        at = look.ring
        axis = np.array([np.cos(angles[at]), np.sin(angles[at])])
        normal = np.array([-axis[1], axis[0]])
        middle, wide = bases[at] + axis * 0.28 * lengths[at], half_widths[at, 3] + 0.6
        corners = [middle + a * axis * 1.6 + b * normal * wide for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
        cv2.fillPoly(drawn, [np.rint(to_px(np.array(corners))).astype(np.int32)], GOLD_BGR, cv2.LINE_AA)
    if look.bandaged is not None:
        at = look.bandaged
        wide = np.full(STEPS, 1.5 * float(half_widths[at].mean()))
        start = bases[at] + 0.3 * lengths[at] * np.array([np.cos(angles[at]), np.sin(angles[at])])
        bandage, _ = finger_outline(start, angles[at], 0.76 * lengths[at], wide)
        # It begins where it is wound from, not in the palm.
        bandage[[0, len(bandage) - 1]] = bandage[[1, len(bandage) - 2]]
        cv2.fillPoly(drawn, [np.rint(to_px(bandage)).astype(np.int32)], BANDAGE_BGR, cv2.LINE_AA)
    if look.sleeve_bgr is not None:
        end = look.sleeve_mm
        corners = [[end, -40.0], [end + 3.0, 0.0], [end, 40.0], [-90.0, 44.0], [-90.0, -44.0]]
        cv2.fillPoly(drawn, [np.rint(to_px(np.array(corners))).astype(np.int32)], look.sleeve_bgr, cv2.LINE_AA)
    if look.barrel:
        drawn = _through_lens(drawn, look.barrel)
    if look.blur_px:
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), look.blur_px), dtype=np.uint8)
    if look.noise:
        speckle = np.random.default_rng([20_32, person.identity, sample]).normal(0.0, look.noise, drawn.shape)
        drawn = np.clip(drawn + np.rint(speckle), 0, 255).astype(np.uint8)
    return drawn


def _through_lens(image: NDArray[np.uint8], barrel: float) -> NDArray[np.uint8]:
    """Radial distortion of the second degree about the middle of the picture."""
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    x, y = columns - WIDTH_PX / 2, rows - HEIGHT_PX / 2
    factor = 1.0 + np.float32(barrel) * (x**2 + y**2) / np.float32((WIDTH_PX / 2) ** 2 + (HEIGHT_PX / 2) ** 2)
    warped = cv2.remap(
        image,
        np.asarray(x * factor + WIDTH_PX / 2, dtype=np.float32),
        np.asarray(y * factor + HEIGHT_PX / 2, dtype=np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, dtype=np.uint8)
