"""The hand reader's own page: its sheet to print, its calibration, and whether the sheet still lies as it did."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from enrollment_station import sentences
from enrollment_station.audit_log import AuditedAction
from enrollment_station.errors import UploadRefused
from enrollment_station.language import say
from enrollment_station.platen_desk import FRAMES, HIGHEST_MM, LOWEST_MM
from enrollment_station.rendering import language_of, note_in_audit, render, station_of
from enrollment_station.uploads import NOT_A_FORM, PLACEMENT_BYTES_MAX, read_files
from hand_geometry.mirror_set_up import FARTHEST_GAP_MM, MirrorEdge, shows_a_mark
from hand_geometry.platen import PlatenCalibration, SheetFault, SheetFinding
from hand_geometry.platen_sheet import PAPERS, block_label, platen_sheet, sheet_pdf

router = APIRouter()


@router.get("/lecteur")
def reader(request: Request) -> HTMLResponse:
    """The steps, and where the reader stands."""
    calibration = station_of(request).platen.calibration
    paper, mirror = station_of(request).platen.told
    # With a mirror the block gives the height.
    height = None if calibration is None or mirror is not None else calibration.camera_height_mm
    return render(
        request,
        "reader.html",
        calibrated=calibration is not None,
        residual=None if calibration is None else f"{calibration.residual_px:.2f}",
        height=None if height is None else round(height),
        heights=calibration is not None and calibration.measures_heights,
        edges=MirrorEdge,
        edge=None if mirror is None else mirror[0],
        gap=None if mirror is None else round(mirror[1]),
        paper=paper,
        papers=tuple(PAPERS),
        frames=FRAMES,
        largest_bytes=PLACEMENT_BYTES_MAX,
    )


@router.get("/lecteur/feuille-{paper}.pdf")
def sheet(paper: str) -> Response:
    """The sheet to print at 100 %."""
    if paper not in PAPERS:
        raise UploadRefused(404, sentences.NOT_FOUND)
    return Response(sheet_pdf(platen_sheet(paper)), media_type="application/pdf")


@router.get("/lecteur/etiquette.pdf")
def label() -> Response:
    """The label for the block, to print at 100 %."""
    return Response(sheet_pdf(block_label()), media_type="application/pdf")


@router.post("/api/lecteur/etalonnage")
async def calibrate(request: Request) -> JSONResponse:
    """Pictures of the empty sheet become the calibration."""
    paper, height_mm = request.query_params.get("papier", "a4"), _height_mm(request.query_params.get("hauteur", ""))
    if paper not in PAPERS:
        raise UploadRefused(422, sentences.WRONG_REQUEST)
    mirror = _mirror(request.query_params.get("miroir", ""), request.query_params.get("ecart", ""))
    if mirror is not None and height_mm is not None:
        raise UploadRefused(422, sentences.BLOCK_WITH_MIRROR)
    images = await read_files(request, "image", FRAMES)

    before = station_of(request).platen.calibration

    def measure() -> PlatenCalibration | SheetFault:
        note_in_audit(request, AuditedAction.READER_CALIBRATED)
        return station_of(request).platen.calibrate(images, paper, height_mm, mirror)

    try:
        found = await run_in_threadpool(measure)
    except OSError as error:
        raise UploadRefused(503, sentences.UNAVAILABLE) from error
    if isinstance(found, SheetFault):
        return JSONResponse(_said(request, [found]), 422)
    language = language_of(request)
    seen = int((found.contrast > 0).sum())
    said = say(language, sentences.CALIBRATED).format(markers=seen, residual=f"{found.residual_px:.2f}")
    if mirror is not None:
        said = f"{said} {say(language, sentences.NOW_THE_BLOCK)}"
    elif before is not None and before.mirror is not None:
        said = f"{said} {say(language, sentences.MIRROR_FORGOTTEN)}"
    return JSONResponse({"faults": [], "message": said})


@router.post("/api/lecteur/bloc")
async def block(request: Request) -> JSONResponse:
    """Pictures of the labelled block give the camera's height and the mirror's lean."""
    images = await read_files(request, "image", FRAMES)

    def measure() -> PlatenCalibration | SheetFault | None:
        note_in_audit(request, AuditedAction.READER_CALIBRATED)
        return station_of(request).platen.measure_block(images)

    try:
        found = await run_in_threadpool(measure)
    except OSError as error:
        raise UploadRefused(503, sentences.UNAVAILABLE) from error
    language = language_of(request)
    if found is None:
        raise UploadRefused(422, sentences.NOT_CALIBRATED)
    if isinstance(found, SheetFault):
        answer = _said(request, [found])
        if found.finding is SheetFinding.NOT_SEEN:
            answer["message"] = say(language, sentences.BLOCK_NOT_SEEN)
        return JSONResponse(answer, 422)
    sentence = sentences.BLOCK_MEASURED if found.mirror is None else sentences.MIRROR_MEASURED
    lean = "" if found.mirror is None else f"{found.mirror.lean_deg:.1f}"
    said = say(language, sentence).format(height=round(found.camera_height_mm or 0.0), lean=lean)
    if found.mirror is not None and not shows_a_mark(found):
        said = f"{said} {say(language, sentences.NO_MARK_IN_MIRROR)}"
    return JSONResponse({"faults": [], "message": said})


@router.post("/api/lecteur/controle")
async def check(request: Request) -> JSONResponse:
    """Whether the sheet still lies as it did."""
    images = await read_files(request, "image", 1)
    if not images:
        raise UploadRefused(400, NOT_A_FORM)
    faults = await run_in_threadpool(station_of(request).platen.check, images[0])
    return JSONResponse(_said(request, faults))


def _said(request: Request, faults: list[SheetFault] | None) -> dict[str, Any]:
    language = language_of(request)
    if faults is None:
        return {"faults": [], "message": say(language, sentences.NOT_CALIBRATED)}
    spoken = [say(language, sentences.SHEET_FAULTS[fault.finding]) for fault in faults]
    return {
        "faults": [{"finding": fault.finding.value, **_place(fault)} for fault in faults],
        "message": " ".join(spoken) or say(language, sentences.SHEET_IN_ORDER),
    }


def _place(fault: SheetFault) -> dict[str, float | None]:
    """Where to point; nowhere for what is wrong with the whole sheet."""
    pointed = fault.finding in (SheetFinding.COVERED, SheetFinding.DIRTY, SheetFinding.MIRROR_DIRTY)
    return {"x": round(fault.x, 3) if pointed else None, "y": round(fault.y, 3) if pointed else None}


def _height_mm(untrusted: str) -> float | None:
    if not untrusted:
        return None
    if not untrusted.isascii() or not untrusted.isdigit() or not LOWEST_MM <= int(untrusted[:9]) <= HIGHEST_MM:
        raise UploadRefused(422, sentences.NOT_A_HEIGHT)
    return float(untrusted)


def _mirror(untrusted_edge: str, untrusted_gap: str) -> tuple[MirrorEdge, float] | None:
    """The edge and the gap of the form; no edge is no mirror."""
    if not untrusted_edge:
        return None
    if untrusted_edge not in tuple(MirrorEdge):
        raise UploadRefused(422, sentences.WRONG_REQUEST)
    gap = untrusted_gap or "0"
    if not gap.isascii() or not gap.isdigit() or int(gap[:9]) > FARTHEST_GAP_MM:
        raise UploadRefused(422, sentences.NOT_A_GAP)
    return MirrorEdge(untrusted_edge), float(gap)
