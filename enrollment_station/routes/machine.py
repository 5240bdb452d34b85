"""What the pages' scripts and other programs call; the same rules for both."""

from __future__ import annotations

from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from canteen.consent import ConsentState, GivenBy
from canteen.identifiers import PupilId, parse_device_id, parse_pupil_id
from enrollment_station import sentences
from enrollment_station.audit_log import AuditedAction
from enrollment_station.consents import NOT_AN_ANSWER, ConsentForm
from enrollment_station.enrollment import Enrolled, NotAcquired, NotEnrolled
from enrollment_station.errors import ConsentRefused, ConsentRequired, PupilNotFound, StandInRefused, UploadRefused
from enrollment_station.language import say
from enrollment_station.rendering import language_of, note_in_audit, operator_name, station_of
from enrollment_station.roster_view import state_of
from enrollment_station.stand_ins import NOT_THAT_DAY, read_last_day, read_mask, read_terms
from enrollment_station.uploads import NOT_A_FORM, discard_body, read_files, read_json_object
from hand_geometry.quality import QualityReason
from hand_geometry.reference import SAMPLES_TO_ENROLL

router = APIRouter(prefix="/api")


@router.get("/etat")
def state(request: Request) -> dict[str, Any]:
    """How the station is."""
    station = station_of(request)
    link, unfinished = station.box.link, station.work.read()
    return {
        "device": station.configuration.device,
        "orders_done": station.box.done_up_to,
        "backlog": station.journal.backlog,
        "connected": link.connected,
        "since": None if link.since is None else link.since.isoformat(),
        "last_contact": None if link.last_contact is None else link.last_contact.isoformat(),
        "clock_trust": station.recorder.clock_trust().value,
        "epoch": station.store.epoch,
        "unfinished": len(unfinished.consents) + len(unfinished.enrolled) + len(unfinished.terminals),
    }


@router.get("/eleves")
def pupils(request: Request) -> dict[str, Any]:
    """The roster."""
    station = station_of(request)
    note_in_audit(request, AuditedAction.ROSTER_SEEN)
    renew = station.advice.due(station.consents.today())
    return {
        "pupils": [
            {
                "pupil": standing.record.pupil,
                "first_name": standing.record.first_name,
                "last_name": standing.record.last_name,
                "class": standing.record.class_name,
                "state": state_of(
                    standing.consent,
                    standing.revision,
                    has_card=standing.has_card,
                    renew_revision=renew.get(standing.record.pupil, 0),
                ).value,
                "consent": standing.consent.value,
                "revision": standing.revision,
                "has_card": standing.has_card,
            }
            for standing in station.store.standings()
        ]
    }


@router.post("/eleves/{untrusted_pupil}/code")
def code(request: Request, untrusted_pupil: str) -> dict[str, str]:
    """The pupil's personal code. A POST, since each look leaves its line in the audit log."""
    pupil = parse_pupil_id(untrusted_pupil)
    note_in_audit(request, AuditedAction.CODE_SEEN, pupil)
    found = station_of(request).store.code_of(pupil)
    if found is None:
        raise PupilNotFound(pupil)
    return {"code": found.digits}


@router.post("/eleves/{untrusted_pupil}/consentement")
async def consent(request: Request, untrusted_pupil: str) -> dict[str, str]:
    """Records consent, opposition or withdrawal."""
    pupil = parse_pupil_id(untrusted_pupil)
    form = _read_consent(await read_json_object(request))

    def take() -> dict[str, str]:
        note_in_audit(request, AuditedAction.CONSENT_RECORDED, pupil)
        fact = station_of(request).consents.take(pupil, form, operator_name(request))
        return {"state": fact.state.value, "given_at": fact.given_at.isoformat()}

    return await run_in_threadpool(take)


@router.post("/eleves/{untrusted_pupil}/main/essai")
async def try_placement(request: Request, untrusted_pupil: str) -> dict[str, Any]:
    """Whether one placement can be used; nothing is kept."""
    pupil = parse_pupil_id(untrusted_pupil)
    await _pass_consent_gate(request, pupil)
    images = await read_files(request, "placement", 1)
    if not images:
        raise UploadRefused(400, NOT_A_FORM)

    def judge() -> NotAcquired | None:
        mask = read_mask(request.query_params)
        note_in_audit(request, AuditedAction.HAND_TRIED, pupil)
        return station_of(request).enrollment.try_placement(pupil, images[0], mask)

    failure = await run_in_threadpool(judge)
    if failure is None:
        sentence = sentences.GOOD_PLACEMENT
    else:
        sentence = sentences.FINDINGS.get(failure.finding) or sentences.PLACEMENTS[failure.reason]
    return {
        "acquired": failure is None,
        "reason": None if failure is None else failure.reason,
        "place": None if failure is None else failure.place,
        "message": say(language_of(request), sentence),
    }


