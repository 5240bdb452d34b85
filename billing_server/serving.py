"""The running process: the port, the services, the web server, and a clean end at SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from billing_server.app import make_app
from billing_server.assembly import Services, assemble
from billing_server.configuration import Settings
from billing_server.errors import CannotServe
from billing_server.line import settle_process

_log = logging.getLogger("canteen.billing")

_LAST_ANSWERS_S = 3
"""How long open requests may take after SIGTERM; the ledger needs none of it."""


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        CannotServe: the port is taken, the database cannot be used, or a certificate cannot be read.
        ConfigurationRefused, PrivateFileRefused: as `assemble`.
    """
    try:
        listener = _listen(settings.web_host, settings.web_port)
    except OSError as error:
        where = f"{settings.web_host}:{settings.web_port}"
        raise CannotServe(
            f"cannot listen on {where} ({error.strerror}): stop what uses it, or set [web] port"
        ) from error
    services = _started(settings)
    server = _Server(
        uvicorn.Config(
            make_app(services),
            log_level="warning",
            access_log=False,  # its lines would hold the operators' tokens
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
            server_header=False,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    host, port = listener.getsockname()[:2]
    _log.info("ready on http://%s:%d/", host, port)
    try:
        server.run(sockets=[listener])
    finally:
        services.stop()
    _log.info("stopped")


def work(settings: Settings, name: str) -> None:
    """Take journals beside a running server until SIGTERM or SIGINT. Raises as `serve`."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    services = _started(settings, name)
    try:
        stop.wait()
    finally:
        services.stop()
    _log.info("stopped")


def _started(settings: Settings, worker: str | None = None) -> Services:
    settle_process()
    try:
        services = assemble(settings, worker=worker)
        services.start()
    except SQLAlchemyError as error:
        raise CannotServe(f"the database cannot be used ({type(error).__name__}): check [database] url") from error
    except OSError as error:
        raise CannotServe(f"cannot start: {error}") from error
    return services


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn would raise them again at the end, and a clean stop would look like a kill."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
