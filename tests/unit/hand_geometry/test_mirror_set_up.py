"""A side mirror as a ruler tells it and a block measures it, on simulated readers; and its face before service."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hand_geometry.mirror_set_up import (
    check_mirror,
    edge_and_gap,
    mirror_beside,
    shows_a_mark,
    told_before,
    with_block,
)
from hand_geometry.platen import PlatenCalibration, SheetFault, SheetFinding, calibrate
from hand_geometry.platen_sheet import PAPERS
from hand_geometry.side_mirror import SideMirror
from hand_geometry.simulated_reader import (
    OTHER_WITH_MIRROR,
    WITH_MIRROR,
    SimulatedLens,
    block_seen,
    empty_platen_seen,
    sheet,
)

A4 = PAPERS["a4"]
ABOVE = replace(WITH_MIRROR, aim_mm=(0.0, -22.0), mirror=SideMirror((148.5, -6.0), (0.0, -1.0), 50.0))


def told(lens: SimulatedLens) -> PlatenCalibration:
    """The empty sheet, and the mirror as its ruler gives it."""
    found = calibrate([empty_platen_seen(lens)], sheet())
    assert isinstance(found, PlatenCalibration)
    assert lens.mirror is not None
    return replace(found, mirror=mirror_beside(A4, *edge_and_gap(lens.mirror, A4)))


@pytest.mark.parametrize("lens", [OTHER_WITH_MIRROR, ABOVE])
def test_the_block_gives_the_lean(lens: SimulatedLens) -> None:
    """Pins half a degree, along both edges and wherever the block stands, and that the mirror is ready only then."""
    calibration = told(lens)
    assert not calibration.measures_heights
    for corner in ((60.0, 40.0), (110.0, 90.0)):
        found = with_block([block_seen(lens, corner)], calibration)
        assert isinstance(found, PlatenCalibration), found
        assert found.measures_heights
        assert found.mirror is not None
        assert lens.mirror is not None
        assert found.mirror.lean_deg == pytest.approx(lens.mirror.lean_deg, abs=0.5)
        assert found.mirror.foot_mm == lens.mirror.foot_mm


def test_no_block_in_the_mirror_is_said() -> None:
    """Pins the faults: no label at all, and a label without its side in the mirror."""
    calibration = told(WITH_MIRROR)
    nothing = with_block([empty_platen_seen(WITH_MIRROR)], calibration)
    assert SheetFault(SheetFinding.NOT_SEEN, 0.5, 0.5) == nothing
    hidden = with_block([block_seen(replace(WITH_MIRROR, mirror=None))], calibration)
    assert SheetFault(SheetFinding.MIRROR_NOT_SEEN, 0.5, 0.5) == hidden
    grey = np.asarray(cv2.cvtColor(block_seen(WITH_MIRROR), cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    assert isinstance(with_block([grey], calibration), PlatenCalibration)


def test_the_mirrors_face() -> None:
    """Pins that noise is nothing, that dirt beside the mirror is not its own, and what is said of a bright cloth."""
    calibration = with_block([block_seen(WITH_MIRROR)], told(WITH_MIRROR))
    assert isinstance(calibration, PlatenCalibration)
    empty = empty_platen_seen(WITH_MIRROR)
    grain = np.random.default_rng(3).normal(4.0, 4.0, empty.shape)
    assert [] == check_mirror(np.asarray(np.clip(empty + grain, 0, 255), np.uint8), calibration)
    # What the light does to the sheet it does to the mirror, on its brighter side, too.
    slope = np.linspace(0.0, 50.0, empty.shape[1])[None, :, None]
    brighter = np.asarray(np.clip(empty + slope, 0, 255), np.uint8)
    assert [] == check_mirror(brighter, calibration)
    brighter[1000:, 1100:] = np.maximum(brighter[1000:, 1100:], 130)
    assert [SheetFinding.MIRROR_DIRTY] == [one.finding for one in check_mirror(brighter, calibration)]
    beside = empty.copy()
    beside[500:700, 600:900] = 200
    assert [] == check_mirror(beside, calibration)
    cloth = empty.copy()
    cloth[1000:, :500] = 130
    (fault,) = check_mirror(cloth, calibration)
    assert SheetFinding.MIRROR_DIRTY is fault.finding
    assert fault.x < 0.35
    assert fault.y > 0.8
    assert [] == check_mirror(cloth, replace(calibration, mirror=None))
    grey = np.asarray(cv2.cvtColor(cloth, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    assert isinstance(check_mirror(grey, calibration), list)


def test_something_dark_hides_the_mark() -> None:
    """Pins that a dark cover is found where the mirror shows a mark over the empty platen; without, it has none."""
    lens = WITH_MIRROR
    bare = with_block([block_seen(lens)], told(lens))
    assert isinstance(bare, PlatenCalibration)
    assert not shows_a_mark(bare)
    assert not shows_a_mark(replace(bare, mirror=None))
    marked = empty_platen_seen(lens).copy()
    # A strip of 5 mm by 15 mm on the far side of the platen, beyond the fingertips.
    strip = bare.seen_in_mirror(np.array([[120.0, 190.0, low] for low in (5.0, 20.0)]), (1600, 1200))
    (x, top), (_, bottom) = np.rint([strip.min(axis=0), strip.max(axis=0)]).astype(int).tolist()
    marked[top:bottom, x - 12 : x + 12] = 170
    calibration = replace(
        bare, empty=np.asarray(cv2.resize(marked, (800, 600), interpolation=cv2.INTER_AREA), np.uint8)
    )
    assert shows_a_mark(calibration)
    assert [] == check_mirror(marked, calibration)
    covered = marked.copy()
    covered[top - 20 : bottom + 20] = np.minimum(covered[top - 20 : bottom + 20], 20)
    (fault,) = check_mirror(covered, calibration)
    assert SheetFinding.MIRROR_DIRTY is fault.finding
    assert (fault.x, fault.y) == pytest.approx((x / 1600, (top + bottom) / 2400), abs=0.01)


def test_what_was_told_is_known_again() -> None:
    """Pins paper and mirror, so that nobody has to remember them when the sheet is measured anew."""
    calibration = told(WITH_MIRROR)
    assert WITH_MIRROR.mirror is not None
    assert told_before(calibration) == ("a4", edge_and_gap(WITH_MIRROR.mirror, A4))
    assert told_before(replace(calibration, mirror=None)) == ("a4", None)
