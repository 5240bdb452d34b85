"""The pull interface for a central server, under /api/pull: an application of its own, with its own OpenAPI document.

Every answer continues from a position: positions are given in commit order without holes, so that whoever reads on from
the last one skips nothing and repeats nothing, whatever is written meanwhile. See docs/pull-api.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException

from billing_server import audit, reading
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.clients import Client
from billing_server.routes import shapes
from billing_server.routes.asking import TheServices

NEXT_HEADER = "Canteen-Next"
"""Where CSV and JSON lines have no place to say where to go on."""

_REFUSAL_NOTED_EVERY = timedelta(minutes=1)

_INT_MOST = 2**53

_Method = Literal["hand", "card", "vouched"]
_Trust = Literal["trusted", "unconfirmed", "untrusted"]
_Outcome = Literal["open", "completed", "abandoned", "unresolved"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PassOut(_Shape):
    """A granted pass; `outcome` as of now."""

    position: int
    pass_id: str = Field(alias="pass")
    device: str
    generation: str
    sequence: int
    pupil: str
    method: _Method
    day: date
    period: str
    charged_to: Literal["forfait-4", "forfait-5", "external-meal"] | None
    granted_at: str
    clock_trust: _Trust
    forced_because: str | None
    outcome: _Outcome
    outcome_at: str | None


class OutcomeOut(_Shape):
    """What became of a pass, in the order in which it was learnt."""

    position: int
    pass_id: str = Field(alias="pass")
    device: str
    outcome: _Outcome
    outcome_at: str | None


class DenialOut(_Shape):
    """Nobody went through, and why."""

    position: int
    pass_id: str = Field(alias="pass")
    device: str
    generation: str
    sequence: int
    pupil: str | None
    method: _Method
    reason: str
    day: date
    denied_at: str
    clock_trust: _Trust


class PassesOut(_Shape):
    """A page of passes; give back `next` as `after`."""

    passes: list[PassOut]
    next: int
    more: bool


class OutcomesOut(_Shape):
    """A page of outcomes."""

    outcomes: list[OutcomeOut]
    next: int
    more: bool


class DenialsOut(_Shape):
    """A page of denials."""

    denials: list[DenialOut]
    next: int
    more: bool


class SchoolOut(_Shape):
    """A school whose ledger is here and may be read with this key."""

    uai: str
    name: str


class ProblemOut(_Shape):
    """Why there is no answer."""

    error: str


class InvalidPart(_Shape):
    """One thing that is wrong in the request."""

    where: list[str]
    what: str


class InvalidOut(_Shape):
    """What is wrong in the request; never what was sent."""

    error: str
    problems: list[InvalidPart]


_TEXTS = {"text/csv": {"schema": {"type": "string"}}, "application/jsonl": {"schema": {"type": "string"}}}
_NEXT = {"schema": {"type": "integer"}, "description": "Where to go on: the next `after`."}
_RETRY = {"schema": {"type": "integer"}, "description": "In how many seconds to ask again."}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemOut, "description": "No such key."},
    403: {"model": ProblemOut, "description": "This key may not read this school."},
    404: {"model": ProblemOut, "description": "This school's ledger is not here."},
    422: {"model": InvalidOut, "description": "A parameter is not what it should be."},
    429: {"model": ProblemOut, "description": "Too many requests.", "headers": {"Retry-After": _RETRY}},
}
_ROWS: dict[int | str, dict[str, Any]] = {200: {"content": _TEXTS, "headers": {NEXT_HEADER: _NEXT}}, **_REFUSALS}

Uai = Annotated[str, Path(pattern="^[0-9]{7}[A-Z]$", description="The establishment's number.", examples=["0751234X"])]
After = Annotated[int, Query(ge=0, le=_INT_MOST, description="The last position that you have.")]
Limit = Annotated[int, Query(ge=1, le=5000)]
Day = Annotated[date | None, Query(description="Only this school day.")]
Period = Annotated[
    str | None, Query(min_length=1, max_length=100, description="Only this serving period, for example midi.")
]
Format = Annotated[Literal["json", "csv", "jsonl"], Query(alias="format")]


def make_pull_app(services: Services) -> FastAPI:
    """The application to mount at /api/pull."""
    app = FastAPI(
        title="canteen-billing: pull",
        version="1",
        description="Passes, their outcomes and denials, by cursor.",
        docs_url=None,
        redoc_url=None,
        dependencies=[Security(HTTPBearer(auto_error=False, description="The client's key."))],
        exception_handlers={RequestValidationError: _invalid, AnyHTTPException: _problem},
    )
    app.state.services = services
    app.state.refusals_noted = {}
    app.get("/schools", responses={k: _REFUSALS[k] for k in (401, 429)})(schools)
    app.get("/schools/{uai}/passes", response_model=PassesOut, responses=_ROWS)(passes)
    app.get("/schools/{uai}/outcomes", response_model=OutcomesOut, responses=_ROWS)(outcomes)
    app.get("/schools/{uai}/denials", response_model=DenialsOut, responses=_ROWS)(denials)
    return app


def _asking(request: Request, services: TheServices) -> Client:
    """The client, if it is not too fast."""
    client: Client = request.state.client  # the gate let nobody through without
    wait_s = services.pace.wait_s(client.name)
    if wait_s:
        _note_refusal(request, services, client, "too fast")
        raise HTTPException(429, "too many requests", headers={"Retry-After": str(wait_s)})
    return client


TheClient = Annotated[Client, Depends(_asking)]


def _allowed(request: Request, services: TheServices, client: TheClient, uai: Uai) -> Client:
    """The client, if it may read this school and its ledger is here."""
    if uai not in client.uais:
        _note_refusal(request, services, client, uai)
        raise HTTPException(403, "this key may not read this school")
    if uai != services.settings.school.uai:
        _note_refusal(request, services, client, f"{uai} is not here")
        raise HTTPException(404, "this school's ledger is not here")
    return client


AllowedClient = Annotated[Client, Depends(_allowed)]


def schools(services: TheServices, client: TheClient) -> list[SchoolOut]:
    """The schools that may be read with this key."""
    with services.database.writing() as session:
        _note(session, services, client, "schools")
        uai, name = services.settings.school.uai, services.school.calendar_order(session).school_name
    return [SchoolOut(uai=uai, name=name)] if uai in client.uais else []


def passes(
    services: TheServices,
    client: AllowedClient,
    uai: Uai,
    after: After = 0,
    limit: Limit = 500,
    day: Day = None,
    period: Period = None,
    form: Format = "json",
) -> Response:
    """Passes in the order in which the ledger took them."""
    with services.database.writing() as session:
        _note(session, services, client, f"{uai} passes after {after}")
        rows = reading.passes_after(session, after, limit, day, period)
        return _answer(
            services, "passes", rows, shapes.pass_json, PassOut, lambda row: row.position, after, limit, form
        )


def outcomes(
    services: TheServices,
    client: AllowedClient,
    uai: Uai,
    after: After = 0,
    limit: Limit = 500,
    day: Day = None,
    period: Period = None,
    form: Format = "json",
) -> Response:
    """What became of passes, by a cursor of its own."""
    with services.database.writing() as session:
        _note(session, services, client, f"{uai} outcomes after {after}")
        rows = reading.outcomes_after(session, after, limit, day, period)
        return _answer(
            services,
            "outcomes",
            rows,
            shapes.outcome_json,
            OutcomeOut,
            lambda row: row.outcome_position,
            after,
            limit,
            form,
        )


def denials(
    services: TheServices,
    client: AllowedClient,
    uai: Uai,
    after: After = 0,
    limit: Limit = 500,
    day: Day = None,
    form: Format = "json",
) -> Response:
    """Denials, as passes."""
    with services.database.writing() as session:
        _note(session, services, client, f"{uai} denials after {after}")
        rows = reading.denials_after(session, after, limit, day)
        return _answer(
            services, "denials", rows, shapes.denial_json, DenialOut, lambda row: row.position, after, limit, form
        )


def _answer(
    services: Services,
    name: str,
    rows: Sequence[Any],
    shaped: Callable[[Any], dict[str, Any]],
    shape: type[BaseModel],
    position: Callable[[Any], int],
    after: int,
    limit: int,
    form: str,
) -> Response:
    items = [shaped(row) for row in rows]
    following = after
    if rows:
        following = position(rows[-1])
        services.given.note(name, following)
    headers = {NEXT_HEADER: str(following)}
    if form == "json":
        return JSONResponse({name: items, "next": following, "more": len(rows) == limit}, headers=headers)
    if form == "jsonl":
        lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        return Response(lines, media_type="application/jsonl", headers=headers)
    sheet = io.StringIO()
    columns = [field.alias or name for name, field in shape.model_fields.items()]
    writer = csv.DictWriter(sheet, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in item.items()} for item in items)
    return Response(sheet.getvalue(), media_type="text/csv", headers=headers)


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is made one it does not."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _note(session: Session, services: Services, client: Client, what: str) -> None:
    audit.note(session, f"client {client.name}", Action.CLIENT_PULLED, services.clock.utc_now(), what)


def _note_refusal(request: Request, services: Services, client: Client, why: str) -> None:
    """Once a minute for each client and reason: whoever is too fast should not fill the disk as well."""
    noted: dict[tuple[str, str], Any] = request.app.state.refusals_noted
    now, key = services.clock.utc_now(), (client.name, why)
    if key not in noted or now - noted[key] >= _REFUSAL_NOTED_EVERY:
        noted[key] = now
        with services.database.writing() as session:
            audit.note(session, f"client {client.name}", Action.CLIENT_REFUSED, now, why)


async def _problem(_: Request, error: AnyHTTPException) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    await run_in_threadpool(_note_refusal, request, request.app.state.services, request.state.client, "invalid")
    problems = [{"where": [str(part) for part in item["loc"]], "what": item["msg"]} for item in error.errors()]
    return JSONResponse({"error": "invalid", "problems": problems}, 422)
