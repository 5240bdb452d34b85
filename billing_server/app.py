"""The web application over the assembled services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from billing_server.assembly import Services
from billing_server.gate import Gate
from billing_server.routes import accounts, actions, devices, evidence, held, machine, pages, reconciling, settings
from billing_server.routes.pull import make_pull_app

_STATIC = Path(__file__).parent / "static"


def make_app(services: Services) -> FastAPI:
    """The application; `services` must be started by the caller."""
    app = FastAPI(
        title="canteen-billing",
        version="1",
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        middleware=[Middleware(Gate, operators=services.operators, clients=services.clients, refuse=pages.closed_door)],
        exception_handlers={RequestValidationError: _invalid, HTTPException: _problem},
    )
    app.state.services = services
    app.state.looks = {}
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.mount("/api/pull", make_pull_app(services))
    app.include_router(evidence.router)  # before the one whose /api/purges/{purge} would take "export" for a purge
    app.include_router(machine.router)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(actions.router, include_in_schema=False)
    app.include_router(held.router, include_in_schema=False)
    app.include_router(accounts.router, include_in_schema=False)
    app.include_router(reconciling.router, include_in_schema=False)
    app.include_router(settings.router, include_in_schema=False)
    app.include_router(devices.router)
    return app


async def _problem(request: Request, error: HTTPException) -> Response:
    """A sentence on a page for people, JSON for programs."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    return pages.problem(request, error.status_code)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    """What is wrong and where, without repeating what was sent: it may be a name or a code."""
    if not request.url.path.startswith("/api/"):
        return pages.problem(request, 422)
    problems: list[dict[str, Any]] = [
        {"where": [str(part) for part in problem["loc"]], "what": problem["msg"]} for problem in error.errors()
    ]
    return JSONResponse({"error": "invalid", "problems": problems}, 422)
