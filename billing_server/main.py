"""`canteen-billing`: run the server, let an operator in, print the server's public keys."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from billing_server.assembly import assemble
from billing_server.configuration import Settings, load_settings
from billing_server.errors import BillingError
from billing_server.operators import OperatorBook
from canteen.private_file import PrivateFileRefused
from sync.encoding import octets_text
from sync.sealing import OpeningKey
from sync.signing import SigningKey

_log = logging.getLogger("canteen.billing")

EXIT_FINE = 0
EXIT_REFUSED = 2

_LAST_ANSWERS_S = 3
"""How long open requests may take after SIGTERM; the ledger needs none of it."""


def main(argv: list[str] | None = None) -> int:
    """The console script; its exit code."""
    arguments = _parser().parse_args(argv)
    os.umask(0o077)  # what we write is for us alone
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = load_settings(arguments.config)
        if arguments.command == "keys":
            return _print_keys(settings)
        if arguments.command == "operator":
            return _let_in(settings, arguments.name)
        return _serve(settings)
    except (BillingError, PrivateFileRefused) as error:
        return _refused(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canteen-billing", description="The school's server: ledger, orders, purges.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration (TOML)")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "operator", "keys"),
        default="serve",
        help="serve (default); operator NAME: let a member of staff in; keys: print the server's public keys",
    )
    parser.add_argument("name", nargs="?", default="", help="the operator's name, as the audit will show it")
    return parser


def _print_keys(settings: Settings) -> int:
    signing = SigningKey.load_or_create(settings.keys.signing_key).verifying_key
    sealing = OpeningKey.load_or_create(settings.keys.sealing_key).sealing_key
    _say(json.dumps({"signing": octets_text(signing.octets), "sealing": octets_text(sealing.octets)}))
    return EXIT_FINE


def _let_in(settings: Settings, name: str) -> int:
    token = OperatorBook(settings.keys.operators).add(name)
    _say(f"http://{settings.web_host}:{settings.web_port}/entrer?jeton={token}")
    return EXIT_FINE


def _serve(settings: Settings) -> int:
    try:
        listener = _listen(settings.web_host, settings.web_port)
    except OSError as error:
        where = f"{settings.web_host}:{settings.web_port}"
        return _refused(f"cannot listen on {where} ({error.strerror}): stop what uses it, or set [web] port")
    try:
        services = assemble(settings)
        services.start()
    except SQLAlchemyError as error:
        return _refused(f"the database cannot be used ({type(error).__name__}): check [database] url")
    except OSError as error:
        return _refused(f"cannot start: {error}")
    from billing_server.app import make_app

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
    return EXIT_FINE


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


def _refused(sentence: str) -> int:
    _say(f"canteen-billing: {sentence}", sys.stderr)
    return EXIT_REFUSED


def _say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
