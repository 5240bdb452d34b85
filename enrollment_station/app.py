"""The web application over an assembled station."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware

from enrollment_station.assembly import Station
from enrollment_station.door import Door
from enrollment_station.problems import add_problem_handlers
from enrollment_station.routes import cards, entrance, machine, pages, reader

_STATIC = Path(__file__).parent / "pages" / "static"


def make_app(station: Station) -> FastAPI:
    """The application; the caller runs the order thread and closes the station."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        station.end_card_work(at_once=True)  # a reader that hangs would keep the process

    app = FastAPI(
        title="canteen-station",
        lifespan=lifespan,
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        middleware=[Middleware(Door, operators=station.operators, refuse=entrance.closed_door)],
    )
    app.state.station = station
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    add_problem_handlers(app)
    app.include_router(entrance.router)
    app.include_router(pages.router)
    app.include_router(machine.router)
    app.include_router(cards.router)
    app.include_router(reader.router)
    return app
