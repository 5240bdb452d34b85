"""The reconciliation: a page a day, what waits for a human, forks side by side, certificates."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server import audit, presenting, wording
from billing_server.audit import Action
from billing_server.errors import NothingToSettle
from billing_server.models import DayCertificate, Entry, ForkedEntry
from billing_server.reconciliation import Decision, StandingPass, reconcile
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from billing_server.settlements import ForkDecision, forked_entry, open_forks
from billing_server.text import Text
from canteen.meal_pass import PassMethod, PassOutcome

router = APIRouter()

Reason = Annotated[str, Form(max_length=200, pattern="^[^\\x00]*$")]


@router.get("/rapprochement", response_class=HTMLResponse)
def page(request: Request, services: TheServices, operator: TheOperator, jour: date | None = None) -> HTMLResponse:
    """A day: terminal by terminal, and what waits for a human."""
    with services.database.writing() as session:
        now = services.clock.utc_now()
        text = text_for(request, services, session)
        calendar = services.school.calendar(session)
        day = jour or calendar.local_day(now)
        audit.note(session, operator.name, Action.SAW_RECONCILIATION, now, day.isoformat())
        found = reconcile(session, calendar, day)
        identities = services.pupils.identities(session, (one.row.pupil for one in found.to_settle + found.settled))

        def line(one: StandingPass) -> dict[str, Any]:
            identity = identities.get(one.row.pupil)
            return {
                "one": one,
                "who": presenting.named(identity, one.row.pupil, text),
                "class_name": "" if identity is None else identity.class_name,
                "at": text.time(one.row.granted_at),
                "method": text(wording.METHODS[PassMethod(one.row.method)]),
                "outcome": text(wording.OUTCOMES[PassOutcome(one.row.outcome)]),
                "instead": None
                if one.instead is None
                else f"{text.time(one.instead.granted_at)}, {one.instead.device}",
            }

        certificates = session.scalars(
            select(DayCertificate).where(DayCertificate.day == day).order_by(DayCertificate.id.desc())
        ).all()
        forks = _fork_places(session)
        context = {
            "here": "rapprochement",
            "day": day,
            "day_text": text.day(day),
            "found": found,
            "to_settle": [line(one) for one in found.to_settle],
            "settled": [line(one) for one in found.settled],
            "certificates": certificates,
            "forks": forks,
        }
    return render(request, "rapprochement.html", text, context)


@router.get("/api/reconciliation")
def as_json(services: TheServices, operator: TheOperator, day: date | None = None) -> dict[str, Any]:
    """The day's figures, as a certificate would state them, unsigned and not kept."""
    from billing_server.reconciliation import day_statement

    with services.database.writing() as session:
        now = services.clock.utc_now()
        order = services.school.calendar_order(session)
        asked = day or order.calendar.local_day(now)
        audit.note(session, operator.name, Action.SAW_RECONCILIATION, now, asked.isoformat())
        school = {"uai": services.settings.school.uai, "name": order.school_name}
        return day_statement(reconcile(session, order.calendar, asked), school, now)


@router.post("/rapprochement/regler")
def settle(
    services: TheServices,
    operator: TheOperator,
    device: Annotated[str, Form(max_length=32)],
    passage: Annotated[str, Form(max_length=26)],
    decision: Annotated[Decision, Form()],
    reason: Reason = "",
) -> Response:
    """A human's word on one pass."""
    try:
        with services.database.writing() as session:
            row = services.settlements.settle_pass(session, device, passage, decision, reason, operator.name)
            about = f"{device}/{passage}: {decision.value}"
            audit.note(session, operator.name, Action.SETTLED_PASS, services.clock.utc_now(), about)
            day = row.day
    except NothingToSettle as error:
        raise HTTPException(404, "no such pass") from error
    return RedirectResponse(f"/rapprochement?jour={day}", 303)


