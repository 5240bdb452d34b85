"""Serves the pupil's screen to the kiosk on this machine: one page, a snapshot, and a stream of snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from terminal.display.view import PAGE, ScreenView
from terminal.errors import DisplayUnavailable

_log = logging.getLogger("canteen.terminal.display.server")

_HEARTBEAT_S = 5.0
"""The page says that it is cut off when it has heard nothing for twice this long."""
_START_S = 10.0


class ScreenServer:
    """`Screen` as a web page on the loopback, in a thread of its own."""

    def __init__(self, host: str, port: int, *, production: bool, more: Sequence[Route] = ()) -> None:
        """Listen; the page is there when this returns. `more` are the staff's pages and the doctor's questions.

        Raises:
            DisplayUnavailable: the port is taken.
        """
        self._more = more
        self._latest: str = "{}"
        self._wakers: set[asyncio.Event] = set()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        # Only the demo frames the screen, beside its simulated world.
        self._frame_ancestors = "'none'" if production else "'self' http://127.0.0.1:* http://localhost:*"
        self._socket = _listening(host, port)
        config = uvicorn.Config(
            self._application(),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="display", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise DisplayUnavailable("the screen's server did not start")

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    def show(self, view: ScreenView) -> None:
        latest = json.dumps(view.as_json(), ensure_ascii=False)
        if latest == self._latest:
            return
        self._latest = latest
        self._wake()

    def close(self) -> None:
        """End the streams and the server."""
        self._closing = True
        self._wake()
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it closed in between: nobody is left to wake
                loop.call_soon_threadsafe(self._wake_streams)

    def _wake_streams(self) -> None:
        for waker in self._wakers:
            waker.set()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/state", self._state),
                Route("/events", self._events),
                *self._more,
                Mount("/static", StaticFiles(directory=PAGE)),
            ],
            middleware=[
                # A page from elsewhere must not read a first name by pointing its own host name at us.
                Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
                Middleware(BaseHTTPMiddleware, dispatch=self._with_headers),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        yield

    async def _with_headers(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            f"base-uri 'none'; form-action 'none'; frame-ancestors {self._frame_ancestors}"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _page(self, _: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def _state(self, _: Request) -> Response:
        return Response(self._latest, media_type=JSONResponse.media_type)

    async def _events(self, _: Request) -> Response:
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        """Each new snapshot as an event; only the latest counts, so a slow reader never makes a queue."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        sent = None
        try:
            while not self._closing:
                latest = self._latest
                if latest != sent:
                    sent = latest
                    yield f"retry: 500\ndata: {latest}\n\n"
                try:
                    await asyncio.wait_for(waker.wait(), _HEARTBEAT_S)
                except TimeoutError:
                    yield "event: beat\ndata: {}\n\n"
                waker.clear()
        finally:
            self._wakers.discard(waker)


def _listening(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(16)
    except OSError as error:
        listening.close()
        raise DisplayUnavailable(f"the screen cannot listen on {host}:{port}: {error.strerror}") from error
    return listening
