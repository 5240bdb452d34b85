"""Synthetic right palms on a dark platen with pegs: the demo's and the tests' people. Never a measure of accuracy.

Lengths and widths are drawn with the means and spreads of adults in ANSUR II (Gordon et al., 2014: hand length 193 and
181 mm, breadth 88 and 78 mm) and the finger proportions of students who measured themselves. The same seed gives the
same picture. They are drawn further apart than people are, so that a demonstration never confuses two; people as they
differ are in ``synthetic_people``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.landmarks import Finger

WIDTH_PX, HEIGHT_PX = 1600, 1200
# An adult's hand fills two thirds of the frame's width, as in the reader.
SCALE_PX_PER_MM = 5.9
WRIST_PX = (1480.0, 650.0)

# Of a hand 187 mm long: where fingers leave the palm (x towards the fingertips from the wrist, y towards the thumb),
# their visible lengths, half-widths along them, and the angle at which they rest between the pegs.
_BASES_MM = np.array([[40.0, 33.0], [97.0, 31.5], [103.0, 10.0], [98.0, -11.5], [86.0, -32.0]])
_LENGTHS_MM = np.array([80.0, 73.0, 83.0, 78.0, 59.0])
ANGLES_DEG = np.array([39.0, 8.5, 0.5, -7.5, -19.0])
# Half-widths in mm at even steps from base to tip; the joints stand out a little, and each finger has its own form.
_HALF_WIDTHS_MM = np.array(
    [
        [12.2, 11.2, 10.4, 10.2, 10.1, 9.9, 9.6, 9.2, 8.6, 7.8, 6.4],
        [9.9, 9.8, 9.6, 9.3, 8.9, 8.3, 7.9, 7.8, 7.6, 7.2, 6.3],
        [9.7, 9.8, 9.9, 9.7, 9.3, 8.9, 8.3, 8.1, 7.9, 7.6, 6.9],
        [9.3, 9.4, 9.4, 9.1, 8.6, 8.1, 7.6, 7.5, 7.3, 7.1, 6.6],
        [8.5, 8.3, 8.1, 7.8, 7.6, 7.2, 7.1, 7.1, 6.8, 6.4, 5.5],
    ]
)
_PALM_MM = np.array(
    [
        [-60.0, 27.0], [0.0, 28.0], [18.0, 36.0], [36.0, 43.0], [56.0, 42.0], [76.0, 40.0], [99.0, 41.0],
        [106.0, 21.0], [106.0, -1.0], [99.0, -22.0], [88.0, -40.5], [70.0, -43.0], [40.0, -42.0], [12.0, -33.0],
        [0.0, -28.0], [-60.0, -27.0],
    ]
)  # fmt: skip
# The shortest index finger over the middle one, against the usual: 157 students differ in it by 0.045, as a logarithm.
# Fingers are drawn further apart than that, and one shorter still would be no hand's.
LEAST_INDEX = float(np.exp(-0.12))
# Where an outline is drawn, from a finger's base to where its round tip begins.
ALONG = np.linspace(0.0, 1.0, 60)
# Fingers of one hand leave at least this between them where they begin; touching ones could not be laid between pegs.
_LEAST_GAP_MM = 4.5
_PEG_COLOURS_BGR = ((190, 90, 30), (30, 210, 220), (190, 90, 30), (110, 150, 20), (190, 90, 30))
# Skin from pale to dark, in BGR; nothing in the measuring may depend on it.
SKINS_BGR = np.array([[160.0, 180.0, 225.0], [120.0, 150.0, 205.0], [95.0, 125.0, 185.0], [60.0, 85.0, 140.0]])
CLOTH_BGR = (20.0, 19.0, 18.0)


@dataclass(frozen=True)
class _Hand:
    """One person's own proportions."""

    scale: float
    breadth: float
    lengths: NDArray[np.float64]
    widths: NDArray[np.float64]
    profiles: NDArray[np.float64]
    bends: NDArray[np.float64]
    bases: NDArray[np.float64]
    skin: NDArray[np.float64]


def _person(identity: int) -> _Hand:
    draw = np.random.default_rng([20_26, identity])
    mean_length, mean_breadth = (193.3, 88.3) if draw.random() < 0.5 else (181.1, 78.2)
    common = draw.standard_normal()
    scale = mean_length / 187.0 * float(np.exp(0.052 * common))
    # Length and breadth of adult hands correlate by 0.58.
    breadth = mean_breadth / 83.0 * float(np.exp(0.049 * (0.58 * common + 0.81 * draw.standard_normal())))
    mix = draw.random()
    at = mix * (len(SKINS_BGR) - 1)
    skin = SKINS_BGR[int(at)] * (1 - at % 1) + SKINS_BGR[min(int(at) + 1, 3)] * (at % 1)
    lengths = np.exp(0.05 * draw.standard_normal(5))
    lengths[Finger.INDEX] = max(lengths[Finger.INDEX], LEAST_INDEX * lengths[Finger.MIDDLE])
    return _Hand(
        scale=scale,
        breadth=breadth,
        lengths=lengths,
        widths=np.exp(0.045 * draw.standard_normal(5)),
        profiles=1.0 + 0.038 * draw.standard_normal(_HALF_WIDTHS_MM.shape),
        bends=1.5 * draw.standard_normal(5),
        bases=draw.standard_normal((5, 2)) * [2.4, 0.7],
        skin=skin,
    )


