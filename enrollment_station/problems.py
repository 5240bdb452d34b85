"""Every refusal as an answer: JSON for programs, a page for people; a sentence, never a trace."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from canteen.errors import InvalidIdentifier
from enrollment_station import sentences
from enrollment_station.errors import (
    AuditUnavailable,
    CardRefused,
    CardWorkFailed,
    ConsentRefused,
    ConsentRequired,
    PupilNotFound,
    StandInRefused,
    UploadRefused,
)
from enrollment_station.language import say
from enrollment_station.rendering import language_of, render
from sync.errors import JournalUnavailable, MalformedMessage, OrderBoxUnavailable, SealBroken
from templates_store.errors import StoreUnavailable

_log = logging.getLogger("canteen.station")

_BROKEN = (
    StoreUnavailable,
    JournalUnavailable,
    OrderBoxUnavailable,
    AuditUnavailable,
    MalformedMessage,
    SealBroken,
    CardWorkFailed,
)


def add_problem_handlers(app: FastAPI) -> None:
    """Registers an answer for every refusal of this program."""
    for refused in (PupilNotFound, InvalidIdentifier):
        app.add_exception_handler(refused, _handler(404, "pupil-not-found", lambda _: sentences.PUPIL_NOT_FOUND))
    app.add_exception_handler(ConsentRequired, _consent_required)
    app.add_exception_handler(ConsentRefused, _handler(422, "consent-refused", _own_sentence))
    app.add_exception_handler(StandInRefused, _handler(422, "stand-in-refused", _own_sentence))
    app.add_exception_handler(CardRefused, _handler(409, "card-refused", _own_sentence))
    app.add_exception_handler(UploadRefused, _upload_refused)
    app.add_exception_handler(RequestValidationError, _handler(400, "wrong-request", lambda _: sentences.WRONG_REQUEST))
    app.add_exception_handler(HTTPException, _http)
    for broken in _BROKEN:
        app.add_exception_handler(broken, _unavailable)


def problem(request: Request, status: int, error: str, sentence: str, **more: object) -> Response:
    """The refusal in the form the asker reads."""
    message = say(language_of(request), sentence)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": error, "message": message, **more}, status)
    return render(request, "problem.html", status, message=message)


def _own_sentence(error: Exception) -> str:
    ours = ConsentRefused | CardRefused | StandInRefused | UploadRefused
    return error.sentence if isinstance(error, ours) else sentences.WRONG_REQUEST


def _handler(status: int, name: str, sentence: Callable[[Exception], str]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        return problem(request, status, name, sentence(error))

    return handle


def _consent_required(request: Request, error: Exception) -> Response:
    state = error.state if isinstance(error, ConsentRequired) else None
    sentence = sentences.WRONG_REQUEST if state is None else sentences.NO_CONSENT.get(state, sentences.WRONG_REQUEST)
    return problem(request, 403, "consent-required", sentence, state=None if state is None else state.value)


def _upload_refused(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, UploadRefused) else 400
    return problem(request, status, "upload-refused", _own_sentence(error))


def _unavailable(request: Request, error: Exception) -> Response:
    _log.error("cannot serve: %s: %s", type(error).__name__, error)
    return problem(request, 503, "unavailable", sentences.UNAVAILABLE)


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return problem(request, status, "wrong-request", sentences.NOT_FOUND if status == 404 else sentences.WRONG_REQUEST)
