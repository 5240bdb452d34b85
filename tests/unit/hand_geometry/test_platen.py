"""The sheet on the platen: printed, found again by the camera, held against itself before service."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import hand_geometry.simulated_reader as cameras
from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.comparison import DEFAULT_THRESHOLD, compare
from hand_geometry.findings import find_findings
from hand_geometry.mirror_set_up import check_mirror
from hand_geometry.platen import (
    PlatenCalibration,
    SheetFault,
    SheetFinding,
    calibrate,
    check_sheet,
    with_measured_height,
)
from hand_geometry.platen_sheet import PAPERS, draw_sheet, main, platen_sheet, sheet_pdf
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.reader_picture import picture_on
from hand_geometry.reference import Reference, make_reference
from hand_geometry.sheet_dirt import check_ground
from hand_geometry.working_picture import WorkingPicture

LENSES = {"low": cameras.LOW_AND_STRAIGHT, "high": cameras.HIGH_AND_WIDE}


@pytest.mark.parametrize("paper", PAPERS)
def test_pdf_has_the_paper_size_and_is_well_formed(paper: str, tmp_path: Path) -> None:
    """Pins the page in points, and that every object stands where the cross-reference table says."""
    out = tmp_path / "sheet.pdf"
    assert 0 == main(["sheet", "--paper", paper, "--out", str(out)])
    pdf = out.read_bytes()
    assert pdf == sheet_pdf(platen_sheet(paper))
    size = PAPERS[paper]
    box = f"/MediaBox [0 0 {size.width_mm * 72 / 25.4:.3f} {size.height_mm * 72 / 25.4:.3f}]"
    assert box.encode() in pdf
    # Viewers are asked not to shrink it: nothing but a ruler would notice.
    assert b"/ViewerPreferences << /PrintScaling /None >>" in pdf
    for number, offset in enumerate(re.findall(rb"(\d{10}) 00000 n", pdf), start=1):
        assert pdf[int(offset) :].startswith(b"%d 0 obj" % number)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Pins the exit code where the sheet cannot be written."""
    assert 1 == main(["sheet", "--out", str(tmp_path / "no" / "sheet.pdf")])


@pytest.mark.parametrize("paper", PAPERS)
def test_every_marker_of_a_straight_picture_is_found(paper: str) -> None:
    """Pins that the drawn sheet is the described one: scale to a thousandth, no distortion."""
    sheet = platen_sheet(paper)
    seen = calibrate([draw_sheet(sheet, 5.0)], sheet)
    assert isinstance(seen, PlatenCalibration)
    assert not np.isnan(seen.corners_px).any()
    assert 0.005 > abs(seen.px_per_mm - 5.0)
    assert 0.01 > abs(seen.k1)


@pytest.mark.parametrize("name", LENSES)
def test_lens_tilt_and_scale_are_found(name: str) -> None:
    """Pins the lens within a hundredth and every place on the sheet within a fifth of a mm."""
    lens = LENSES[name]
    calibration = cameras.calibration_of(lens)
    assert 0.01 > abs(calibration.k1 - lens.k1)
    assert 0.01 > abs(calibration.k2 - lens.k2)
    true_mm = lens.plane_mm(0.0, cameras.sheet())
    rows, columns = (grid.ravel() for grid in np.mgrid[150:1100:190, 150:1500:190])
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    measured = calibration.on_the_sheet(points, (1600, 1200))
    assert 0.2 > float(np.abs(measured - true_mm[rows, columns]).max())


@pytest.mark.parametrize("name", LENSES)
def test_the_cameras_height_and_foot_are_found(name: str) -> None:
    """Pins the height within three hundredths from the label on its block, and the foot within 6 mm from the tilt."""
    lens = LENSES[name]
    calibration = cameras.calibration_of(lens)
    assert calibration.camera_height_mm is not None
    assert 0.03 * lens.height_mm > abs(calibration.camera_height_mm - lens.height_mm)
    assert 6.0 > float(np.abs(calibration.foot_mm - lens.foot_mm(cameras.sheet())).max())


