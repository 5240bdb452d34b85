"""Two simulated cameras over the same platen: other height, tilt and lens. Only what the tests need of optics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.platen import OUTLINE_HEIGHT_MM, PlatenCalibration, calibrate
from hand_geometry.platen_sheet import PlatenSheet, draw_sheet, platen_sheet
from hand_geometry.synthetic_hand import HEIGHT_PX, SCALE_PX_PER_MM, WIDTH_PX, synthetic_hand

SHEET_PX_PER_MM = 6.0


@dataclass(frozen=True)
class SimulatedLens:
    """A camera over the middle of the sheet.

    Attributes:
        height_mm: Lens over platen.
        tilt_deg: About the axis across the hand.
        roll_deg: About the axis along the hand.
        view_mm: What it sees of the platen from left to right.
        k1, k2: Radial distortion, in half diagonals.
    """

    height_mm: float
    tilt_deg: float
    roll_deg: float
    view_mm: float
    k1: float
    k2: float

    def plane_mm(self, z_mm: float, sheet: PlatenSheet) -> NDArray[np.float32]:
        """(1200, 1600, 2): which point of the plane at that height over the sheet each pixel sees."""
        rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float64)
        half = 0.5 * np.hypot(WIDTH_PX, HEIGHT_PX)
        bent = np.stack([(columns - (WIDTH_PX - 1) / 2) / half, (rows - (HEIGHT_PX - 1) / 2) / half], axis=-1)
        flat = bent
        for _ in range(12):
            square = (flat**2).sum(axis=-1, keepdims=True)
            flat = bent / (1.0 + self.k1 * square + self.k2 * square**2)
        focal = self.height_mm / self.view_mm * WIDTH_PX / half
        rays = np.concatenate([flat / focal, np.ones((HEIGHT_PX, WIDTH_PX, 1))], axis=-1)
        tilt, roll = np.deg2rad(self.tilt_deg), np.deg2rad(self.roll_deg)
        about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
        rays = rays @ (about_y @ about_x).T
        # The tilted camera is moved so that it still looks at the middle.
        eye = -self.height_mm * np.array([np.tan(tilt), -np.tan(roll), 0.0])
        reached = eye[:2] + rays[..., :2] / rays[..., 2:] * (self.height_mm - z_mm)
        middle = np.array([sheet.paper.width_mm, sheet.paper.height_mm]) / 2.0
        return np.asarray(reached + middle, dtype=np.float32)


HIGH_AND_WIDE = SimulatedLens(470.0, 3.5, -2.0, 318.0, -0.16, 0.03)
LOW_AND_STRAIGHT = SimulatedLens(390.0, 0.5, 0.8, 302.0, -0.03, 0.0)


@cache
def sheet() -> PlatenSheet:
    """The sheet on which both look."""
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


def hand_seen(lens: SimulatedLens, identity: int, sample: int, seed: int = 0) -> NDArray[np.uint8]:
    """A synthetic hand lying on the sheet, (1200, 1600, 3) uint8, with grain of the sensor."""
    laid = synthetic_hand(identity, sample, noise=False)
    left_mm = sheet().paper.width_mm - WIDTH_PX / SCALE_PX_PER_MM
    top_mm = (sheet().paper.height_mm - HEIGHT_PX / SCALE_PX_PER_MM) / 2.0
    at = (_rays(lens, OUTLINE_HEIGHT_MM) - np.array([left_mm, top_mm], np.float32)) * np.float32(SCALE_PX_PER_MM)
    at -= np.float32(0.5)
    hand = cv2.remap(laid, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    bright = (laid.max(axis=2) > 45).astype(np.uint8) * 255
    cover = cv2.remap(bright, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[..., None].astype(np.float32) / 255.0
    mixed = cover * hand + (1.0 - cover) * empty_platen_seen(lens)
    grain = np.random.default_rng([identity, sample, seed]).normal(0.0, 2.0, mixed.shape[:2])[..., None]
    return np.asarray(np.clip(mixed + grain, 0, 255), dtype=np.uint8)


@cache
def calibration_of(lens: SimulatedLens) -> PlatenCalibration:
    """What the camera learns from the empty sheet."""
    found = calibrate([empty_platen_seen(lens)], sheet(), camera_height_mm=lens.height_mm)
    assert isinstance(found, PlatenCalibration), found
    return found
