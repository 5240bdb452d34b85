"""What the camera learns from the platen's sheet: from pixels to mm, whatever its height, tilt and lens; a self-test.

A plane seen through a lens is a homography followed by radial distortion. Both are fitted at once to the corners of all
markers (Levenberg and Marquardt), so that measurements are in mm and a reference made on one reader holds on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.camera_place import camera_foot, height_over
from hand_geometry.platen_sheet import BLOCK_MM, DICTIONARY, PlatenSheet, block_label
from hand_geometry.side_mirror import SideMirror
from hand_geometry.working_picture import NOMINAL_SIDE_PX, at_working_size, is_picture

# Fewer markers do not hold ten unknowns against the noise of a corner.
FEWEST_MARKERS = 6
FEWEST_ON_BLOCK = 3
# The middle of a hand's outline lies this far above the platen: half the thickness of fingers and palm.
OUTLINE_HEIGHT_MM = 8.0
# Measurements in mm are given in px of a camera in which an adult's hand fills the picture, as in the sets fitted on.
NOMINAL_PX_PER_MM = 5.9
# A corner further from where the fit expects it, in px at 1600, was no corner.
LARGEST_RESIDUAL_PX = 3.0
# The self-test's limits: markers that moved by a pixel shift a length by less than the skin does.
MOVED_PX = 2.5
COVERED_SHARE = 0.3
LEAST_CONTRAST = 0.55
# Grey levels within which a pixel still shows the bare sheet: skin differs from white by more in blue.
BARE_DIFFERENCE = 45
# As dark as the sheet under the reader's lamp.
PLATEN_GREY = 16
ITERATIONS = 25


class SheetFinding(StrEnum):
    """What is wrong with the sheet before service."""

    NOT_SEEN = "sheet_not_seen"
    MOVED = "sheet_moved"
    DIRTY = "sheet_dirty"
    COVERED = "sheet_covered"
    MIRROR_NOT_SEEN = "mirror_not_seen"
    MIRROR_DIRTY = "mirror_dirty"


@dataclass(frozen=True)
class SheetFault:
    """One finding and where it is: x and y in 0..1 of the picture."""

    finding: SheetFinding
    x: float
    y: float


# Squares of lens coordinates from the picture's middle to its corners.
_FAR = np.linspace(0.0, 1.0, 1025)


@dataclass(frozen=True, eq=False)
class PlatenCalibration:
    """From pixels to mm on the platen.

    Attributes:
        size_px: Width and height of the pictures it was made from; others are scaled to it.
        homography: (3, 3) float64, from mm on the sheet to lens coordinates: half diagonals from the picture's centre.
        k1, k2: Radial distortion in those coordinates.
        corners_px: (n, 4, 2) float64, where the markers were seen; NaN where one was not.
        contrast: (n,) float64, grey levels between white and black of each marker.
        empty: (H, W, 3) uint8, the bare sheet at the working size; it shows no hand.
        residual_px: Root mean square of what the fit leaves.
        camera_height_mm: Lens over platen, where it is known; the outline of a hand lies a little above the sheet.
        mirror: The side mirror, where the reader has one; it needs the camera's height.
    """

    size_px: tuple[int, int]
    homography: NDArray[np.float64] = field(repr=False)
    k1: float
    k2: float
    corners_px: NDArray[np.float64] = field(repr=False)
    contrast: NDArray[np.float64] = field(repr=False)
    empty: NDArray[np.uint8] = field(repr=False)
    residual_px: float
    camera_height_mm: float | None = None
    mirror: SideMirror | None = None

    @property
    def measures_heights(self) -> bool:
        """Whether hands are seen from their side; a mirror says nothing until the camera's height is known."""
        return self.mirror is not None and self.camera_height_mm is not None

    def fits(self, image: NDArray[np.generic]) -> bool:
        """Whether a picture has the shape of those it was made from, in any size: else mm would be wrong in silence."""
        (width, height), (tall, wide) = self.size_px, image.shape[:2]
        # A side may be rounded by a pixel.
        return bool(abs(wide * height - tall * width) <= max(width, height))

    @property
    def px_per_mm(self) -> float:
        """Scale in the middle of the picture."""
        middle = np.array(self.size_px) / 2.0
        step = np.array([[-4.0, 0.0], [4.0, 0.0]])
        one, other = self.to_mm(middle + step, self.size_px)
        return 8.0 / float(np.hypot(*(one - other)))

    def to_mm(self, points_px: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) px in a picture of (width, height) to mm on the platen, of what lies as high as a hand's outline."""
        return _through(self._to_outline, self._without_lens(points_px, size_px))

    def on_the_sheet(self, points_px: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) px to mm, of what lies flat on the sheet."""
        return _through(self._to_sheet, self._without_lens(points_px, size_px))

    def _without_lens(self, points_px: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) px to lens coordinates as a lens that bends nothing would show them."""
        width, height = size_px
        half = 0.5 * float(np.hypot(width, height))
        bent = (points_px - (np.array([width, height]) - 1.0) / 2.0) / half
        x, y = bent.T
        far = x * x + y * y
        within = float(far.max(initial=0.0)) <= 1.0
        wider = np.interp(far, _FAR, self._widths_within) if within else self._widths(far)
        bent /= wider[:, None]
        return bent

    def _widths(self, far: NDArray[np.float64]) -> NDArray[np.float64]:
        """By which factor the lens moves what it shows at these squares of lens coordinates, (n,)."""
        # The distortion has no closed inverse; ten steps leave less than a thousandth of a pixel.
        wider = np.ones_like(far)
        for _ in range(10):
            square = far / (wider * wider)
            wider = np.maximum(1.0 + square * (self.k1 + self.k2 * square), 0.2)
        return wider

    @cached_property
    def _widths_within(self) -> NDArray[np.float64]:
        """The same at ``_FAR``: all that can be in the picture, a line from one to the next."""
        return self._widths(_FAR)

    @cached_property
    def _to_sheet(self) -> NDArray[np.float64]:
        """(3, 3), from lens coordinates to mm on the sheet."""
        return np.asarray(np.linalg.inv(self.homography), dtype=np.float64)

    @cached_property
    def _to_outline(self) -> NDArray[np.float64]:
        """(3, 3), the same to mm of what lies as high as a hand's outline, which is seen further out than it lies."""
        if self.camera_height_mm is None:
            return self._to_sheet
        nearer = OUTLINE_HEIGHT_MM / self.camera_height_mm
        drawn_in = np.diag([1.0 - nearer, 1.0 - nearer, 1.0])
        drawn_in[:2, 2] = nearer * self.foot_mm
        return drawn_in @ self._to_sheet

    @cached_property
    def foot_mm(self) -> NDArray[np.float64]:
        """(2,) the point of the sheet under the lens, whose height must be known."""
        if self.camera_height_mm is None:
            raise ValueError("the camera's height is not known")
        return camera_foot(self.homography, self.camera_height_mm)

    def seen_in_mirror(self, points_mm: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 3) mm along the mirror, away from it and high, to (n, 2) px where the mirror shows them."""
        if self.mirror is None:
            raise ValueError("this reader has no mirror")
        return self.seen_at(self.mirror.image_of(points_mm), size_px)

    def seen_at(self, points_mm: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 3) mm on the sheet and over it to (n, 2) px in a picture of that size."""
        foot_x, foot_y = self.foot_mm
        high = self.camera_height_mm
        # What rises is seen where the ray through it meets the sheet, further from the point under the lens.
        onto_sheet = np.array([(high, 0, -foot_x, 0), (0, high, -foot_y, 0), (0, 0, -1, high)], dtype=np.float64)
        lens = _bent(_through(self.homography @ onto_sheet, points_mm), self.k1, self.k2)
        width, height = size_px
        return np.asarray(lens * (0.5 * np.hypot(width, height)) + (np.array([width, height]) - 1.0) / 2.0, np.float64)

    def to_nominal(self, points_px: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) px in a picture of that size to px at that size as the nominal camera would see them."""
        return self.to_mm(points_px, size_px) * _nominal_px_per_mm(size_px)

    def from_nominal(self, points_px: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) px as ``to_nominal`` gives them to mm on the platen."""
        return points_px / _nominal_px_per_mm(size_px)