def synthetic_hand(identity: int, sample: int, *, noise: bool = True) -> NDArray[np.uint8]:
    """A picture of one placement of one person's hand, (1200, 1600, 3) uint8 BGR, fingers to the left, thumb up.

    Args:
        identity: Whose hand; lengths, widths, bends and skin follow from it.
        sample: Which placement; position, turn, spread of the fingers, light and noise follow from it.
        noise: False leaves out the sensor's noise.
    """
    person = _person(identity)
    draw = np.random.default_rng([20_27, identity, sample])
    turn = np.deg2rad(draw.normal(0.0, 2.5))
    shift = draw.normal(0.0, 12.0, 2)
    spread = np.deg2rad(ANGLES_DEG + draw.normal(0.0, [2.5, 1.0, 0.8, 1.0, 1.4]))
    # Soft flesh: the same finger is pressed a little flatter or less so.
    pressed = np.exp(draw.normal(0.0, 0.006, 5))

    along = person.scale
    across = person.breadth
    stretch = np.array([along, across])
    pieces = [smooth_outline(_PALM_MM * stretch)]
    half_widths = _HALF_WIDTHS_MM * across * person.profiles * (person.widths * pressed)[:, None]
    bases = _apart(_BASES_MM * stretch + person.bases, half_widths[:, 0])
    joints: list[NDArray[np.float64]] = []
    for finger in range(5):
        length = _LENGTHS_MM[finger] * along * person.lengths[finger]
        outline, creases = finger_outline(
            bases[finger], spread[finger], length, half_widths[finger], person.bends[finger] * np.sin(np.pi * ALONG)
        )
        pieces.append(outline)
        joints += creases
    to_px = Placement(turn, shift)
    coverage = cover([to_px(piece) for piece in pieces])
    pegs = [to_px(point) for point in pegs_beside(bases, spread, along)]
    return paint(coverage, [to_px(line) for line in joints], pegs, person.skin, draw, noise=noise)


def _apart(bases: NDArray[np.float64], half_widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves index, ring and little finger outwards until their roots leave a gap."""
    moved = bases.copy()
    for finger, neighbour, outwards in ((1, 2, 1.0), (3, 2, -1.0), (4, 3, -1.0)):
        needed = half_widths[finger] + half_widths[neighbour] + _LEAST_GAP_MM
        found = outwards * (moved[finger, 1] - moved[neighbour, 1])
        moved[finger, 1] += outwards * max(0.0, needed - found)
    return moved


def finger_outline(
    base: NDArray[np.float64],
    angle: float,
    length: float,
    half_widths: NDArray[np.float64],
    beside: NDArray[np.float64] | None = None,
    root: float = 1.0,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Outline of one finger in mm and the creases over its joints; it starts inside the palm so that the two join.

    Args:
        base: (2,) where its axis leaves the palm.
        angle: Of the axis.
        length: From there to the tip.
        half_widths: (n,) at even steps from base to tip.
        beside: (60,) how far its midline runs beside the axis at ``ALONG``, towards the thumb; None for straight ones.
        root: How broad its end within the palm is, as a share of its base.
    """
    axis = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-axis[1], axis[0]])
    # The last half-width is the round fingertip.
    rounded = length - half_widths[-1]
    stations = np.linspace(0.0, 1.0, len(half_widths))
    widths = _gentle(stations, half_widths, ALONG)
    middle = base + np.outer(ALONG * rounded, axis)
    if beside is not None:
        middle += np.outer(beside, normal)
    start = (base - 22.0 * axis)[None, :]
    one = np.vstack([start + normal * widths[0] * root, middle + normal * widths[:, None]])
    other = np.vstack([start - normal * widths[0] * root, middle - normal * widths[:, None]])
    arc = np.linspace(np.pi / 2, -np.pi / 2, 24)
    cap = middle[-1] + widths[-1] * (np.outer(np.cos(arc), axis) * 1.15 + np.outer(np.sin(arc), normal))
    creases = [
        np.vstack([middle[at] + normal * widths[at] * 0.8, middle[at] - normal * widths[at] * 0.8])
        for at in (4, 24, 26, 42)
    ]
    return np.vstack([one, cap, other[::-1]]), creases


