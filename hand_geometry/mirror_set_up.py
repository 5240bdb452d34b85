"""The side mirror of a reader: its lean is measured on the block at set-up, its face looked at before service.

A lean that is wrong by one degree turns the side view by two, some 3 mm of height in the middle of the platen: more
than a protractor is good for. So the block, whose height is known, stands where hands lie, and the lean is the one
that makes it as high as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.height_profile import red_at
from hand_geometry.platen import (
    PlatenCalibration,
    SheetFault,
    SheetFinding,
    label_seen,
    mirror_face,
    with_measured_height,
)
from hand_geometry.platen_sheet import BLOCK_MM, PAPERS, Paper, platen_sheet
from hand_geometry.sheet_dirt import sheet_alone
from hand_geometry.side_mirror import SideMirror
from hand_geometry.working_picture import at_working_size, is_picture

# About 45 degrees, and more where the camera stands further in; as a ruler and a protractor give it.
USUAL_LEAN_DEG, LEAN_OFF_BY_DEG, LEAN_STEP_DEG = 48.0, 10.0, 0.1
FARTHEST_GAP_MM = 100.0
# What is looked at before the block's side, in mm of height under a lean that may be wrong.
LOOKED_AT_MM = np.arange(-50.0, 100.0, 0.5)
# The block's side is bright over its height, as far as the view is level.
LIKE_THE_BLOCK_MM = 8.0
LEAST_CONTRAST = 40.0
# Grey levels beyond which the mirror shows something other than the empty platen, and how much of it may.
OTHER_GREY, DIRTY_SHARE = 30, 0.005
# Of the sheet, as much may be lit more than is asked of the mirror: the markers' rims, crumbs, a lamp close by.
LIT_SHARE = 0.95
# What is brighter than most of the mirror by this much over an empty platen is a mark in it: so many px at the working
# size are enough, and of them so many may go dark.
MARK_GREY, LEAST_MARK_PX, LOST_SHARE = 60, 40, 0.5


class MirrorEdge(StrEnum):
    """Along which long edge of the printed sheet the mirror stands, with the sheet as one reads it."""

    UPPER = "upper"
    LOWER = "lower"
    """The one with the line of 100 mm."""


def mirror_beside(paper: Paper, edge: MirrorEdge, gap_mm: float) -> SideMirror:
    """The mirror as a ruler gives it: its foot so far outside of the edge. The block then gives its lean."""
    if edge is MirrorEdge.LOWER:
        return SideMirror((paper.width_mm / 2.0, paper.height_mm + gap_mm), (0.0, 1.0), USUAL_LEAN_DEG)
    return SideMirror((paper.width_mm / 2.0, -gap_mm), (0.0, -1.0), USUAL_LEAN_DEG)


def edge_and_gap(mirror: SideMirror, paper: Paper) -> tuple[MirrorEdge, float]:
    """What ``mirror_beside`` was told."""
    if mirror.outward[1] > 0.0:
        return MirrorEdge.LOWER, mirror.foot_mm[1] - paper.height_mm
    return MirrorEdge.UPPER, -mirror.foot_mm[1]


def told_before(calibration: PlatenCalibration) -> tuple[str, tuple[MirrorEdge, float] | None]:
    """Paper and mirror as they were given when the sheet was looked at."""
    markers, mirror = len(calibration.corners_px), calibration.mirror
    paper = next((one for one in PAPERS if len(platen_sheet(one).markers) == markers), next(iter(PAPERS)))
    return paper, None if mirror is None else edge_and_gap(mirror, PAPERS[paper])


def with_block(frames: Sequence[NDArray[np.uint8]], calibration: PlatenCalibration) -> PlatenCalibration | SheetFault:
    """The calibration with what the labelled block tells: the camera's height and, with a mirror, the mirror's lean."""
    raised = with_measured_height(frames, calibration)
    if not isinstance(raised, PlatenCalibration) or raised.mirror is None:
        return raised
    for frame in frames:
        lean = _lean_in(frame, raised, raised.mirror)
        if lean is not None:
            return replace(raised, mirror=replace(raised.mirror, lean_deg=lean))
    return SheetFault(SheetFinding.MIRROR_NOT_SEEN, 0.5, 0.5)


def _lean_in(frame: NDArray[np.uint8], calibration: PlatenCalibration, mirror: SideMirror) -> float | None:
    """The lean under which the block's side ends at its height; None where no side of a block is seen."""
    label = label_seen(frame, calibration)
    if label is None:
        return None
    corners = mirror.along_and_away(label)
    middle, away = 0.5 * (corners[:, 0].min() + corners[:, 0].max()), corners[:, 1].min()
    beside = middle + np.array([-20.0, -10.0, 0.0, 10.0, 20.0])
    rays = np.stack(np.broadcast_arrays(beside[:, None], away, LOOKED_AT_MM[None]), axis=-1).reshape(-1, 3)
    source = frame if frame.ndim == 3 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    best: tuple[float, float, float] | None = None
    for lean in np.arange(USUAL_LEAN_DEG - LEAN_OFF_BY_DEG, USUAL_LEAN_DEG + LEAN_OFF_BY_DEG, LEAN_STEP_DEG):
        turned = replace(calibration, mirror=replace(mirror, lean_deg=float(lean)))
        at = turned.seen_in_mirror(rays, (source.shape[1], source.shape[0])).astype(np.float32)
        side = _side_of(red_at(source, at).reshape(len(beside), -1))
        if side is not None and (best is None or abs(side[1] - BLOCK_MM) < abs(best[2] - BLOCK_MM)):
            best = (round(float(lean), 1), *side)
    if best is None or abs(best[2] - BLOCK_MM) > 1.0 or abs(best[2] - best[1] - BLOCK_MM) > LIKE_THE_BLOCK_MM:
        return None
    return best[0]