def _nominal_px_per_mm(size_px: tuple[int, int]) -> float:
    return NOMINAL_PX_PER_MM * max(size_px) / NOMINAL_SIDE_PX


def calibrate(
    frames: Sequence[NDArray[np.uint8]], sheet: PlatenSheet, *, camera_height_mm: float | None = None
) -> PlatenCalibration | SheetFault:
    """Fits the calibration to pictures of the empty sheet, all from the same camera; corners are averaged over them."""
    seen = [_markers(frame, len(sheet.markers)) for frame in frames if is_picture(frame)]
    if len(seen) < max(1, len(frames)) or len({frame.shape[:2] for frame in frames}) != 1:
        return SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)
    with np.errstate(invalid="ignore"):
        stacked = np.stack([corners for corners, _ in seen])
        known = ~np.isnan(stacked).any(axis=(2, 3))
        counts = known.sum(axis=0)
        corners = np.where(np.isnan(stacked), 0.0, stacked).sum(axis=0) / np.maximum(counts, 1)[:, None, None]
        contrast = np.stack([levels for _, levels in seen]).max(axis=0)
    corners[counts == 0] = np.nan
    found = counts > 0
    height, width = frames[0].shape[:2]
    if int(found.sum()) < FEWEST_MARKERS:
        return SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)
    half = 0.5 * float(np.hypot(width, height))
    lens = (corners[found].reshape(-1, 2) - (np.array([width, height]) - 1.0) / 2.0) / half
    fitted, residual = _fit(sheet.markers[found].reshape(-1, 2), lens)
    if residual * half * NOMINAL_SIDE_PX / max(width, height) > LARGEST_RESIDUAL_PX:
        return SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)
    homography = np.asarray(np.append(fitted[:8], 1.0).reshape(3, 3), dtype=np.float64)
    k1, k2 = float(fitted[8]), float(fitted[9])
    return PlatenCalibration(
        (width, height),
        homography,
        k1,
        k2,
        corners,
        contrast,
        at_working_size(frames[-1]),
        residual * half,
        camera_height_mm,
    )


