"""The pages that change something: each change is asked for on a page of its own, pressed, done, and audited."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from billing_server import audit, presenting, reading
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.errors import ImportRefused, UnknownCard
from billing_server.models import Alarm, Card, PupilRow
from billing_server.orders import locked_devices
from billing_server.roster import Identity
from billing_server.roster_import import parse_leavers, parse_roster
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from canteen.errors import InvalidIdentifier
from canteen.identifiers import PupilId, parse_pupil_id
from sync.orders import PurgeCause

router = APIRouter()

DEPARTURES = (PurgeCause.DEPARTURE, PurgeCause.DEREGISTRATION, PurgeCause.END_OF_SCHOOLING)
"""What the office may give as the reason; the others have their own ways in."""


@router.get("/eleves/{untrusted_pupil}/depart", response_class=HTMLResponse)
def ask_departure(untrusted_pupil: str, request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """What a departure does, before the button that does it."""
    with services.database.writing() as session:
        text = text_for(request, services, session)
        row = _pupil(session, untrusted_pupil)
        identity = services.pupils.identity(row)
        audit.note(session, operator.name, Action.SAW_ROSTER, services.clock.utc_now(), row.pupil)
        days = services.settings.policy.purge_deadline.days
    context = {
        "here": "eleves",
        "pupil": row.pupil,
        "who": presenting.full_name(identity),
        "class_name": identity.class_name,
        "days": days,
        "gone": row.departed_at is not None,
        "causes": DEPARTURES,
    }
    return render(request, "depart.html", text, context)


@router.post("/eleves/{untrusted_pupil}/depart")
def depart(
    untrusted_pupil: str,
    services: TheServices,
    operator: TheOperator,
    cause: Annotated[PurgeCause, Form()] = PurgeCause.DEPARTURE,
) -> Response:
    """The button: the purge starts, and its page shows how it goes."""
    with services.database.writing() as session:
        row = _pupil(session, untrusted_pupil)
        purge = services.purges.depart(session, parse_pupil_id(row.pupil), cause, operator.name)
        audit.note(session, operator.name, Action.DEPARTED_PUPIL, services.clock.utc_now(), row.pupil)
    return RedirectResponse(f"/purges#{purge}", 303)


@router.get("/cartes/{card}/bloquer", response_class=HTMLResponse)
def ask_block(card: int, request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """A lost card, before the button."""
    with services.database.writing() as session:
        text = text_for(request, services, session)
        found = session.get(Card, card)
        if found is None:
            raise HTTPException(404, "no such card")
        row = session.get_one(PupilRow, found.pupil)
        identity = services.pupils.identity(row)
        audit.note(session, operator.name, Action.SAW_ROSTER, services.clock.utc_now(), row.pupil)
        context = _block_context(services, session, found)
    return render(request, "bloquer.html", text, {**context, "who": presenting.full_name(identity)})


@router.get("/cartes/{card}/direct", response_class=HTMLResponse)
def live_block(card: int, request: Request, services: TheServices, operator: TheOperator, vu: str = "") -> Response:  # noqa: ARG001 - let in
    """The moving part of a blocked card's page: which device knows, which does not; names nobody."""
    with services.database.reading() as session:
        text = text_for(request, services, session)
        found = session.get(Card, card)
        if found is None:
            raise HTTPException(404, "no such card")
        context = _block_context(services, session, found)
    if context["mark"] == vu:
        return Response(status_code=204)
    return render(request, "_bloquee.html", text, context)


def _block_context(services: Services, session: Session, card: Card) -> dict[str, Any]:
    known = reading.who_knows_of_block(session, card)
    unaware = [one for one in known if one.answered_after is None]
    contacts = {state.device.device: state.last_contact for state in reading.device_states(session)} if unaware else {}
    return {
        "here": "eleves",
        "card": card.id,
        "blocked": card.blocked_at,
        "known": known,
        "unaware": unaware,
        "contacts": contacts,
        "now": services.clock.utc_now(),
        "mark": f"{services.pulse.name}-{services.pulse.beats}",
    }


@router.post("/cartes/{card}/bloquer")
def block(card: int, services: TheServices, operator: TheOperator) -> Response:
    """The card opens nothing any more."""
    try:
        with services.database.writing() as session:
            services.cards.block(session, card)
            audit.note(session, operator.name, Action.BLOCKED_CARD, services.clock.utc_now(), str(card))
    except UnknownCard as error:
        raise HTTPException(404, "no such card") from error
    return RedirectResponse(f"/cartes/{card}/bloquer", 303)


