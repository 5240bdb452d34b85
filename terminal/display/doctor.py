"""The running terminal's answer to `canteen-terminal doctor`, over the screen's server."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal.checkup import Checkup

PATH = "/doctor"


class DoctorPage:
    """The running terminal's answer. Holds no secret and no name: what every user of this machine may know."""

    def __init__(self) -> None:
        self._checkup: Checkup | None = None
        self.routes = [Route(PATH, self._answer)]

    def open(self, checkup: Checkup) -> None:
        """The lane is there."""
        self._checkup = checkup

    async def _answer(self, _request: Request) -> Response:
        if self._checkup is None:
            return JSONResponse({"starting": True}, 503)
        report = await run_in_threadpool(self._checkup.run_now)
        return JSONResponse(report.as_json())