def test_a_label_that_lies_on_the_sheet_gives_no_height() -> None:
    """Pins that the block must be there: height is measured, never guessed."""
    lens = cameras.LOW_AND_STRAIGHT
    calibration = replace(cameras.calibration_of(lens), camera_height_mm=None)
    fault = with_measured_height([cameras.empty_platen_seen(lens)], calibration)
    assert isinstance(fault, SheetFault)


def test_a_reference_holds_on_the_other_camera() -> None:
    """Pins that people enrolled under one camera are known under the other, and measured alike."""
    one, other = cameras.LOW_AND_STRAIGHT, cameras.HIGH_AND_WIDE
    for identity in (2, 3, 5):
        samples = []
        for sample in range(3):
            seen = acquire(cameras.hand_seen(one, identity, sample), calibration=cameras.calibration_of(one))
            assert isinstance(seen, Features)
            samples.append(seen)
        reference = make_reference(samples)
        assert isinstance(reference, Reference)
        probe = acquire(cameras.hand_seen(other, identity, 0), calibration=cameras.calibration_of(other))
        assert isinstance(probe, Features)
        assert 0.03 > float(np.median(np.abs(probe.values - samples[0].values)))
        assert compare(reference, probe).value <= DEFAULT_THRESHOLD.value


def test_sizes_in_mm_are_lost_without_calibration() -> None:
    """Pins what calibration is for: the same hand is a tenth smaller to the higher camera."""
    image = cameras.hand_seen(cameras.HIGH_AND_WIDE, 3, 0)
    plain, measured = acquire(image), acquire(image, calibration=cameras.calibration_of(cameras.HIGH_AND_WIDE))
    assert isinstance(plain, Features)
    assert isinstance(measured, Features)
    at = plain.names.index("middle_length_0")
    assert 0.08 < measured.values[at] - plain.values[at]


def findings(faults: list[SheetFault]) -> set[SheetFinding]:
    return {fault.finding for fault in faults}


def test_self_test_finds_what_is_wrong() -> None:
    """Pins the four findings and that a clean sheet has none; places lie where the fault is."""
    lens = cameras.LOW_AND_STRAIGHT
    clean, calibration = cameras.empty_platen_seen(lens), cameras.calibration_of(lens)
    assert [] == check_sheet(clean, calibration)
    moved = np.roll(clean, 6, axis=0)
    assert {SheetFinding.MOVED} == findings(check_sheet(moved, calibration))
    covered = clean.copy()
    covered[:, 800:] = 70
    found = check_sheet(covered, calibration)
    assert SheetFinding.COVERED in findings(found)
    assert 0.5 < found[0].x
    dirty = clean.copy()
    x, y = calibration.corners_px[2].mean(axis=0)
    cv2.circle(dirty, (round(x), round(y)), 60, (90, 100, 110), cv2.FILLED)
    found = check_sheet(dirty, calibration)
    assert {SheetFinding.DIRTY} == findings(found)
    assert 0.05 > abs(found[0].x - x / 1600)
    assert {SheetFinding.NOT_SEEN} == findings(check_sheet(np.zeros_like(clean), calibration))


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("radius_px", [8, 40, 160])
def test_dirt_between_the_markers_is_seen(name: str, radius_px: int) -> None:
    """Pins that what lies where the hand will is seen with its place, in the colour of ketchup too, and a napkin."""
    lens = LENSES[name]
    calibration, dirty = cameras.calibration_of(lens), cameras.empty_platen_seen(lens).copy()
    cv2.circle(dirty, (600, 500), radius_px, (30, 40, 150), cv2.FILLED)
    (fault,) = check_ground(dirty, calibration)
    assert fault.finding is (SheetFinding.COVERED if radius_px > 100 else SheetFinding.DIRTY)
    assert 0.01 > max(abs(fault.x - 600 / 1600), abs(fault.y - 500 / 1200))
    found = find_findings(dirty, calibration=calibration)
    assert [Finding.DIRTY_PLATEN] * (radius_px < 100) == [one.finding for one in found]
    for grey in (4, 16, 40, 90, 230):
        # The sheet's own grey hides what is printed on it.
        dirty[300:900, 300:1100] = grey
        assert [SheetFinding.COVERED] == [one.finding for one in check_ground(dirty, calibration)]