def with_measured_height(
    frames: Sequence[NDArray[np.uint8]], calibration: PlatenCalibration, *, block_mm: float = BLOCK_MM
) -> PlatenCalibration | SheetFault:
    """The calibration with the camera's height, from pictures of the label on its block, anywhere on the sheet."""
    for frame in frames:
        points, printed = _label(frame, calibration)
        found = height_over(points, printed, block_mm) if len(points) >= 4 * FEWEST_ON_BLOCK else None
        if found is not None:
            return replace(calibration, camera_height_mm=found)
    return SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)


def label_seen(
    frame: NDArray[np.uint8], calibration: PlatenCalibration, *, block_mm: float = BLOCK_MM
) -> NDArray[np.float64] | None:
    """(n, 2) mm: over which points of the sheet the corners of the label's markers lie, on its block."""
    points, _ = _label(frame, calibration)
    if len(points) < 4 * FEWEST_ON_BLOCK or calibration.camera_height_mm is None:
        return None
    foot, nearer = calibration.foot_mm, 1.0 - block_mm / calibration.camera_height_mm
    return np.asarray(foot + (points - foot) * nearer, dtype=np.float64)


def _label(frame: NDArray[np.uint8], calibration: PlatenCalibration) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) mm each: where the label's corners are seen, as if they lay on the sheet, and where they are printed."""
    label = block_label()
    if not is_picture(frame) or not calibration.fits(frame):
        return np.empty((0, 2)), np.empty((0, 2))
    corners, _ = _markers(frame, len(label.markers), label.first)
    seen = ~np.isnan(corners).any(axis=(1, 2))
    height, width = frame.shape[:2]
    points = calibration.on_the_sheet(corners[seen].reshape(-1, 2), (width, height))
    return points, label.markers[seen].reshape(-1, 2)


