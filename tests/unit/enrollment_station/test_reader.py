"""The station's hand reader: its sheet, its calibration, and a hand that then passes on another camera."""

from __future__ import annotations

from dataclasses import replace

import httpx
import numpy as np
import pytest

from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare, decide
from hand_geometry.findings import find_findings
from hand_geometry.reference_codec import decode_reference
from hand_geometry.simulated_reader import (
    HIGH_AND_WIDE,
    LOW_AND_STRAIGHT,
    WITH_MIRROR,
    block_seen,
    calibration_of,
    empty_platen_seen,
    hand_seen,
)
from hand_geometry.synthetic_hand import encode_jpeg
from templates_store.store import StoredReference
from tests.unit.enrollment_station.bench import ADA, NOON, Bench, placement

WRONG_MIRRORS = ("miroir=left", "miroir=lower&ecart=-1", "miroir=lower&ecart=101", "miroir=upper&hauteur=430")


def send(bench: Bench, path: str, *images: bytes) -> httpx.Response:
    files = [("image", ("image", image, "image/jpeg")) for image in images]
    return bench.client.post(path, files=files, headers=bench.bearer)


@pytest.fixture
def calibrated(bench: Bench) -> Bench:
    bench.fill()
    empty = encode_jpeg(empty_platen_seen(HIGH_AND_WIDE))
    answer = send(bench, f"/api/lecteur/etalonnage?papier=a4&hauteur={HIGH_AND_WIDE.height_mm:.0f}", empty, empty)
    assert (200, True) == (answer.status_code, "17 repères" in answer.json()["message"])
    return bench


def test_a_hand_taken_here_passes_on_another_camera(calibrated: Bench) -> None:
    """Both know their sheet; the calibration is still there after a restart."""
    calibrated.restart()
    calibrated.consent(ADA)
    images = [encode_jpeg(hand_seen(HIGH_AND_WIDE, 1, sample)) for sample in range(3)]
    assert 200 == calibrated.enroll(ADA, images).status_code
    stored = calibrated.station.store.reference(ADA, NOON)
    assert isinstance(stored, StoredReference)
    probe = acquire(hand_seen(LOW_AND_STRAIGHT, 1, 7), calibration=calibration_of(LOW_AND_STRAIGHT))
    assert isinstance(probe, Features)
    assert decide(compare(decode_reference(stored.reference), probe))


def test_a_picture_of_another_camera_is_not_measured(calibrated: Bench) -> None:
    """A file without the sheet, or a reader that has moved, would make a reference that opens nothing."""
    calibrated.consent(ADA)
    assert "other_reader" == calibrated.try_placement(ADA, placement(1, 0)).json()["reason"]
    moved = encode_jpeg(np.asarray(np.roll(hand_seen(HIGH_AND_WIDE, 1, 0), 12, axis=0), np.uint8))
    assert "other_reader" == calibrated.try_placement(ADA, moved).json()["reason"]


def test_the_sheet_under_the_hand_is_no_finding(calibrated: Bench) -> None:
    """Two fingers joined on the sheet: these are pointed at, not its markers."""
    calibrated.consent(ADA)
    image = hand_seen(HIGH_AND_WIDE, 6, 0)
    assert () == find_findings(image, calibration=calibrated.station.platen.calibration)
    for column in range(420, 900):
        rows = np.nonzero(image[:, column, 2] > 90)[0]
        fingers = [part for part in np.split(rows, np.nonzero(np.diff(rows) > 3)[0] + 1) if len(part) > 30]
        below = [part for part in fingers if 380 < part[0] < 1000]
        if len(below) >= 2:
            image[below[0][-1] - 25 : below[1][0] + 25, column] = (120, 150, 205)
    answer = calibrated.try_placement(ADA, encode_jpeg(image)).json()
    assert not answer["acquired"]
    assert answer["place"] is not None
    assert "Ces deux doigts se touchent" in answer["message"]


