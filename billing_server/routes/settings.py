"""What the school sets on a page: how strict the terminals are with hands, with what each choice means."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from billing_server import audit
from billing_server.audit import Action
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from billing_server.school import store_calendar_order
from canteen.hand_policy import MEALS_A_WEEK, PEOPLE_MEASURED, PUPILS, REJECTS_A_WEEK, HandPolicy

router = APIRouter()


@router.get("/reglages", response_class=HTMLResponse)
def settings(request: Request, services: TheServices, fait: int = 0) -> HTMLResponse:
    """The choices, the present one marked."""
    with services.database.reading() as session:
        text = text_for(request, services, session)
        present = services.school.calendar_order(session).hand_policy
    policy = services.settings.policy
    context = {
        "here": "reglages",
        "present": present,
        "choices": [(policy, REJECTS_A_WEEK[policy]) for policy in HandPolicy],
        "pupils": PUPILS,
        "meals": MEALS_A_WEEK,
        "people": PEOPLE_MEASURED,
        "done": bool(fait),
        "policy": policy,
        "erased_on": None if policy.erase_hands_on is None else text.day_of_year(*policy.erase_hands_on),
    }
    return render(request, "reglages.html", text, context)


@router.post("/reglages/main")
def choose_policy(services: TheServices, operator: TheOperator, choix: Annotated[HandPolicy, Form()]) -> Response:
    """Keep the choice and tell every device."""
    with services.database.writing() as session:
        present = services.school.calendar_order(session)
        if choix is not present.hand_policy:
            order = replace(present, hand_policy=choix)
            store_calendar_order(session, order)
            services.orders.issue_to_all(session, order)
            audit.note(session, operator.name, Action.CHANGED_HAND_POLICY, services.clock.utc_now())
    return RedirectResponse("/reglages?fait=1", 303)
