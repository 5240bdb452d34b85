"""The pages a person sees. Whoever opens one leaves a line in the audit log first."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from canteen.consent import ConsentState, GivenBy, may_use_biometrics
from canteen.identifiers import PupilId, parse_pupil_id
from enrollment_station import card_sentences
from enrollment_station.audit_log import AuditedAction
from enrollment_station.errors import PupilNotFound, StandInRefused
from enrollment_station.orders import CALENDAR_DOCUMENT
from enrollment_station.rendering import operator_name, render, station_of
from enrollment_station.roster_view import STATE_NAMES, state_of, view_roster
from enrollment_station.stand_ins import FINGER_NAMES
from enrollment_station.uploads import PLACEMENT_BYTES_MAX
from hand_geometry.held_hand import HeldHand

router = APIRouter()


@router.get("/")
def roster(request: Request, q: str = "", etat: str = "", classe: str = "") -> HTMLResponse:
    """The list of pupils."""
    station = station_of(request)
    station.audit.note(station.recorder.now(), operator_name(request), AuditedAction.ROSTER_SEEN)
    renew = station.advice.due(station.consents.today())
    view = view_roster(station.store.standings(), q, etat, classe, renew=renew)
    return render(
        request,
        "roster.html",
        view=view,
        search=q[:100],
        state=etat,
        class_name=classe,
        state_names=STATE_NAMES,
        link=station.box.link,
        backlog=station.journal.backlog,
        school=_school(request),
    )


@router.post("/cle")
def exchange_stick(request: Request) -> RedirectResponse:
    """Have the program with the network exchange the stick that is in this machine; it takes a second or two."""
    station_of(request).box.ask_stick()
    return RedirectResponse("/cle", 303)


@router.get("/cle")
def stick(request: Request) -> HTMLResponse:
    """What became of the last stick."""
    station = station_of(request)
    visit, waits = station.box.stick, station.box.stick_asked
    at = None if visit is None else visit.at.astimezone(station.consents.timezone())
    return render(
        request,
        "stick.html",
        visit=visit,
        at=at,
        waits=waits,
        backlog=station.journal.backlog,
        school=_school(request),
    )


@router.get("/eleves/{untrusted_pupil}")
def pupil(request: Request, untrusted_pupil: str) -> HTMLResponse:
    """One pupil: consent, hand, card."""
    station = station_of(request)
    pupil_id = parse_pupil_id(untrusted_pupil)
    record = station.store.pupil(pupil_id)
    if record is None:
        raise PupilNotFound(pupil_id)
    station.audit.note(station.recorder.now(), operator_name(request), AuditedAction.PUPIL_SEEN, pupil_id)
    consent_state, consent = station.store.consent_of(pupil_id)
    revision = station.store.reference_revision(pupil_id)
    has_card = station.store.has_card(pupil_id)
    today = station.consents.today()
    renew = station.advice.due(today).get(pupil_id, 0)
    return render(
        request,
        "pupil.html",
        record=record,
        state=state_of(consent_state, revision, has_card=has_card, renew_revision=renew),
        state_names=STATE_NAMES,
        consent_state=consent_state,
        consent=consent,
        may_capture=may_use_biometrics(consent_state),
        states=ConsentState,
        givers=GivenBy,
        has_reference=bool(revision),
        standing_in=_standing_in(request, pupil_id) if revision else None,
        finger_names={finger.name.lower(): name for finger, name in FINGER_NAMES.items()},
        has_card=has_card,
        terminals=len(station.dispatch.terminals()),
        notice=station.consents.latest_notice(),
        today=today,
        signed_on=None if consent is None else consent.given_at.astimezone(station.consents.timezone()).date(),
        card_mode=station.configuration.cards.mode.value,
        card_steps=card_sentences.STEPS,
        encoding_steps=card_sentences.ENCODING_STEPS,
        wiping_steps=card_sentences.WIPING_STEPS,
        checking_steps=card_sentences.CHECKING_STEPS,
        taking_steps=card_sentences.TAKING_STEPS,
        largest_bytes=PLACEMENT_BYTES_MAX,
        school=_school(request),
    )


def _standing_in(request: Request, pupil: PupilId) -> HeldHand | None:
    try:
        return station_of(request).enrollment.standing_in(pupil)
    except StandInRefused:  # the lease is over: nothing of a hand is read
        return None


def _school(request: Request) -> str:
    document = station_of(request).store.document(CALENDAR_DOCUMENT) or {}
    return str(document.get("school_name", ""))
