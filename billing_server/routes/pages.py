"""The pages that only show. Every look at personal data is in the audit, the live page's once while it stays open."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from billing_server import audit, presenting, reading, wording
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.configuration import LANGUAGES
from billing_server.gate import COOKIE
from billing_server.models import BoardKey, Refusal
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.text import LANGUAGE_COOKIE, N_, Text, language_of
from canteen.meal_pass import PassMethod

router = APIRouter(default_response_class=HTMLResponse)
templates = Jinja2Templates(Path(__file__).parent.parent / "pages")

PUPIL = re.compile(r"\bp-[0-9a-f]{16}\b")
"""A pseudonym in what an alarm is about."""

LINES_SHOWN = 60
PURGES_SHOWN = 60
"""Of the running ones, and of those that are done: a school year ends with hundreds at once."""
_COOKIE_LASTS_S = 30 * 86400
_RENDERED_AGAIN_AFTER_S = 10
"""The live page says "20 s ago": it is drawn again this often even when nothing happens."""

_STILL_LOOKING = timedelta(minutes=10)
"""An open live page is one look in the audit every ten minutes, not two a second."""


def text_for(request: Request, services: Services, session: Session) -> Text:
    language = language_of(request, services.settings.language)
    return Text(language, services.school.calendar(session).timezone)


def render(request: Request, template: str, text: Text, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page in the reader's language, which is remembered if the address asked for it."""
    services: Services = request.app.state.services
    operator = getattr(request.state, "operator", None)
    with services.database.reading() as session:
        alarms = len(reading.open_alarms(session)) if operator is not None else 0
        school_name = services.school.calendar_order(session).school_name
    page = templates.TemplateResponse(
        request,
        template,
        {
            "_": text,
            "n_": text.several,
            "language": text.language,
            "school": school_name,
            "operator": None if operator is None else operator.name,
            "alarm_count": alarms,
            "words": wording,
            **context,
        },
        status,
    )
    asked = request.query_params.get("lang")
    if asked in LANGUAGES:
        page.set_cookie(LANGUAGE_COOKIE, asked, _COOKIE_LASTS_S, httponly=True, samesite="strict")
    return page


_PROBLEMS = {404: N_("Cette page n’existe pas"), 422: N_("La demande n’a pas été comprise")}


async def closed_door(scope: Scope, receive: Receive, send: Send) -> None:
    """What a browser sees that has no operator's link."""
    request = Request(scope, receive)
    services: Services = scope["app"].state.services
    text = Text(language_of(request, services.settings.language), "UTC")
    context = {
        "_": text,
        "n_": text.several,
        "language": text.language,
        "school": services.settings.school_name,
        "operator": None,
        "alarm_count": 0,
    }
    await templates.TemplateResponse(request, "closed.html", context, 401)(scope, receive, send)


def problem(request: Request, status: int) -> HTMLResponse:
    """The page of a request that came to nothing."""
    services: Services = request.app.state.services
    text = Text(language_of(request, services.settings.language), "UTC")
    return render(request, "problem.html", text, {"title": text(_PROBLEMS.get(status, _PROBLEMS[422]))}, status)


@router.get("/entrer")
def enter(request: Request, services: TheServices, jeton: str = "") -> Response:
    """An operator's link: the token becomes a cookie that no script can read."""
    operator = services.operators.find(jeton)
    if operator is None:
        with services.database.reading() as session:
            text = text_for(request, services, session)
        return render(request, "closed.html", text, {}, 401)
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.ENTERED, services.clock.utc_now())
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, jeton, _COOKIE_LASTS_S, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer


