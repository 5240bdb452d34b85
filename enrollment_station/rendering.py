"""Templates in the reader's language, with nothing on the page that was not escaped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from canteen.identifiers import PupilId
from enrollment_station.assembly import Station
from enrollment_station.audit_log import AuditedAction
from enrollment_station.language import LANGUAGES, preferred_language, translations

LANGUAGE_COOKIE = "langue"
_TEMPLATES = Path(__file__).parent / "pages" / "templates"
_YEAR_S = 365 * 24 * 3600


def station_of(request: Request) -> Station:
    """The station behind the application."""
    station: Station = request.app.state.station
    return station


def operator_name(request: Request) -> str:
    """Who asks; the door has let them in."""
    return str(request.state.operator.name)


def language_of(request: Request) -> str:
    """The language to answer in."""
    return preferred_language(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language", ""),
        station_of(request).configuration.language,
    )


def note_in_audit(request: Request, action: AuditedAction, pupil: PupilId | None = None) -> None:
    """A line in the audit log, before what it is about. Raises AuditUnavailable."""
    station = station_of(request)
    station.audit.note(station.recorder.now(), operator_name(request), action, pupil)


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    # The extension adds this method; its stub does not know.
    environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    environment.filters["day"] = _day_in(language)
    return environment


def _day_in(language: str) -> Callable[[date], str]:
    return lambda day: day.strftime("%d/%m/%Y" if language == "fr" else "%d %b %Y")


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """The page `template`; remembers a language that was asked for in the address."""
    language = language_of(request)
    operator = getattr(request.state, "operator", None)
    page = (
        _environment(language)
        .get_template(template)
        .render(
            language=language,
            other_language=next(other for other in LANGUAGES if other != language),
            operator=None if operator is None else operator.name,
            device=station_of(request).configuration.device,
            path=request.url.path,
            **context,
        )
    )
    response = HTMLResponse(page, status)
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_S, httponly=True, samesite="strict")
    return response