@router.post("/eleves/import", response_class=HTMLResponse)
def import_roster(
    request: Request, services: TheServices, operator: TheOperator, fichier: Annotated[UploadFile, File()]
) -> Response:
    """A CSV file of pupils: all of it, or a page that says what is wrong in which row."""
    untrusted_file = fichier.file.read()
    with services.database.reading() as session:
        text = text_for(request, services, session)
    try:
        with services.database.writing() as session:
            locked_devices(session)  # before looking who is there: a double click must not add everybody twice
            known = [identity for _, identity in _present(services, session)]
            today = services.school.calendar(session).local_day(services.clock.utc_now())
            added = services.pupils.add(session, parse_roster(untrusted_file, today, known))
            audit.note(session, operator.name, Action.ADDED_PUPILS, services.clock.utc_now(), str(len(added)))
    except ImportRefused as refusal:
        context = {"here": "eleves", "errors": refusal.rows[:100], "more": max(0, len(refusal.rows) - 100)}
        return render(request, "import.html", text, context, 422)
    return RedirectResponse("/eleves", 303)


@router.post("/eleves/departs", response_class=HTMLResponse)
def ask_departures(
    request: Request,
    services: TheServices,
    operator: TheOperator,
    fichier: Annotated[UploadFile, File()],
    liste: Annotated[Literal["partants", "restants"], Form()] = "partants",
) -> Response:
    """A CSV file of those who leave, or of all who stay: who that is, before the button that does it."""
    untrusted_file = fichier.file.read()
    with services.database.writing() as session:
        text = text_for(request, services, session)
        present = _present(services, session)
        try:
            leaving = set(parse_leavers(untrusted_file, present, whole_list=liste == "restants"))
        except ImportRefused as refusal:
            context = {"here": "eleves", "errors": refusal.rows[:100], "more": max(0, len(refusal.rows) - 100)}
            return render(request, "import.html", text, context, 422)
        audit.note(session, operator.name, Action.SAW_ROSTER, services.clock.utc_now(), str(len(leaving)))
    leavers = [(pupil, identity) for pupil, identity in present if pupil in leaving]
    context = {
        "here": "eleves",
        "leavers": sorted(
            ((one.class_name, one.last_name, one.first_name) for _, one in leavers), key=lambda line: line
        ),
        "pupils": " ".join(pupil for pupil, _ in leavers),
        "present": len(present),
        "days": services.settings.policy.purge_deadline.days,
        "causes": DEPARTURES,
    }
    return render(request, "departs.html", text, context)


@router.post("/eleves/departs/confirmer")
def depart_all(
    services: TheServices,
    operator: TheOperator,
    pupils: Annotated[str, Form(max_length=200_000)],
    cause: Annotated[PurgeCause, Form()] = PurgeCause.DEPARTURE,
) -> Response:
    """The button: a purge for each of them, all or none."""
    with services.database.writing() as session:
        locked_devices(session)
        for name in dict.fromkeys(pupils.split()):
            row = _pupil(session, name)
            services.purges.depart(session, parse_pupil_id(row.pupil), cause, operator.name)
            audit.note(session, operator.name, Action.DEPARTED_PUPIL, services.clock.utc_now(), row.pupil)
    return RedirectResponse("/purges", 303)


@router.post("/alarmes/{alarm}/classer")
def close_alarm(alarm: int, services: TheServices, operator: TheOperator) -> Response:
    """Somebody has looked at it."""
    with services.database.writing() as session:
        row = session.get(Alarm, alarm, with_for_update=True)
        if row is None:
            raise HTTPException(404, "no such alarm")
        if row.closed_at is None:
            row.closed_at = services.clock.utc_now()
            audit.note(session, operator.name, Action.CLOSED_ALARM, row.closed_at, str(alarm))
    return RedirectResponse("/alarmes", 303)


def _present(services: Services, session: Session) -> list[tuple[PupilId, Identity]]:
    rows = session.scalars(select(PupilRow).where(PupilRow.departed_at.is_(None)).order_by(PupilRow.pupil))
    return [(PupilId(row.pupil), services.pupils.identity(row)) for row in rows]


def _pupil(session: Session, untrusted_pupil: str) -> PupilRow:
    try:
        row = session.get(PupilRow, parse_pupil_id(untrusted_pupil))
    except InvalidIdentifier:
        row = None
    if row is None:
        raise HTTPException(404, "no such pupil")
    return row