@router.get("/")
def ledger(request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """The ledger, live."""
    with services.database.writing() as session:
        now = services.clock.utc_now()
        audit.note(session, operator.name, Action.SAW_LEDGER, now)
        text = text_for(request, services, session)
        context = _live_context(services, session, text, now)
    _looks(request)[operator.name, Action.SAW_LEDGER] = now
    return render(request, "passages.html", text, context)


@router.get("/direct")
def live(request: Request, services: TheServices, operator: TheOperator, vu: str = "") -> Response:
    """The moving part of the ledger page; empty (204) while what was `vu` (seen) is still so."""
    now = services.clock.utc_now()
    if vu == _live_mark(services, now):
        return Response(status_code=204)
    _note_look(request, services, operator.name, Action.SAW_LEDGER, now)
    with services.database.reading() as session:
        text = text_for(request, services, session)
        context = _live_context(services, session, text, now)
    return render(request, "_direct.html", text, context)


@router.get("/eleves")
def roster(request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """The roster: meals, consent, card; the code stays hidden."""
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.SAW_ROSTER, services.clock.utc_now())
        text = text_for(request, services, session)
        lines = presenting.pupil_lines(services, session, text)
    present = [line for line in lines if line.departed is None]
    departed = [line for line in lines if line.departed is not None]
    return render(request, "eleves.html", text, {"here": "eleves", "pupils": present, "departed": departed})


@router.get("/purges")
def purges(request: Request, services: TheServices, operator: TheOperator, tous: bool = False) -> HTMLResponse:
    """Each purge: asked when and why, who has confirmed, how many days are left; and who holds what."""
    now = services.clock.utc_now()
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.SAW_PURGES, now)
        text = text_for(request, services, session)
        context = _purges_context(services, session, text, now, everything=tous)
        context["held"] = reading.references_held(session)
    _looks(request)[operator.name, Action.SAW_PURGES] = now
    return render(request, "purges.html", text, context)


@router.get("/purges/direct")
def live_purges(
    request: Request, services: TheServices, operator: TheOperator, vu: str = "", tous: bool = False
) -> Response:
    """The moving part of the purges page, as `live`."""
    now = services.clock.utc_now()
    if vu == _live_mark(services, now):
        return Response(status_code=204)
    _note_look(request, services, operator.name, Action.SAW_PURGES, now)
    with services.database.reading() as session:
        text = text_for(request, services, session)
        context = _purges_context(services, session, text, now, everything=tous)
    return render(request, "_purges.html", text, context)


@router.get("/appareils")
def devices(request: Request, services: TheServices, pris: int | None = None, refuses: int = 0) -> HTMLResponse:
    """The devices: how they stand, what they do not know yet, their keys' fingerprints."""
    now = services.clock.utc_now()
    with services.database.reading() as session:
        text = text_for(request, services, session)
        states: list[dict[str, Any]] = [
            {
                "state": state,
                "fingerprint": fingerprint(state.device.verifying_key),
                "role": text(wording.ROLES[_role(state)]),
                "contact": _contact(state, text, now),
                "left": _time_left(services, state, text),
                "checkup": _checkup(state, text),
                "board_keys": [_board_key(key, text) for key in state.board_keys],
            }
            for state in reading.device_states(session)
        ]
    server_key = fingerprint(services.signing_key.verifying_key.octets)
    context = {
        "here": "appareils",
        "devices": states,
        "server_key": server_key,
        "taken": pris,
        "refused": refuses,
        "unaware": [
            item["state"].device.device
            for item in states
            if item["state"].pending.get("card-blocked") and item["state"].device.revoked_at is None
        ],
        "with_authority": services.provisioning is not None,
        "connected": services.line.connected,
        "with_broker": services.settings.broker is not None,
    }
    return render(request, "appareils.html", text, context)


@router.get("/alarmes")
def alarms(request: Request, services: TheServices, operator: TheOperator) -> HTMLResponse:
    """What a human should look at, with the names of the pupils it is about, and what was refused."""
    with services.database.writing() as session:
        text = text_for(request, services, session)
        refused = list(session.scalars(select(Refusal).order_by(Refusal.last_at.desc())))
        found = reading.open_alarms(session)
        about = {alarm.id: PUPIL.findall(f"{alarm.about} {alarm.detail}") for alarm in found}
        identities = services.pupils.identities(session, (pupil for named in about.values() for pupil in named))
        names = {
            alarm: ", ".join(presenting.full_name(identities[pupil]) for pupil in pupils if pupil in identities)
            for alarm, pupils in about.items()
        }
        if identities:
            audit.note(session, operator.name, Action.SAW_ALARMS, services.clock.utc_now())
        context = {"here": "alarmes", "alarms": found, "names": names, "refused": refused}
    return render(request, "alarmes.html", text, context)