def without_mirror(image: NDArray[np.uint8], calibration: PlatenCalibration) -> NDArray[np.uint8]:
    """A copy of the picture in which the mirror is as dark as the sheet: the hand in it is no second hand."""
    face = mirror_face(calibration, (image.shape[1], image.shape[0]))
    if face is None:
        return image
    dark = image.copy()
    dark[face > 0] = PLATEN_GREY
    return dark


def mirror_face(calibration: PlatenCalibration, size_px: tuple[int, int]) -> NDArray[np.uint8] | None:
    """255 where the mirror is in a picture of (width, height); None without one, or before its block was seen."""
    if calibration.mirror is None or calibration.camera_height_mm is None:
        return None
    # A little beyond the picture: much further out a lens's distortion, as it was fitted, folds back into it.
    half_width_mm = 0.55 * calibration.size_px[0] / calibration.px_per_mm
    outline = calibration.seen_at(calibration.mirror.outline_mm(half_width_mm), size_px)
    face = np.zeros(size_px[::-1], dtype=np.uint8)
    return np.asarray(cv2.fillPoly(face, [np.rint(outline).astype(np.int32)], 255), dtype=np.uint8)


def check_sheet(frame: NDArray[np.uint8], calibration: PlatenCalibration) -> list[SheetFault]:
    """Holds the empty platen against what was seen at calibration: moved, dirty or covered, each with its place."""
    if not is_picture(frame) or not calibration.fits(frame):
        return [SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)]
    height, width = frame.shape[:2]
    expected = calibration.corners_px * (width / calibration.size_px[0])
    corners, contrast = _markers(frame, len(expected))
    known = ~np.isnan(expected).any(axis=(1, 2))
    seen = known & ~np.isnan(corners).any(axis=(1, 2))
    centres = np.where(known[:, None], expected.mean(axis=1), 0.0) / np.array([width, height])
    if not seen.any():
        return [SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5)]
    faults: list[SheetFault] = []
    missing = known & ~seen
    if missing.sum() > COVERED_SHARE * known.sum():
        faults.append(_fault(SheetFinding.COVERED, centres[missing]))
    elif missing.any():
        faults.append(_fault(SheetFinding.DIRTY, centres[missing]))
    shifts = np.hypot(*(corners[seen] - expected[seen]).mean(axis=1).T) * NOMINAL_SIDE_PX / max(width, height)
    if float(np.median(shifts)) > MOVED_PX:
        faults.append(_fault(SheetFinding.MOVED, centres[seen]))
    pale = np.flatnonzero(seen)[contrast[seen] < LEAST_CONTRAST * calibration.contrast[seen]]
    if len(pale):
        faults.append(_fault(SheetFinding.DIRTY, centres[pale]))
    return faults


