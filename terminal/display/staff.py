"""The staff page: behind a personal link, on this machine only; finds a pupil and vouches for them.

A kiosk is shared with the pupils: the link is exchanged for a short session that ends by itself, the link's token never
stays in the browser. Terminals hold no last names, so a pupil is found by class and first name.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from canteen.errors import CanteenError, InvalidIdentifier
from canteen.identifiers import parse_pupil_id
from canteen.operator_access import Operator, find_operator
from sync.order_box import OrderBox
from templates_store.store import PupilRecord, TemplateStore
from terminal.checkup import Checkup
from terminal.display.language import _, both
from terminal.display.view import PAGE
from terminal.findings import Verdict
from terminal.vouching import REASONS, VouchDesk, VouchOutcome, VouchReason

COOKIE = "canteen_personnel"
SESSION_S = 180.0
"""Longer than any pupil needs to be let through, shorter than a coffee."""
_SESSIONS_MOST = 16
_BODY_LONGEST = 2000
_TOKEN_LONGEST = 200

WORDS = {
    "title": _("Laisser passer un élève"),
    "closed": _("Ouvrez votre lien personnel, ou saisissez son jeton"),
    "enter": _("Entrer"),
    "back": _("Retour"),
    "pupil": _("Qui passe ?"),
    "search": _("Prénom ou classe"),
    "why": _("Pourquoi ?"),
    "nobody": _("Aucun élève de ce prénom ni de cette classe : la borne ne connaît pas les noms de famille"),
    "today": _("Passages ouverts par le personnel aujourd’hui : {count} sur {quota}"),
    "beyond": _("Au-delà de ce qui est prévu : prévenez l’intendance"),
    "unreachable": _("La borne ne répond pas"),
    "anew": _("Mains à reprendre bientôt à la station :"),
    "no-pupils": _("La liste des élèves ne peut pas être lue"),
    "stick": _("Échanger avec la clé USB"),
    "stick-waits": _("Clé USB : un instant…"),
    "stick-done": _(
        "Clé USB, {at} : {written} lignes du journal à porter au serveur, {taken} messages du serveur repris, "
        "{refused} refusés. La clé peut être retirée."
    ),
    "no-stick": _("Pas de clé USB avec un dossier « canteen » : créez ce dossier sur la clé, puis recommencez."),
    "no-seal": _("Rien n’est écrit : server_sealing_key manque dans sync.toml. Prévenez l’informatique."),
    "stick-trouble": _("La clé USB ne peut pas être lue ou écrite ({why}). Essayez-en une autre."),
}

OUTCOMES: dict[VouchOutcome, str] = {
    VouchOutcome.WAITING: _("Un instant…"),
    VouchOutcome.OPENED: _("C’est ouvert : l’élève peut passer"),
    VouchOutcome.RECORDED: _("C’est noté. Le tourniquet ne répond pas : ouvrez-le à la main"),
    VouchOutcome.ALREADY_SERVED: _("Déjà passé à ce service. S’il n’a pas été servi, dites-le comme motif"),
    VouchOutcome.NOT_RECORDED: _("La borne ne peut rien noter : rien n’est ouvert. Notez le nom sur papier"),
    VouchOutcome.NOT_OPENED: _("Le tourniquet a refusé de s’ouvrir. Le repas n’est pas compté"),
    VouchOutcome.TOO_LATE: _("La borne était occupée : recommencez"),
}


@dataclass(frozen=True, slots=True)
class StaffSettings:
    """Who may vouch, and how many vouched passes a day are expected (shown, never a wall: a child must eat)."""

    people: tuple[Operator, ...]
    daily_quota: int


@dataclass(slots=True)
class _Session:
    name: str
    until_s: float


@dataclass(frozen=True, slots=True)
class StaffDoor:
    """What the page reaches once the lane is assembled."""

    desk: VouchDesk
    store: TemplateStore
    timezone: Callable[[], str]
    checkup: Checkup
    box: OrderBox
    enroll_anew: Callable[[], list[PupilRecord]]
    """Whose hand should be taken anew soon; said here and at the station, never in the queue."""


class StaffPages:
    """The routes under /personnel."""

    def __init__(self, settings: StaffSettings, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._monotonic_s = settings, monotonic_s
        self._sessions: dict[str, _Session] = {}
        self._door: StaffDoor | None = None
        self.routes = [
            Route("/personnel", self._page),
            Route("/personnel/entrer", self._follow_link),
            Route("/personnel/entrer", self._enter, methods=["POST"]),
            Route("/personnel/sortir", self._leave, methods=["POST"]),
            Route("/personnel/mots", self._words),
            Route("/personnel/eleves", self._pupils),
            Route("/personnel/passage", self._vouch, methods=["POST"]),
            Route("/personnel/passage/{number}", self._outcome),
            Route("/personnel/cle", self._stick),
            Route("/personnel/cle", self._ask_stick, methods=["POST"]),
        ]

    def open(self, door: StaffDoor) -> None:
        """The lane is there; until then the page says that it does not answer."""
        self._door = door

    # Who

    def _staff(self, request: Request) -> str | None:
        """Who asks; each question prolongs the session."""
        now_s = self._monotonic_s()
        for number in [number for number, session in self._sessions.items() if session.until_s < now_s]:
            del self._sessions[number]
        session = self._sessions.get(request.cookies.get(COOKIE, ""))
        if session is None:
            return None
        session.until_s = now_s + SESSION_S
        return session.name

    def _admit(self, untrusted_token: str, response: Response) -> bool:
        person = find_operator(self._settings.people, untrusted_token[:_TOKEN_LONGEST])
        if person is None:
            return False
        number = secrets.token_urlsafe(24)
        while len(self._sessions) >= _SESSIONS_MOST:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[number] = _Session(person.name, self._monotonic_s() + SESSION_S)
        response.set_cookie(COOKIE, number, httponly=True, samesite="strict", path="/personnel")
        return True

    async def _follow_link(self, request: Request) -> Response:
        # To a page without the token in its address; whether it opened the door, the page shows.
        response = RedirectResponse("/personnel", status_code=303)
        self._admit(request.query_params.get("jeton", ""), response)
        return response

    async def _enter(self, request: Request) -> Response:
        asked = await _body(request)
        response = JSONResponse({"entered": True})
        if asked is None or not self._admit(str(asked.get("jeton", "")), response):
            return _refusal(401)
        return response

    async def _leave(self, request: Request) -> Response:
        if await _body(request) is None:
            return _refusal(403)
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        return JSONResponse({"entered": False})

    # What

    async def _page(self, _request: Request) -> Response:
        return FileResponse(PAGE / "staff.html")

    async def _words(self, request: Request) -> Response:
        return JSONResponse(
            {
                "who": self._staff(request),
                "words": _said(WORDS.items()),
                "outcomes": _said((outcome.value, sentence) for outcome, sentence in OUTCOMES.items()),
                "reasons": _said((reason.value, sentence) for reason, sentence in REASONS.items()),
            }
        )

    async def _pupils(self, request: Request) -> Response:
        if self._staff(request) is None:
            return _refusal(401)
        door = self._door
        if door is None:
            return _refusal(503)
        try:
            return JSONResponse(await run_in_threadpool(self._read_pupils, door))
        except CanteenError:
            return _refusal(503)

    def _read_pupils(self, door: StaffDoor) -> dict[str, Any]:
        pupils = sorted(door.store.pupils(), key=lambda pupil: (pupil.class_name, pupil.first_name))
        try:
            count = door.desk.vouched_today(door.timezone())
        except CanteenError:
            count = None
        return {
            "pupils": [_shown(pupil) for pupil in pupils],
            "vouched_today": count,
            "daily_quota": self._settings.daily_quota,
            "health": _ailing(door.checkup),
            "enroll_anew": [_shown(pupil) for pupil in door.enroll_anew()],
            "stick": _stick_state(door.box),
        }

    async def _vouch(self, request: Request) -> Response:
        who, asked = self._staff(request), await _body(request)
        if who is None:
            return _refusal(401)
        if asked is None:
            return _refusal(403)
        door = self._door
        if door is None:
            return _refusal(503)
        try:
            pupil, reason = parse_pupil_id(str(asked.get("pupil"))), VouchReason(str(asked.get("reason")))
        except (InvalidIdentifier, ValueError):
            return _refusal(422)
        try:
            record = await run_in_threadpool(door.store.pupil, pupil)
        except CanteenError:
            return _refusal(503)
        if record is None:
            return _refusal(404)
        return JSONResponse({"number": door.desk.ask(pupil, record.first_name, reason, who)}, 202)

    async def _outcome(self, request: Request) -> Response:
        if self._staff(request) is None:
            return _refusal(401)
        if self._door is None:
            return _refusal(503)
        return JSONResponse({"outcome": self._door.desk.outcome_of(request.path_params["number"]).value})

    async def _stick(self, request: Request) -> Response:
        if self._staff(request) is None:
            return _refusal(401)
        return await self._of_stick(_stick_state)

    async def _ask_stick(self, request: Request) -> Response:
        """The program with the network does it: what is on a stick is not for the program with the keys to read."""
        who, asked = self._staff(request), await _body(request)
        if who is None:
            return _refusal(401)
        if asked is None:
            return _refusal(403)

        def ask(box: OrderBox) -> dict[str, Any]:
            box.ask_stick()
            return {"waits": True, "visit": None}

        return await self._of_stick(ask)

    async def _of_stick(self, work: Callable[[OrderBox], dict[str, Any]]) -> Response:
        if self._door is None:
            return _refusal(503)
        try:
            return JSONResponse(await run_in_threadpool(work, self._door.box))
        except CanteenError:
            return _refusal(503)


def _stick_state(box: OrderBox) -> dict[str, Any]:
    visit = box.stick
    return {
        "waits": box.stick_asked,
        "visit": None if visit is None else {**asdict(visit), "at": visit.at.isoformat()},
    }


def _ailing(checkup: Checkup) -> list[dict[str, Any]]:
    """What the last checkup found that somebody should look at."""
    report = checkup.latest
    return [] if report is None else [one.as_json() for one in report.checks if one.verdict is not Verdict.WELL]


def _shown(pupil: PupilRecord) -> dict[str, str]:
    return {"pupil": pupil.pupil, "first_name": pupil.first_name, "class_name": pupil.class_name}


def _said(sentences: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    return {name: {"fr": both(sentence).fr, "en": both(sentence).en} for name, sentence in sentences}


async def _body(request: Request) -> dict[str, Any] | None:
    """The JSON object that our own page sent; None for anything else.

    Another page's script cannot send this type without being asked for leave first, nor forge its Origin.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return None
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None
    untrusted = b""
    async for piece in request.stream():
        untrusted += piece
        if len(untrusted) > _BODY_LONGEST:
            return None
    try:
        body = json.loads(untrusted)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refusal(status: int) -> JSONResponse:
    return JSONResponse({"refused": status}, status)