def _checkup(state: reading.DeviceState, text: Text) -> dict[str, Any] | None:
    """What the device last found of itself, in words."""
    found = state.checkup
    if found is None:
        return None

    def named(names: str) -> str:
        return ", ".join(text(wording.CHECKS[name]) if name in wording.CHECKS else name for name in names.split())

    return {
        "at": text.moment(found.checked_at),
        "at_risk": named(found.at_risk),
        "watch": named(found.watch),
        "firmware": found.firmware.splitlines(),
    }


def _board_key(key: BoardKey, text: Text) -> str:
    """When the key of one of its boards was last seen to, in words."""
    what = text(wording.BOARD_KEYS[key.outcome]) if key.outcome in wording.BOARD_KEYS else key.outcome
    return text("carte {address} : {what}, {when}", address=key.address, what=what, when=text.moment(key.at))


def fingerprint(key: bytes) -> str:
    """A key as a person reads it aloud: 8 groups of 4 of its SHA-256."""
    hexadecimal = hashlib.sha256(key).hexdigest()[:32]
    return " ".join(hexadecimal[i : i + 4] for i in range(0, 32, 4))


def _live_context(services: Services, session: Session, text: Text, now: datetime) -> dict[str, Any]:
    calendar = services.school.calendar(session)
    day = calendar.local_day(now)
    return {
        "here": "passages",
        "mark": _live_mark(services, now),
        "day": text.day(day),
        "counts": reading.counts_of(session, day, calendar),
        "methods": [(method.value, text(wording.METHODS[method])) for method in PassMethod],
        "lines": presenting.ledger_lines(services, session, text, day, LINES_SHOWN),
        "lines_shown": LINES_SHOWN,
        "devices": [
            {
                "state": state,
                "contact": _contact(state, text, now),
                "left": _time_left(services, state, text),
                "checkup": _checkup(state, text),
            }
            for state in reading.device_states(session)
            if state.device.revoked_at is None
        ],
    }


def _purges_context(
    services: Services, session: Session, text: Text, now: datetime, *, everything: bool
) -> dict[str, Any]:
    shown, running, done = presenting.purge_cards(services, session, text, None if everything else PURGES_SHOWN)
    return {
        "here": "purges",
        "mark": _live_mark(services, now),
        "purges": shown,
        "running": running,
        "done": done,
        "everything": everything,
    }


def _live_mark(services: Services, now: datetime) -> str:
    return f"{services.pulse.name}-{services.pulse.beats}-{int(now.timestamp()) // _RENDERED_AGAIN_AFTER_S}"


def _looks(request: Request) -> dict[tuple[str, Action], datetime]:
    looks: dict[tuple[str, Action], datetime] = request.app.state.looks
    return looks


def _note_look(request: Request, services: Services, operator: str, action: Action, now: datetime) -> None:
    looks = _looks(request)
    last = looks.get((operator, action))
    if last is None or now - last >= _STILL_LOOKING:
        looks[operator, action] = now
        with services.database.writing() as session:
            audit.note(session, operator, action, now)


def _contact(state: reading.DeviceState, text: Text, now: datetime) -> str:
    return text("jamais") if state.last_contact is None else text.ago(state.last_contact, now)


def _time_left(services: Services, state: reading.DeviceState, text: Text) -> str | None:
    left = services.drains.time_left(state.device.device, state.backlog)
    return None if left is None else text.time_left(left)


def _role(state: reading.DeviceState) -> Any:
    return next(role for role in wording.ROLES if role.value == state.device.role)
