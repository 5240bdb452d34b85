"""The officer's papers: a certificate a purge, and every receipt in one file that is checked elsewhere."""

from __future__ import annotations

import json

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from billing_server import audit
from billing_server.audit import Action
from billing_server.models import Purge
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import text_for
from canteen.errors import InvalidIdentifier
from canteen.identifiers import parse_purge_id

router = APIRouter()


@router.get("/api/purges/export")
def export(services: TheServices, operator: TheOperator) -> Response:
    """All purges with signed receipts and public keys; `canteen-billing verify-receipts` checks them offline."""
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.EXPORTED_RECEIPTS, services.clock.utc_now())
        document = services.evidence.export(session)
    headers = {"Content-Disposition": 'attachment; filename="recus-effacements.json"'}
    return Response(json.dumps(document, ensure_ascii=False), media_type="application/json", headers=headers)


@router.get("/purges/{untrusted_purge}/certificat.json", include_in_schema=False)
def certificate(untrusted_purge: str, services: TheServices, operator: TheOperator) -> Response:
    """One purge, signed."""
    with services.database.writing() as session:
        purge = _purge(session, untrusted_purge)
        audit.note(session, operator.name, Action.CERTIFIED_PURGE, services.clock.utc_now(), purge.purge)
        return JSONResponse(services.evidence.certificate(session, purge))


@router.get("/purges/{untrusted_purge}/certificat.pdf", include_in_schema=False)
def certificate_pdf(untrusted_purge: str, request: Request, services: TheServices, operator: TheOperator) -> Response:
    """The same on paper."""
    with services.database.writing() as session:
        purge = _purge(session, untrusted_purge)
        audit.note(session, operator.name, Action.CERTIFIED_PURGE, services.clock.utc_now(), purge.purge)
        octets = services.evidence.certificate_pdf(session, purge, text_for(request, services, session))
    headers = {"Content-Disposition": f'attachment; filename="effacement-{purge.purge}.pdf"'}
    return Response(octets, media_type="application/pdf", headers=headers)


def _purge(session: Session, untrusted_purge: str) -> Purge:
    try:
        found = session.get(Purge, parse_purge_id(untrusted_purge))
    except InvalidIdentifier:
        found = None
    if found is None:
        raise HTTPException(404, "no such purge")
    return found