def without_markers(image: NDArray[np.uint8], calibration: PlatenCalibration) -> NDArray[np.uint8]:
    """A copy of the working picture in which the markers, where no hand covers them, are as dark as the sheet."""
    empty = calibration.empty
    if empty.shape != image.shape:
        empty = np.asarray(cv2.resize(empty, image.shape[1::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
    cleaned = image.copy()
    for box in marker_boxes(calibration, image.shape[1]):
        # What lies on a marker, even on its rim alone, looks unlike the bare sheet and stays.
        bare = cv2.absdiff(image[box], empty[box]).max(axis=2) < BARE_DIFFERENCE
        cleaned[box][bare] = PLATEN_GREY
    return cleaned


def marker_boxes(calibration: PlatenCalibration, width_px: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each marker with its rim, in a picture of that width."""
    corners = calibration.corners_px * (width_px / calibration.size_px[0])
    corners = corners[~np.isnan(corners).any(axis=(1, 2))]
    centre = corners.mean(axis=1, keepdims=True)
    # The rim is a third of half the marker; a little more hides its blur.
    squares = np.rint(centre + 1.5 * (corners - centre)).astype(np.int32)
    boxes = [cv2.boundingRect(square) for square in squares]
    return [np.s_[max(0, top) : top + tall, max(0, left) : left + wide] for left, top, wide, tall in boxes]


def _fault(finding: SheetFinding, places: NDArray[np.float64]) -> SheetFault:
    x, y = np.clip(places.mean(axis=0), 0.0, 1.0)
    return SheetFault(finding, float(x), float(y))


def _markers(frame: NDArray[np.uint8], count: int, first: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(count, 4, 2) corners in px, NaN where a marker is not seen, and (count,) contrasts."""
    corners = np.full((count, 4, 2), np.nan)
    contrast = np.zeros(count)
    grey = np.asarray(frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(DICTIONARY), parameters)
    squares, numbers, _ = detector.detectMarkers(grey)
    # OpenCV gives None for none, which its types do not say.
    for square, read in zip(squares, [] if not squares else np.asarray(numbers, np.int64).ravel(), strict=True):
        number = int(read) - first
        if 0 <= number < count:
            corners[number] = np.asarray(square).reshape(4, 2)
            x, y, wide, tall = cv2.boundingRect(np.asarray(square).reshape(4, 2).astype(np.int32))
            levels = grey[max(0, y - 4) : y + tall + 4, max(0, x - 4) : x + wide + 4]
            contrast[number] = float(np.quantile(levels, 0.9) - np.quantile(levels, 0.1)) if levels.size else 0.0
    return corners, contrast


def _through(homography: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) to (n, 2) by a (3, d + 1) matrix; what lies on the horizon, which no picture shows, becomes the origin."""
    # OpenCV refuses none at all.
    return np.asarray(cv2.perspectiveTransform(points[None], homography)[0] if len(points) else points, np.float64)


def _seen_through(parameters: NDArray[np.float64], points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where points of the sheet are seen in lens coordinates: eight numbers of a homography, k1 and k2."""
    flat = _through(np.append(parameters[:8], 1.0).reshape(3, 3), points_mm)
    return _bent(flat, *parameters[8:])


def _bent(flat: NDArray[np.float64], k1: float, k2: float) -> NDArray[np.float64]:
    """(n, 2) lens coordinates as this lens shows them."""
    x, y = flat.T
    square = x * x + y * y
    return np.asarray(flat * (1.0 + square * (k1 + k2 * square))[:, None], dtype=np.float64)


def _fit(points_mm: NDArray[np.float64], lens: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The ten numbers, and the root mean square of what they leave, in lens coordinates."""
    first: NDArray[np.float64] | None = cv2.findHomography(points_mm, lens, 0)[0]  # type: ignore[assignment]  # or None
    if first is None:
        return np.zeros(10), float("inf")
    # Columns in mm are brought to the size of the others, or the damping would favour some.
    scale = np.array([1e-2, 1e-2, 1.0, 1e-2, 1e-2, 1.0, 1e-3, 1e-3, 0.1, 0.1])
    at = np.append((first / first[2, 2]).ravel()[:8], [0.0, 0.0])
    damping = 1e-4

    def left(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return (_seen_through(parameters, points_mm) - lens).ravel()

    residual = left(at)
    for _ in range(ITERATIONS):
        slopes = np.stack([(left(at + 1e-5 * step) - residual) / 1e-5 for step in np.diag(scale)], axis=1)
        normal = slopes.T @ slopes
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -slopes.T @ residual)
        tried = left(at + step * scale)
        if float(tried @ tried) < float(residual @ residual):
            at, residual, damping = at + step * scale, tried, damping / 5.0
        else:
            damping *= 10.0
    return at, float(np.sqrt(2.0 * np.mean(residual**2)))
