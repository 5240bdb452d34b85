"""Simulated readers over the printed sheet: a camera of any height, tilt and lens, and a side mirror.

They serve the tests, and the simulations of attacks and of readers that differ. Only the optics that matter are there:
central projection, radial distortion, and the flat mirror.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import TrialsError
from hand_geometry.language import _
from hand_geometry.platen import OUTLINE_HEIGHT_MM, PlatenCalibration, calibrate, with_measured_height
from hand_geometry.platen_sheet import BLOCK_MM, LABEL, PlatenSheet, block_label, draw_sheet, platen_sheet
from hand_geometry.side_mirror import SideMirror
from hand_geometry.synthetic_hand import HEIGHT_PX, SCALE_PX_PER_MM, WIDTH_PX, synthetic_hand

SHEET_PX_PER_MM = 6.0
HALF_DIAGONAL_PX = 0.5 * float(np.hypot(WIDTH_PX, HEIGHT_PX))
# What the mirror gives back of the light.
MIRROR_SHARE = 0.85
# Paper on the sides of the block.
WHITE = 225.0


@dataclass(frozen=True)
class SimulatedLens:
    """A camera over the sheet.

    Attributes:
        height_mm: Lens over platen.
        tilt_deg: About the axis across the hand.
        roll_deg: About the axis along the hand.
        view_mm: What it sees of the platen from left to right.
        k1, k2: Radial distortion, in half diagonals.
        aim_mm: Where it looks, from the middle of the sheet.
        mirror: The side mirror, or None.
    """

    height_mm: float
    tilt_deg: float
    roll_deg: float
    view_mm: float
    k1: float
    k2: float
    aim_mm: tuple[float, float] = (0.0, 0.0)
    mirror: SideMirror | None = None

    @property
    def focal(self) -> float:
        """In half diagonals of the picture."""
        return self.height_mm / self.view_mm * WIDTH_PX / HALF_DIAGONAL_PX

    @property
    def turned(self) -> NDArray[np.float64]:
        """(3, 3): from directions of the camera to those of the sheet."""
        tilt, roll = np.deg2rad(self.tilt_deg), np.deg2rad(self.roll_deg)
        about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
        return np.asarray(about_y @ about_x, dtype=np.float64)

    def foot_mm(self, sheet: PlatenSheet) -> NDArray[np.float64]:
        """(2,) the point of the sheet under the lens; a tilted camera is moved so that it still looks where it aims."""
        middle = np.array([sheet.paper.width_mm, sheet.paper.height_mm]) / 2.0 + np.array(self.aim_mm)
        moved = self.height_mm * np.array([-np.tan(np.deg2rad(self.tilt_deg)), np.tan(np.deg2rad(self.roll_deg))])
        return np.asarray(middle + moved, dtype=np.float64)

    def plane_mm(self, z_mm: float, sheet: PlatenSheet) -> NDArray[np.float32]:
        """(1200, 1600, 2): which point of the plane at that height over the sheet each pixel sees."""
        rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float64)
        half = HALF_DIAGONAL_PX
        bent = np.stack([(columns - (WIDTH_PX - 1) / 2) / half, (rows - (HEIGHT_PX - 1) / 2) / half], axis=-1)
        flat = bent
        for _round in range(12):
            square = (flat**2).sum(axis=-1, keepdims=True)
            flat = bent / (1.0 + self.k1 * square + self.k2 * square**2)
        rays = np.concatenate([flat / self.focal, np.ones((HEIGHT_PX, WIDTH_PX, 1))], axis=-1) @ self.turned.T
        reached = self.foot_mm(sheet) + rays[..., :2] / rays[..., 2:] * (self.height_mm - z_mm)
        return np.asarray(reached, dtype=np.float32)

    def seen_at(self, points_mm: NDArray[np.float64], sheet: PlatenSheet) -> NDArray[np.float64]:
        """(n, 3) mm on the sheet and over it to (n, 2) px."""
        flat = points_mm[:, :2] - self.foot_mm(sheet)
        rays = np.column_stack([flat, self.height_mm - points_mm[:, 2]]) @ self.turned
        lens = rays[:, :2] / rays[:, 2:] * self.focal
        square = (lens**2).sum(axis=1, keepdims=True)
        bent = lens * (1.0 + self.k1 * square + self.k2 * square**2)
        return np.asarray(bent * HALF_DIAGONAL_PX + np.array([WIDTH_PX - 1, HEIGHT_PX - 1]) / 2, dtype=np.float64)


HIGH_AND_WIDE = SimulatedLens(470.0, 3.5, -2.0, 318.0, -0.16, 0.03)
LOW_AND_STRAIGHT = SimulatedLens(390.0, 0.5, 0.8, 302.0, -0.03, 0.0)
# The mirror stands on the little finger's side of a right hand and looks level across it.
MIRROR = SideMirror((148.5, 216.0), (0.0, 1.0), 51.0)
WITH_MIRROR = SimulatedLens(430.0, 0.7, -0.5, 352.0, -0.05, 0.0, (0.0, 22.0), MIRROR)
OTHER_WITH_MIRROR = SimulatedLens(
    470.0, -0.8, 0.9, 356.0, -0.12, 0.02, (3.0, 24.0), SideMirror((148.5, 217.0), (0.0, 1.0), 50.0)
)


@cache
def sheet() -> PlatenSheet:
    """The sheet on which all look."""
    return platen_sheet("a4")


@cache
def _rays(lens: SimulatedLens, z_mm: float) -> NDArray[np.float32]:
    return lens.plane_mm(z_mm, sheet())


@cache
def _printed() -> NDArray[np.uint8]:
    grey = draw_sheet(sheet(), SHEET_PX_PER_MM)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


@cache
def empty_platen_seen(lens: SimulatedLens) -> NDArray[np.uint8]:
    """The sheet alone, (1200, 1600, 3) uint8."""
    at = _rays(lens, 0.0) * np.float32(SHEET_PX_PER_MM) - np.float32(0.5)
    return np.asarray(cv2.remap(_printed(), at[..., 0], at[..., 1], cv2.INTER_AREA, borderValue=(14, 14, 14)), np.uint8)


def block_seen(lens: SimulatedLens, corner_mm: tuple[float, float] = (90.0, 60.0)) -> NDArray[np.uint8]:
    """The label on its block, somewhere on the sheet."""
    label = cv2.cvtColor(draw_sheet(block_label(), SHEET_PX_PER_MM), cv2.COLOR_GRAY2BGR)
    at = (_rays(lens, BLOCK_MM) - np.array(corner_mm, np.float32)) * np.float32(SHEET_PX_PER_MM) - np.float32(0.5)
    seen = cv2.remap(label, at[..., 0], at[..., 1], cv2.INTER_AREA, borderValue=(0, 0, 0))
    inside = (at >= 0).all(axis=-1) & (at[..., 0] < label.shape[1]) & (at[..., 1] < label.shape[0])
    picture = np.where(inside[..., None], np.asarray(seen, np.uint8), empty_platen_seen(lens))
    if lens.mirror is None:
        return picture
    left, top = corner_mm
    right, bottom = left + LABEL.width_mm, top + LABEL.height_mm
    edges = [np.array([[left, y, BLOCK_MM], [right, y, BLOCK_MM]]) for y in (top, bottom)]
    side = _in_mirror(lens, lens.mirror, edges)[..., None]
    return np.asarray(side * np.float32(WHITE * MIRROR_SHARE) + (1.0 - side) * picture, dtype=np.uint8)


def hand_seen(lens: SimulatedLens, identity: int, sample: int, seed: int = 0) -> NDArray[np.uint8]:
    """A synthetic hand lying on the sheet, (1200, 1600, 3) uint8, with grain of the sensor."""
    return laid_seen(lens, synthetic_hand(identity, sample, noise=False), [identity, sample, seed])


def laid_seen(
    lens: SimulatedLens,
    laid: NDArray[np.uint8],
    seed: list[int],
    ridges: list[NDArray[np.float64]] | None = None,
    side_bgr: tuple[float, float, float] = (120.0, 150.0, 205.0),
) -> NDArray[np.uint8]:
    """What lies on the sheet as this camera sees it, (1200, 1600, 3) uint8, with grain of the sensor.

    Args:
        lens: The camera.
        laid: (1200, 1600, 3) uint8 BGR, the thing straight from above at ``SCALE_PX_PER_MM``, on black.
        seed: Of the grain.
        ridges: (n, 3) float64 each: px in ``laid`` and mm of height along the top of each part, for the mirror; a
            fourth column says how high the lower side is.
        side_bgr: The thing's colour from the side.
    """
    corner = _corner_mm().astype(np.float32)
    at = (_rays(lens, OUTLINE_HEIGHT_MM) - corner) * np.float32(SCALE_PX_PER_MM)
    at -= np.float32(0.5)
    hand = cv2.remap(laid, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    bright = (laid.max(axis=2) > 45).astype(np.uint8) * 255
    cover = cv2.remap(bright, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[..., None].astype(np.float32) / 255.0
    mixed = cover * hand + (1.0 - cover) * empty_platen_seen(lens)
    if ridges is not None and lens.mirror is not None:
        on_sheet = [
            np.column_stack([(ridge[:, :2] + 0.5) / SCALE_PX_PER_MM + _corner_mm(), ridge[:, 2:]]) for ridge in ridges
        ]
        side = _in_mirror(lens, lens.mirror, on_sheet)[..., None]
        mixed = side * np.array(side_bgr, np.float32) * np.float32(MIRROR_SHARE) + (1.0 - side) * mixed
    grain = np.random.default_rng(seed).normal(0.0, 2.0, mixed.shape[:2])[..., None]
    return np.asarray(np.clip(mixed + grain, 0, 255), dtype=np.uint8)


def _corner_mm() -> NDArray[np.float64]:
    """(2,) where the upper left corner of a laid picture lies on the sheet."""
    paper = sheet().paper
    return np.array(
        [paper.width_mm - WIDTH_PX / SCALE_PX_PER_MM, (paper.height_mm - HEIGHT_PX / SCALE_PX_PER_MM) / 2.0]
    )


def _in_mirror(lens: SimulatedLens, mirror: SideMirror, ridges_mm: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """(1200, 1600) in 0..1: the side of everything under its ridge, on the sheet and high, down to the platen."""
    drawn = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    for ridge in ridges_mm:
        flat = mirror.along_and_away(ridge[:, :2])
        top = np.column_stack([flat, ridge[:, 2]])
        ground = np.column_stack([flat, ridge[:, 3] if ridge.shape[1] > 3 else np.zeros(len(flat))])[::-1]
        polygon = lens.seen_at(mirror.image_of(np.concatenate([top, ground])), sheet())
        cv2.fillPoly(drawn, [np.rint(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.8).astype(np.float32) / 255.0, dtype=np.float32)


@cache
def calibration_of(lens: SimulatedLens) -> PlatenCalibration:
    """What the camera learns from the empty sheet and from the label on its block, and where the mirror stands."""
    found = calibrate([empty_platen_seen(lens)], sheet())
    raised = found if not isinstance(found, PlatenCalibration) else with_measured_height([block_seen(lens)], found)
    if not isinstance(raised, PlatenCalibration):
        raise TrialsError(_("le lecteur simulé ne peut pas être étalonné : {finding}").format(finding=raised.finding))
    return replace(raised, mirror=lens.mirror)
