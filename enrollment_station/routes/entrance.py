"""The personal link, and the page of whoever comes without one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from enrollment_station.door import COOKIE, ENTRANCE
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.rendering import render, station_of

router = APIRouter()
_TERM_S = 120 * 24 * 3600
"""A school term: then the operator opens the link once more."""


@router.get(ENTRANCE)
def enter(request: Request, jeton: str = "") -> Response:
    """Exchanges the link's token for a cookie that scripts cannot read."""
    try:
        operator = station_of(request).operators.find(jeton)
    except ConfigurationRefused:
        operator = None
    if operator is None:
        return render(request, "closed.html", 401)
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, jeton, max_age=_TERM_S, path="/", httponly=True, samesite="strict")
    return response


async def closed_door(scope: Scope, receive: Receive, send: Send) -> None:
    """What a browser without a valid cookie sees, wherever it wanted to go."""
    await render(Request(scope, receive), "closed.html", 401)(scope, receive, send)


@router.get("/favicon.ico")
def icon() -> Response:
    return RedirectResponse("/static/icon.svg", 307)