def test_the_sheet_is_checked(calibrated: Bench) -> None:
    """In order; half covered, with the place to point at; nothing of it for a reader that was never calibrated."""
    empty = empty_platen_seen(HIGH_AND_WIDE)
    assert [] == send(calibrated, "/api/lecteur/controle", encode_jpeg(empty)).json()["faults"]
    covered = empty.copy()
    covered[:, :700] = 50
    (fault,) = send(calibrated, "/api/lecteur/controle", encode_jpeg(covered)).json()["faults"]
    assert "sheet_covered" == fault["finding"]
    assert fault["x"] < 0.4
    assert "Étalonné" in calibrated.client.get("/lecteur", headers=calibrated.bearer).text


def test_the_block_gives_the_height_and_the_mirrors_lean(bench: Bench) -> None:
    """The sheet with its mirror, then the block, over a restart; a covered mirror is told, with its place."""
    bench.fill()
    assert 422 == send(bench, "/api/lecteur/bloc", encode_jpeg(block_seen(WITH_MIRROR))).status_code
    empty = empty_platen_seen(WITH_MIRROR)
    answer = send(bench, "/api/lecteur/etalonnage?miroir=lower&ecart=6", encode_jpeg(empty))
    assert "Posez maintenant le bloc" in answer.json()["message"]
    answer = send(bench, "/api/lecteur/bloc", encode_jpeg(empty))
    assert (422, "L’étiquette du bloc" in answer.json()["message"]) == (answer.status_code, True)
    answer = send(bench, "/api/lecteur/bloc", encode_jpeg(block_seen(replace(WITH_MIRROR, mirror=None))))
    assert (422, "mirror_not_seen") == (answer.status_code, answer.json()["faults"][0]["finding"])
    answer = send(bench, "/api/lecteur/bloc", encode_jpeg(block_seen(WITH_MIRROR)))
    assert (200, True) == (answer.status_code, "Rien de clair ne se voit" in answer.json()["message"])
    bench.restart()
    found, told = bench.station.platen.calibration, WITH_MIRROR.mirror
    assert found is not None
    assert found.mirror is not None
    assert told is not None
    assert found.camera_height_mm == pytest.approx(WITH_MIRROR.height_mm, rel=0.02)
    assert found.mirror.lean_deg == pytest.approx(told.lean_deg, abs=0.5)
    page = bench.client.get("/lecteur", headers=bench.bearer).text
    assert "hauteurs mesurées" in page
    assert ('value="lower" selected' in page, 'maxlength="3" value="6"' in page) == (True, True)
    assert [] == send(bench, "/api/lecteur/controle", encode_jpeg(empty)).json()["faults"]
    covered = empty.copy()
    covered[1080:, 200:700] = 120
    faults = send(bench, "/api/lecteur/controle", encode_jpeg(covered)).json()["faults"]
    assert "mirror_dirty" in [fault["finding"] for fault in faults]
    answer = send(bench, "/api/lecteur/etalonnage", encode_jpeg(empty))
    assert "n’est plus pris en compte" in answer.json()["message"]


def test_what_is_no_sheet_is_said(bench: Bench) -> None:
    """No file is left; wrong heights and papers are refused; the sheet can be had to print."""
    bench.fill()
    answer = send(bench, "/api/lecteur/etalonnage", placement(1, 0))
    assert (422, "sheet_not_seen") == (answer.status_code, answer.json()["faults"][0]["finding"])
    assert not bench.station.configuration.calibration.exists()
    for query in ("papier=a9", "hauteur=12", "hauteur=%2B430", "hauteur=99999", *WRONG_MIRRORS):
        assert 422 == send(bench, f"/api/lecteur/etalonnage?{query}", placement(1, 0)).status_code
    assert 422 == send(bench, "/api/lecteur/etalonnage", b"no picture").status_code
    checked = send(bench, "/api/lecteur/controle", placement(1, 0)).json()
    assert "jamais été étalonné" in checked["message"]
    sheet = bench.client.get("/lecteur/feuille-a3.pdf", headers=bench.bearer)
    assert sheet.content.startswith(b"%PDF")
    label = bench.client.get("/lecteur/etiquette.pdf", headers=bench.bearer)
    assert label.content.startswith(b"%PDF")
    assert 404 == bench.client.get("/lecteur/feuille-b5.pdf", headers=bench.bearer).status_code