@pytest.mark.parametrize("radius_px", [3, 6, 12])
def test_crumbs_are_dirt_together(radius_px: int) -> None:
    """Pins that many crumbs are seen, of which one alone may be smaller than what is said."""
    lens = LENSES["high"]
    calibration, dirty = cameras.calibration_of(lens), cameras.empty_platen_seen(lens).copy()
    for x, y in np.random.default_rng(1).integers((300, 250), (1300, 950), (60, 2)):
        cv2.circle(dirty, (int(x), int(y)), radius_px, (150, 170, 190), cv2.FILLED, cv2.LINE_AA)
    assert [SheetFinding.DIRTY] == [one.finding for one in check_ground(dirty, calibration)]


@pytest.mark.parametrize("lens", [*LENSES.values(), cameras.WITH_MIRROR], ids=[*LENSES, "mirror"])
def test_another_light_is_no_dirt(lens: cameras.SimulatedLens) -> None:
    """Pins that another lamp or tint, light from a window, shadows, grain and a shift below the limit are no dirt."""
    clean, calibration = cameras.empty_platen_seen(lens).astype(np.float64), cameras.calibration_of(lens)
    grain = np.random.default_rng(1).normal(0.0, 6.0, clean.shape)
    window = np.linspace(0.0, 30.0, clean.shape[1])[None, :, None]
    shadow = np.ones(clean.shape)
    cv2.fillPoly(shadow, [np.array([[500, 0], [900, 0], [1300, 1200], [700, 1200]])], (0.4, 0.4, 0.4))
    for seen in (
        clean,
        0.6 * clean,
        1.5 * clean,
        clean + 25.0,
        clean + window,
        clean * np.array([0.8, 1.0, 1.2]),
        clean + grain,
        np.roll(clean, 2, axis=1),
    ):
        picture = np.clip(seen, 0, 255).astype(np.uint8)
        assert [] == check_ground(picture, calibration)
        assert () == find_findings(picture, calibration=calibration)
    soft = cv2.GaussianBlur(shadow, (0, 0), 9.0)
    for seen in (clean * shadow, (clean + 12.0) * soft + grain, (0.6 * clean + window) * shadow + grain):
        assert [] == check_ground(np.clip(seen, 0, 255).astype(np.uint8), calibration)


def test_light_that_goes_on_beyond_the_sheet_is_no_dirt() -> None:
    """Pins that a lit strip left of a shadow, narrower on the sheet than light is, is none, and a crumb in it dirt."""
    lens = cameras.LOW_AND_STRAIGHT
    lit, calibration = cameras.empty_platen_seen(lens).astype(np.float64) + 45.0, cameras.calibration_of(lens)
    shadow = np.ones(lit.shape)
    cv2.fillPoly(shadow, [np.array([[330, 0], [560, 0], [300, 1200], [150, 1200]])], (0.35, 0.35, 0.35))
    seen = lit * cv2.GaussianBlur(shadow, (0, 0), 6.0)
    assert [] == check_ground(np.clip(seen, 0, 255).astype(np.uint8), calibration)
    cv2.circle(seen, (900, 300), 14, (150.0, 160.0, 190.0), cv2.FILLED, cv2.LINE_AA)
    (fault,) = check_ground(np.clip(seen, 0, 255).astype(np.uint8), calibration)
    assert fault.finding is SheetFinding.DIRTY
    assert abs(fault.x - 900 / 1600) < 0.01


def test_without_a_sheet_there_is_no_calibration() -> None:
    """Pins that an empty platen, no picture or pictures of several sizes calibrate nothing."""
    nothing = np.zeros((1200, 1600, 3), np.uint8)
    sheet = platen_sheet("a4")
    for frames in ([], [nothing], [nothing, np.zeros((600, 800, 3), np.uint8)]):
        fault = calibrate(frames, sheet)
        assert isinstance(fault, SheetFault)
        assert SheetFinding.NOT_SEEN is fault.finding