@router.post("/eleves/{untrusted_pupil}/main")
async def enroll(request: Request, untrusted_pupil: str) -> JSONResponse:
    """Three placements become the pupil's reference."""
    pupil = parse_pupil_id(untrusted_pupil)
    await _pass_consent_gate(request, pupil)
    images = await read_files(request, "placement", SAMPLES_TO_ENROLL)

    def make() -> Enrolled | NotEnrolled:
        station = station_of(request)
        terms = read_terms(request.query_params, station.consents.today())
        note_in_audit(request, AuditedAction.HAND_SUBMITTED, pupil)
        return station.enrollment.enroll(pupil, images, terms)

    outcome = await run_in_threadpool(make)
    if isinstance(outcome, Enrolled):
        return JSONResponse({"enrolled": True, "revision": outcome.revision})
    disagree = outcome.reason == QualityReason.SAMPLES_DISAGREE and outcome.placement is None
    sentence = sentences.ALL_DISAGREE if disagree else sentences.PLACEMENTS[outcome.reason]
    return JSONResponse(
        {
            "enrolled": False,
            "reason": outcome.reason,
            "placement": outcome.placement,
            "message": say(language_of(request), sentence),
        },
        422,
    )


@router.post("/eleves/{untrusted_pupil}/main/repos")
async def rest(request: Request, untrusted_pupil: str) -> dict[str, int]:
    """The hand is not compared through a day; the pupil passes by card."""
    pupil = parse_pupil_id(untrusted_pupil)
    asked = await read_json_object(request)

    def put_down() -> dict[str, int]:
        station = station_of(request)
        until = read_last_day(asked.get("jusqu_au"), station.consents.today())
        if until is None:
            raise StandInRefused(NOT_THAT_DAY)
        note_in_audit(request, AuditedAction.HAND_RESTED, pupil)
        return {"revision": station.enrollment.rest(pupil, until).revision}

    return await run_in_threadpool(put_down)


@router.post("/eleves/{untrusted_pupil}/main/reprise")
def resume(request: Request, untrusted_pupil: str) -> dict[str, int]:
    """What stands in for the usual hand ends now."""
    pupil = parse_pupil_id(untrusted_pupil)
    note_in_audit(request, AuditedAction.HAND_RESUMED, pupil)
    return {"revision": station_of(request).enrollment.resume(pupil).revision}


@router.post("/bornes/{untrusted_device}/references")
async def resend(request: Request, untrusted_device: str) -> dict[str, str]:
    """Seals every reference anew for one terminal, for example after its memory card was replaced."""
    device = parse_device_id(untrusted_device)

    def put_down() -> dict[str, str]:
        station = station_of(request)
        note_in_audit(request, AuditedAction.REFERENCES_RESENT)
        if device not in {entry.device for entry in station.dispatch.terminals()}:
            raise UploadRefused(404, sentences.NOT_FOUND)
        station.work.begin_terminals({device})
        station.dispatch.finish()
        return {"device": device}

    return await run_in_threadpool(put_down)


async def _pass_consent_gate(request: Request, pupil: PupilId) -> None:
    """Before a byte of a picture is kept; the desk asks once more. What is refused is read away unseen."""
    try:
        await run_in_threadpool(station_of(request).enrollment.require_consent, pupil)
    except (ConsentRequired, PupilNotFound):
        await run_in_threadpool(note_in_audit, request, AuditedAction.CAPTURE_FORBIDDEN, pupil)
        await discard_body(request)
        raise


def _read_consent(untrusted: dict[str, Any]) -> ConsentForm:
    try:
        answer = ConsentState(str(untrusted.get("state")))
    except ValueError as error:
        raise ConsentRefused(NOT_AN_ANSWER) from error
    try:
        given_by = GivenBy(str(untrusted.get("given_by")))
    except ValueError as error:
        raise ConsentRefused(sentences.NOT_GIVEN_BY) from error
    signed_on = untrusted.get("signed_on")
    try:
        day = None if signed_on is None else date.fromisoformat(signed_on)
    except (ValueError, TypeError) as error:
        raise ConsentRefused(sentences.NOT_A_DATE) from error
    notice = untrusted.get("notice_version")
    return ConsentForm(answer, notice if isinstance(notice, str) else "", given_by, day)
