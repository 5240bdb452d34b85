"""The door, before every route: who is asking, and does a change come from our own pages? Pure ASGI.

A browser shows its cookie, a program its bearer token. A change asked for by cookie must carry our own Origin, which a
foreign page cannot forge.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from canteen.operator_access import Operator, bearer_token, cookie_token, is_from_our_pages
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.operators import OperatorBook

COOKIE = "canteen_station"
"""A name of its own: cookies do not tell ports apart, and the school's server may be on the same machine."""

ENTRANCE = "/entrer"
_OPEN_PATHS = frozenset({ENTRANCE, "/favicon.ico"})
_OPEN_PREFIX = "/static/"
_READING = frozenset({"GET", "HEAD"})

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: a browser would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Door:
    """Wraps the application. The operator who asks is in `request.state.operator` from here on."""

    def __init__(self, app: ASGIApp, operators: OperatorBook, refuse: ASGIApp) -> None:
        """`refuse` answers a browser that may not come in."""
        self._app, self._operators, self._refuse = app, operators, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, scope["path"])
        app = self._through(scope)
        await app(scope, receive, send)

    def _through(self, scope: Scope) -> ASGIApp:
        """The application, or whatever answers instead of it."""
        path: str = scope["path"]
        if path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX):
            return self._app
        headers = Headers(scope=scope)
        bearer = bearer_token(headers.get("authorization", ""))
        operator = self._find(bearer or cookie_token(headers.get("cookie", ""), COOKIE))
        if operator is None:
            return _refusal(401, "unauthorized") if path.startswith("/api/") else self._refuse
        if scope["method"] not in _READING and not is_from_our_pages(
            headers.get("origin"), headers.get("host"), has_bearer=bearer is not None
        ):
            return _refusal(403, "wrong-origin")
        scope.setdefault("state", {})["operator"] = operator
        return self._app

    def _find(self, untrusted_token: str | None) -> Operator | None:
        if untrusted_token is None:
            return None
        try:
            return self._operators.find(untrusted_token)
        except ConfigurationRefused:
            return None  # a file of operators that is open to others lets nobody in


def _refusal(status: int, what: str) -> JSONResponse:
    return JSONResponse({"error": what}, status)


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers[name] = value
            headers["Cache-Control"] = "no-cache" if path.startswith(_OPEN_PREFIX) else "no-store"
        await send(message)

    return sending