def _gentle(at: NDArray[np.float64], values: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth line near the given values."""
    coefficients = np.polynomial.polynomial.polyfit(at, values, 8)
    return np.asarray(np.polynomial.polynomial.polyval(wanted, coefficients), dtype=np.float64)


def smooth_outline(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds a polygon by cutting its corners three times (G. Chaikin, 1974)."""
    points = corners
    for _ in range(3):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points


class Placement:
    """From the hand's own mm to px: the fingers point left and the thumb up."""

    def __init__(self, turn: float, shift_px: NDArray[np.float64]) -> None:
        cosine, sine = np.cos(turn), np.sin(turn)
        self._matrix = -SCALE_PX_PER_MM * np.array([[cosine, -sine], [sine, cosine]])
        self._offset = np.array(WRIST_PX) + shift_px

    def __call__(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(points_mm @ self._matrix.T + self._offset, dtype=np.float64)


def cover(polygons: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """How much of each pixel is hand, (H, W) in 0..1; blurring and cutting again rounds the webs of the fingers."""
    drawn = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    for polygon in polygons:
        cv2.fillPoly(drawn, [np.rint(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(drawn, (0, 0), 5.0).astype(np.float32)
    return np.asarray(np.clip((soft - np.float32(127.5)) * np.float32(12.0 / 255.0) + np.float32(0.5), 0.0, 1.0))


def pegs_beside(bases: NDArray[np.float64], angles: NDArray[np.float64], scale: float) -> list[NDArray[np.float64]]:
    """Pegs stand where neighbouring fingers part, one beside the thumb and one beside the index."""
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    thumb = bases[0] + axes[0] * 62.0 * scale - np.array([-axes[0][1], axes[0][0]]) * 13.0
    index = bases[1] + axes[1] * 14.0 * scale + np.array([-axes[1][1], axes[1][0]]) * 13.5
    between = [(bases[at] + bases[at + 1]) / 2.0 + (axes[at] + axes[at + 1]) * 13.0 * scale for at in (1, 2, 3)]
    return [thumb, index, *between]


def paint(
    coverage: NDArray[np.float32],
    creases: list[NDArray[np.float64]],
    pegs: list[NDArray[np.float64]],
    skin: NDArray[np.float64],
    draw: np.random.Generator,
    *,
    noise: bool,
) -> NDArray[np.uint8]:
    """Light, skin, cloth, pegs and the sensor."""
    # Light, shade and blotches vary slowly: they are made on a quarter of the grid.
    height, width = HEIGHT_PX // 4, WIDTH_PX // 4
    rows = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    gain, tilt_rows, tilt_columns = draw.normal(1.0, 0.04), draw.normal(0.0, 0.04), draw.normal(0.0, 0.04)
    light = gain * (1.0 - 0.10 * (rows**2 + columns**2) + tilt_rows * rows + tilt_columns * columns)
    # Round flesh is darker where it turns away from the lamp.
    small = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_AREA)
    shade = 0.62 + 0.38 * np.clip((cv2.GaussianBlur(small, (0, 0), 5.0) - 0.45) / 0.5, 0.0, 1.0)
    grain = draw.normal(0.0, 1.0, (15, 20)).astype(np.float32)
    blotches = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    body = np.asarray(light * shade * (1.0 + 0.025 * blotches), dtype=np.float32)
    lines = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    for line in creases:
        ends = [(round(16 * float(x)), round(16 * float(y))) for x, y in line]
        cv2.line(lines, ends[0], ends[1], 255, 3, cv2.LINE_AA, shift=4)
    lines = np.asarray(cv2.GaussianBlur(lines, (0, 0), 2.0), dtype=np.uint8)
    flesh = cv2.resize(body, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    flesh = coverage * flesh * (1.0 - np.float32(0.18 / 255.0) * lines)
    cloth = (1.0 - coverage) * cv2.resize(light.astype(np.float32), (WIDTH_PX, HEIGHT_PX))
    picture = np.asarray(
        cv2.merge([flesh * np.float32(skin[i]) + cloth * np.float32(CLOTH_BGR[i]) for i in range(3)]), dtype=np.float32
    )
    for (x, y), colour in zip(pegs, _PEG_COLOURS_BGR, strict=True):
        centre = (round(16 * float(x)), round(16 * float(y)))
        cv2.circle(picture, centre, 16 * 17, colour, cv2.FILLED, cv2.LINE_AA, shift=4)
        glint = (centre[0] - 64, centre[1] - 64)
        cv2.circle(picture, glint, 16 * 4, (235, 235, 235), cv2.FILLED, cv2.LINE_AA, shift=4)
    painted = np.asarray(cv2.GaussianBlur(cv2.convertScaleAbs(picture), (3, 3), 0.8), dtype=np.uint8)
    if noise:
        speckle = np.empty((HEIGHT_PX, WIDTH_PX, 3), dtype=np.int16)
        cv2.setRNGSeed(int(draw.integers(1, 2**31 - 1)))
        cv2.randn(speckle, np.zeros(3), np.full(3, 2.5))
        painted = np.asarray(cv2.add(painted, speckle, dtype=cv2.CV_8U), dtype=np.uint8)
    return painted


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """The picture as PNG bytes."""
    return _encode(".png", image, [])


def encode_jpeg(image: NDArray[np.uint8], quality: int = 92) -> bytes:
    """The picture as JPEG bytes."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    done, encoded = cv2.imencode(suffix, image, options)
    if not done:
        raise ValueError("the picture cannot be encoded")
    return bytes(encoded.tobytes())