@router.post("/rapprochement/certifier")
def certify(services: TheServices, operator: TheOperator, jour: Annotated[date, Form()]) -> Response:
    """Sign the day as it is now."""
    with services.database.writing() as session:
        services.certificates.certify(session, jour, operator.name)
        audit.note(session, operator.name, Action.CERTIFIED_DAY, services.clock.utc_now(), jour.isoformat())
    return RedirectResponse(f"/rapprochement?jour={jour}", 303)


@router.get("/certificats/{number}.json")
def certificate_json(number: int, services: TheServices) -> Response:
    """A daily certificate with its signature."""
    with services.database.reading() as session:
        return JSONResponse(services.certificates.document(_certificate(session, number)))


@router.get("/certificats/{number}.pdf")
def certificate_pdf(number: int, request: Request, services: TheServices) -> Response:
    """The same on paper."""
    with services.database.reading() as session:
        certificate = _certificate(session, number)
        octets = services.certificates.pdf(certificate, text_for(request, services, session))
    headers = {"Content-Disposition": f'attachment; filename="certificat-{certificate.day}.pdf"'}
    return Response(octets, media_type="application/pdf", headers=headers)


@router.get("/journaux/{device}/{generation}", response_class=HTMLResponse)
def fork(device: str, generation: str, request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """Two versions of a journal, side by side where they differ."""
    with services.database.writing() as session:
        text = text_for(request, services, session)
        forked = open_forks(session, device, generation)
        if not forked:
            raise HTTPException(404, "no such fork")
        audit.note(
            session, operator.name, Action.SAW_RECONCILIATION, services.clock.utc_now(), f"{device}/{generation}"
        )
        pairs = [
            {
                "sequence": row.sequence,
                "ours": _told(session.get(Entry, (device, generation, row.sequence)), text),
                "other": _told(row, text),
            }
            for row in forked[:200]
        ]
    context = {
        "here": "rapprochement",
        "device": device,
        "generation": generation,
        "pairs": pairs,
        "more": max(0, len(forked) - 200),
        "decisions": ForkDecision,
    }
    return render(request, "journal.html", text, context)


@router.post("/journaux/{device}/{generation}/regler")
def settle_fork(
    device: str,
    generation: str,
    services: TheServices,
    operator: TheOperator,
    decision: Annotated[ForkDecision, Form()],
) -> Response:
    """A human's word on two versions."""
    try:
        with services.database.writing() as session:
            services.settlements.settle_fork(session, device, generation, decision, operator.name)
            about = f"{device}/{generation}: {decision.value}"
            audit.note(session, operator.name, Action.SETTLED_FORK, services.clock.utc_now(), about)
    except NothingToSettle as error:
        raise HTTPException(404, "no such fork") from error
    return RedirectResponse("/rapprochement", 303)


def _certificate(session: Session, number: int) -> DayCertificate:
    found = session.get(DayCertificate, number) if number < 2**31 else None
    if found is None:
        raise HTTPException(404, "no such certificate")
    return found


def _fork_places(session: Session) -> list[tuple[str, str, int]]:
    places = session.execute(
        select(ForkedEntry.device, ForkedEntry.generation)
        .distinct()
        .order_by(ForkedEntry.device, ForkedEntry.generation)
    )
    counted = [(device, generation, len(open_forks(session, device, generation))) for device, generation in places]
    return [place for place in counted if place[2]]


def _told(row: Entry | ForkedEntry | None, text: Text) -> dict[str, str]:
    if row is None:
        return {"kind": text("rien"), "at": "", "digest": "", "what": ""}
    if isinstance(row, ForkedEntry):
        entry = forked_entry(row)
        kind, recorded_at, body = entry.kind, entry.recorded_at, entry.body
    else:
        import json

        kind, recorded_at, body = row.kind, row.recorded_at, json.loads(row.body or "{}")
    what = ", ".join(f"{key}: {body[key]}" for key in ("pupil", "pass", "day", "period", "number") if body.get(key))
    return {"kind": kind, "at": text.moment(recorded_at), "digest": row.digest[:16], "what": what}