def _side_of(grey: NDArray[np.float64]) -> tuple[float, float] | None:
    """(b, h) grey values over ``LOOKED_AT_MM`` to the lower and upper end of what is bright, the median over b."""
    low, high = float(np.quantile(grey, 0.1)), float(np.quantile(grey, 0.9))
    if high - low < LEAST_CONTRAST:
        return None
    ends: list[tuple[float, float]] = []
    for line in grey > 0.5 * (low + high):
        steps = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        starts, stops = steps[::2], steps[1::2]
        if len(starts):
            longest = int(np.argmax(stops - starts))
            ends.append((LOOKED_AT_MM[starts[longest]], LOOKED_AT_MM[stops[longest] - 1]))
    if not ends:
        return None
    lower, upper = np.median(np.array(ends), axis=0)
    return float(lower), float(upper)


def check_mirror(frame: NDArray[np.uint8], calibration: PlatenCalibration) -> list[SheetFault]:
    """What shows in the mirror over an empty platen that did not when the sheet was measured, or no longer does.

    Dirt, a cloth or paper are bright. Something dark is noticed by the mark that it hides (``shows_a_mark``).
    """
    face = _face(calibration)
    if face is None or not is_picture(frame) or not calibration.fits(frame):
        return []
    now, before = at_working_size(frame), calibration.empty
    if now.shape != before.shape:
        now = np.asarray(cv2.resize(now, before.shape[1::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mark = _mark(before, face)
    lost = mark & (cv2.subtract(before, now).max(axis=2) > MARK_GREY // 2)
    if np.count_nonzero(mark) >= LEAST_MARK_PX and np.count_nonzero(lost) > LOST_SHARE * np.count_nonzero(mark):
        return [_in_the_middle_of(lost)]
    differs = _other_than_lit(now, before, calibration)
    return [_in_the_middle_of(differs & face)] if np.count_nonzero(differs & face) > DIRTY_SHARE * face.sum() else []


def _other_than_lit(
    now: NDArray[np.uint8], before: NDArray[np.uint8], calibration: PlatenCalibration
) -> NDArray[np.bool_]:
    """(H, W) bool, True where more changed than the light: what it does to the sheet it does to the mirror."""
    change = cv2.blur(cv2.subtract(now, before, dtype=cv2.CV_16S), (9, 9))
    sheet = change[sheet_alone(calibration, (before.shape[1], before.shape[0]))]
    darker, lighter = np.quantile(sheet, [1.0 - LIT_SHARE, LIT_SHARE], axis=0)
    over, under = change - np.maximum(lighter, 0.0), np.minimum(darker, 0.0) - change
    return np.asarray(np.maximum(over, under).max(axis=2) > OTHER_GREY, dtype=np.bool_)


def shows_a_mark(calibration: PlatenCalibration) -> bool:
    """Whether the mirror showed something bright over the empty platen, such as a white strip stuck opposite to it."""
    face = _face(calibration)
    return face is not None and bool(np.count_nonzero(_mark(calibration.empty, face)) >= LEAST_MARK_PX)


def _face(calibration: PlatenCalibration) -> NDArray[np.bool_] | None:
    """Where the mirror is in the picture of the bare sheet; None where there is none in it."""
    height, width = calibration.empty.shape[:2]
    face = mirror_face(calibration, (width, height))
    return face > 0 if face is not None and face.any() else None


def _mark(before: NDArray[np.uint8], face: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grey = before.max(axis=2).astype(np.int16)
    return np.asarray(face & (grey > np.median(grey[face]) + MARK_GREY), dtype=np.bool_)


def _in_the_middle_of(seen: NDArray[np.bool_]) -> SheetFault:
    rows, columns = np.nonzero(seen)
    height, width = seen.shape
    return SheetFault(SheetFinding.MIRROR_DIRTY, float(columns.mean() / width), float(rows.mean() / height))