def test_an_empty_sheet_is_no_hand() -> None:
    """Pins that the white of the markers is never taken for a hand."""
    lens = cameras.LOW_AND_STRAIGHT
    seen = acquire(cameras.empty_platen_seen(lens), calibration=cameras.calibration_of(lens))
    assert isinstance(seen, FailureToAcquire)


def test_the_short_way_sees_no_marker_and_every_hand() -> None:
    """Pins that bare markers are as dark as the sheet in every size, that what lies on one stays; the slow way too."""
    lens = cameras.LOW_AND_STRAIGHT
    calibration = cameras.calibration_of(lens)
    laid = cameras.empty_platen_seen(lens).copy()
    x, y = np.rint(calibration.corners_px[3].mean(axis=0)).astype(int).tolist()
    laid[y - 40 : y + 40, x - 40 : x + 40] = (120, 150, 205)
    small = np.asarray(cv2.resize(laid, (800, 600), interpolation=cv2.INTER_AREA), np.uint8)
    for image in (laid, small):
        picture = picture_on(calibration, WorkingPicture(image))
        assert picture.twice is (image is laid)
        for red, scale in ((picture.coarse_red, 4), (picture.red, 2)):
            bright = red > 110
            assert bright[y // scale, x // scale]
            near = np.s_[(y - 60) // scale : (y + 60) // scale, (x - 60) // scale : (x + 60) // scale]
            assert bright.sum() - bright[near].sum() < 0.002 * bright.size
        assert picture.red_at(np.array([[[x / 2, y / 2]]], np.float32))[0, 0] > 180
        bare = calibration.corners_px[0].mean(axis=0) / 2 + np.arange(-6, 7)[:, None]
        assert picture.red_at(bare[None].astype(np.float32)).max() < 60


@pytest.mark.parametrize("size", [(1080, 1920), (600, 1200), (1600, 1200), (160, 300)])
def test_pictures_of_another_shape_are_not_measured(size: tuple[int, int]) -> None:
    """Pins that a camera set to another shape than the sheet was measured with is said, and gives no wrong mm."""
    calibration = cameras.calibration_of(cameras.LOW_AND_STRAIGHT)
    image = np.full((*size, 3), 16, np.uint8)
    assert FailureToAcquire(QualityReason.UNREADABLE_IMAGE) == acquire(image, calibration=calibration)
    assert () == find_findings(image, calibration=calibration)
    assert {SheetFinding.NOT_SEEN} == findings(check_sheet(image, calibration))
    assert [] == check_mirror(image, calibration)
    assert isinstance(with_measured_height([image], calibration), SheetFault)


ODD_ARRAYS = [
    np.zeros((0, 0, 3), np.uint8),
    np.zeros(9, np.uint8),
    np.zeros((1, 1, 3), np.uint8),
    np.zeros((200, 0, 3), np.uint8),
    np.zeros((200, 200, 4), np.uint8),
    np.full((200, 200, 3), np.nan),
    np.zeros((200, 200, 3), np.bool_),
]


@pytest.mark.parametrize("odd", ODD_ARRAYS, ids=lambda odd: f"{odd.shape}-{odd.dtype}")
def test_no_array_breaks_a_look_at_the_sheet(odd: NDArray[Any]) -> None:
    """Pins that arrays that are no pictures have an answer everywhere, calibrated or not."""
    calibration = cameras.calibration_of(cameras.LOW_AND_STRAIGHT)
    assert isinstance(acquire(odd, calibration=calibration), FailureToAcquire)
    assert () == find_findings(odd) == find_findings(odd, calibration=calibration)
    assert {SheetFinding.NOT_SEEN} == findings(check_sheet(odd, calibration))
    assert isinstance(calibrate([odd], platen_sheet("a4")), SheetFault)
    assert isinstance(with_measured_height([odd], calibration), SheetFault)
