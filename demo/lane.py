"""The lane in the browser: the pupil's screen as on the terminal, and beside it the world one can act in."""

from __future__ import annotations

import gettext
import threading
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import APIRouter, Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from canteen.credentials import CardNumber
from canteen.errors import InvalidCardNumber
from demo.canteen import Canteen
from demo.people import Person
from firmware_bridge.errors import FirmwareBridgeError

_PAGES = Path(__file__).parent / "pages"
_LOCALE = Path(__file__).parent / "locale"
_UPLOAD_BYTES_MAX = 12 * 1024 * 1024
_KEYS = frozenset("0123456789*#")


def lane_app(canteen: Canteen) -> FastAPI:
    """The page and its routes. Only for the loopback: it acts for pupils and shows their codes."""
    app = FastAPI(title="canteen-demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.mount("/static", StaticFiles(directory=_PAGES / "static"), name="static")

    @app.middleware("http")
    async def only_from_our_page(request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Another site's page must not press keys here, nor put its picture on the platen."""
        origin = request.headers.get("origin")
        if request.method == "POST" and origin is not None and origin != str(request.base_url).rstrip("/"):
            return JSONResponse({"detail": "another site's page"}, status_code=403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; img-src 'self'; frame-src http://127.0.0.1:{canteen.ports.display}"
        )
        return response

    @app.exception_handler(FirmwareBridgeError)
    def peripheral_gone(_request: Request, _error: FirmwareBridgeError) -> JSONResponse:
        return JSONResponse({"detail": "the simulated board does not answer"}, status_code=503)

    people = {person.key: person for person in canteen.people}
    app.include_router(_pages(canteen, people))
    app.include_router(_body(canteen, people))
    app.include_router(_surroundings(canteen))
    return app


def _pages(canteen: Canteen, people: dict[str, Person]) -> APIRouter:
    """What is looked at: the page, the images of hands, and the ways to the other pages."""
    app = APIRouter()
    templates = Environment(loader=FileSystemLoader(_PAGES), autoescape=select_autoescape())

    @app.get("/", response_class=HTMLResponse)
    def lane(request: Request) -> str:
        language = _language(request)
        translation = gettext.translation("messages", localedir=_LOCALE, languages=[language], fallback=True)
        return templates.get_template("lane.html").render(
            _=translation.gettext,
            language=language,
            display=f"http://127.0.0.1:{canteen.ports.display}/?lang={language}",
            people=[_shown(canteen, person) for person in canteen.people],
        )

    @app.get("/registre")
    def to_ledger() -> RedirectResponse:
        return RedirectResponse(canteen.operator_link(canteen.ports.billing))

    @app.get("/borne")
    def to_station() -> RedirectResponse:
        return RedirectResponse(canteen.operator_link(canteen.ports.station))

    @app.get("/laid/{_placement}")
    def laid(_placement: int) -> Response:
        laid = canteen.world.laid_image
        if laid is None:
            raise HTTPException(404, "nothing lies there")
        return _image_response(laid[1])

    @app.get("/hands/{key}/{number}")
    def hand(key: str, number: int) -> Response:
        return _image_response(_hand_image(people, key, number))

    return app


def _body(canteen: Canteen, people: dict[str, Person]) -> APIRouter:
    """What a pupil does with fingers, hand, card and hip."""
    app = APIRouter()

    @app.post("/api/press")
    def press(key: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        if key not in _KEYS:
            raise HTTPException(422, "no such key")
        return {"accepted": canteen.world.press(key)}

    @app.post("/api/code")
    def code(person: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        canteen.world.type_code(canteen.code_of(_find(people, person)))
        return {"accepted": True}

    @app.post("/api/lay")
    def lay(person: Annotated[str, Body()], number: Annotated[int, Body()]) -> dict[str, Any]:
        canteen.world.lay_image(_hand_image(people, person, number), people[person].first_name)
        return {"laid": canteen.world.laid}

    @app.post("/api/photo")
    async def photo(request: Request) -> dict[str, Any]:
        """Lay an uploaded photo: raw bytes in the body, kept in memory only."""
        image = b""
        async for chunk in request.stream():
            image += chunk
            if len(image) > _UPLOAD_BYTES_MAX:
                raise HTTPException(413, "12 MiB at most")
        if not image:
            raise HTTPException(422, "no image")
        canteen.world.lay_image(image, "photo")
        return {"laid": canteen.world.laid}

    @app.post("/api/lift")
    def lift() -> dict[str, Any]:
        canteen.world.lift()
        return {"laid": None}

    @app.post("/api/card")
    def card(
        person: Annotated[str | None, Body()] = None, number: Annotated[str | None, Body()] = None
    ) -> dict[str, Any]:
        try:
            presented = _find(people, person).card if person else CardNumber(number or "")
        except InvalidCardNumber as error:
            raise HTTPException(422, "4 to 10 bytes in upper-case hexadecimal") from error
        return {"accepted": canteen.world.present_card(presented)}

    @app.post("/api/push")
    def push() -> dict[str, Any]:
        return {"turned": canteen.world.push()}

    return app


def _surroundings(canteen: Canteen) -> APIRouter:
    """The cable to the server, and what one sees of the devices."""
    app = APIRouter()

    @app.post("/api/network")
    def network(connected: Annotated[bool, Body(embed=True)]) -> dict[str, Any]:
        if connected:
            canteen.switch.restore()
        else:
            canteen.switch.cut()
        return {"connected": canteen.switch.connected}

    @app.get("/api/world")
    def world() -> dict[str, Any]:
        board = canteen.world.board()
        laid = canteen.world.laid_image
        try:
            shown: dict[str, Any] | None = canteen.display()
        except httpx.HTTPError:
            shown = None  # the terminal is being restarted; the page says so
        return {
            "lamp": board.lamp,
            "text": board.text,
            "turnstile": board.turnstile,
            "passages": board.passages,
            "online": board.online,
            "laid": None if laid is None else laid[0],
            "network": canteen.switch.connected,
            "display": shown,
        }

    return app


class LaneServer:
    """The page's web server, in a thread of the demonstration."""

    def __init__(self, canteen: Canteen) -> None:
        configuration = uvicorn.Config(
            lane_app(canteen), host="127.0.0.1", port=canteen.ports.lane, log_level="warning", lifespan="off"
        )
        self._server = uvicorn.Server(configuration)
        self._thread = threading.Thread(target=self._server.run, name="lane", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=5)


def _find(people: dict[str, Person], key: str) -> Person:
    if key not in people:
        raise HTTPException(404, "no such person")
    return people[key]


def _hand_image(people: dict[str, Person], key: str, number: int) -> bytes:
    hands = _find(people, key).hands
    if not 0 <= number < len(hands):
        raise HTTPException(404, "no such image")
    return hands[number].encoded()


def _image_response(image: bytes) -> Response:
    kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
    return Response(image, media_type=kind, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def _shown(canteen: Canteen, person: Person) -> dict[str, Any]:
    first_probe = len(person.enrolment)
    return {
        "key": person.key,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "class_name": person.class_name,
        "way": person.way.value,
        "entitled": person.entitled,
        "code": canteen.code_of(person),
        "card": person.card.hexadecimal,
        "hands": list(range(first_probe, len(person.hands))) or list(range(len(person.hands))),
    }


def _language(request: Request) -> str:
    asked = request.query_params.get("lang")
    if asked in {"fr", "en"}:
        return str(asked)
    accepted = request.headers.get("accept-language", "")
    return "en" if accepted.lower().startswith("en") else "fr"
