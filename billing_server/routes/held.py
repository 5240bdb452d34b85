"""What is held of one pupil, for the family that asks: a page to print, and a file."""

from __future__ import annotations

import json

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from billing_server import audit, presenting
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.held_data import HeldData, held_data
from billing_server.routes.accounts import euros
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from canteen.errors import InvalidIdentifier
from canteen.identifiers import parse_pupil_id
from canteen.operator_access import Operator

router = APIRouter()


@router.get("/eleves/{untrusted_pupil}/donnees", response_class=HTMLResponse)
def page(untrusted_pupil: str, request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """All of it in words, to be read over a shoulder or printed."""
    with services.database.writing() as session:
        held = _held(session, services, operator, untrusted_pupil)
        text = text_for(request, services, session)
        context = {
            "here": "eleves",
            "held": held,
            "who": presenting.full_name(held.identity),
            "meals": presenting.meals(held.row, text),
            "policy": services.settings.policy,
            "euros": euros,
            "asked_at": text.moment(services.clock.utc_now()),
        }
        return render(request, "donnees.html", text, context)


@router.get("/eleves/{untrusted_pupil}/donnees.json")
def file(untrusted_pupil: str, services: TheServices, operator: TheOperator) -> Response:
    """The same for a program."""
    with services.database.writing() as session:
        held = _held(session, services, operator, untrusted_pupil)
        content = json.dumps(held.as_json(), ensure_ascii=False, indent=2)
    headers = {"Content-Disposition": f'attachment; filename="donnees-{held.row.pupil}.json"'}
    return Response(content, media_type="application/json", headers=headers)


def _held(session: Session, services: Services, operator: Operator, untrusted_pupil: str) -> HeldData:
    try:
        held = held_data(session, services.pupils, parse_pupil_id(untrusted_pupil))
    except InvalidIdentifier:
        held = None
    if held is None:
        raise HTTPException(404, "no such pupil")
    audit.note(session, operator.name, Action.SAW_HELD_DATA, services.clock.utc_now(), held.row.pupil)
    return held
