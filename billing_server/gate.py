"""The door of the web side: who is asking, may this request change anything, how large may it be; pure ASGI.

It stands before every route, so that a route cannot forget it. A browser shows its cookie, a program its bearer token;
a change by cookie must come from our own pages (Origin), which a foreign page cannot forge.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing_server.clients import Client, ClientBook
from billing_server.errors import ConfigurationRefused
from billing_server.operators import OperatorBook
from canteen.operator_access import Operator, bearer_token, cookie_token, is_from_our_pages

COOKIE = "canteen_billing"
"""Its own name: cookies do not tell ports apart, and the station may be on the same machine."""

BODY_BYTES_MAX = 2 * 1024 * 1024
"""A roster of 10,000 pupils is 0.6 MiB of CSV."""

FILE_BYTES_MAX = 64 * 1024 * 1024
"""A device's file after a term without a network; it is sealed, and goes through a temporary file."""

_LARGE_PATHS = frozenset({"/appareils/fichier"})
_OPEN_PATHS = frozenset({"/entrer", "/api/health", "/api/provision", "/api/renew"})
"""A device that provisions itself shows a one-time code, or its signature, in what it sends."""
_OPEN_PREFIX = "/static/"
_PULL_PREFIX = "/api/pull/"
"""Where programs of others read, each with a key of its own that opens nothing else."""
_READING = frozenset({"GET", "HEAD"})

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _TooLarge(Exception):
    """The body went past the limit while it was read."""


class Gate:
    """Wraps the application. Who asks is in `request.state.operator`, or `.client`, from here on."""

    def __init__(self, app: ASGIApp, operators: OperatorBook, clients: ClientBook, refuse: ASGIApp) -> None:
        """`refuse` answers a browser that may not come in."""
        self._app, self._operators, self._clients, self._refuse = app, operators, clients, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._answer(scope, receive, _with_headers(send, scope["path"]))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        refusal: ASGIApp | None = None
        if path.startswith(_PULL_PREFIX):
            client = self._find_client(bearer_token(headers.get("authorization", "")))
            if client is None:
                refusal = JSONResponse({"error": "unauthorized"}, 401, headers={"WWW-Authenticate": "Bearer"})
            scope.setdefault("state", {})["client"] = client
        elif path not in _OPEN_PATHS and not path.startswith(_OPEN_PREFIX):
            bearer = bearer_token(headers.get("authorization", ""))
            operator = self._find(bearer or cookie_token(headers.get("cookie", ""), COOKIE))
            if operator is None:
                refusal = _problem(401, "unauthorized") if path.startswith("/api/") else self._refuse
            elif scope["method"] not in _READING and not is_from_our_pages(
                headers.get("origin"), headers.get("host"), has_bearer=bearer is not None
            ):
                refusal = _problem(403, "wrong origin")
            scope.setdefault("state", {})["operator"] = operator
        if refusal is None and not _length_allowed(headers, _most(path)):
            refusal = _problem(413, "too large")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        too_large = False
        received = 0
        most = _most(scope["path"])

        async def limited_receive() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                too_large = True
                raise _TooLarge
            return message

        async def noting_send(message: Message) -> None:
            nonlocal started
            if too_large and message["type"] == "http.response.start":
                message["status"] = 413  # whatever the framework made of the exception
            started = True
            await send(message)

        try:
            await self._app(scope, limited_receive, noting_send)
        except _TooLarge:
            if not started:
                await _problem(413, "too large")(scope, receive, send)

    def _find_client(self, untrusted_token: str | None) -> Client | None:
        if untrusted_token is None:
            return None
        try:
            return self._clients.find(untrusted_token)
        except ConfigurationRefused:
            return None

    def _find(self, untrusted_token: str | None) -> Operator | None:
        if untrusted_token is None:
            return None
        try:
            return self._operators.find(untrusted_token)
        except ConfigurationRefused:
            return None  # a file of operators that is open to others lets nobody in


def _problem(status: int, what: str) -> Response:
    return JSONResponse({"error": what}, status)


def _most(path: str) -> int:
    return FILE_BYTES_MAX if path in _LARGE_PATHS else BODY_BYTES_MAX


def _length_allowed(headers: Headers, most: int) -> bool:
    length = headers.get("content-length", "0")
    return length.isascii() and length.isdigit() and int(length[:20]) <= most


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers[name] = value
            if not path.startswith(_OPEN_PREFIX):
                headers["Cache-Control"] = "no-store"
        await send(message)

    return sending
