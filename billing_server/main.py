"""`canteen-billing`: run the server, and what is done to it from a shell."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from billing_server.clients import ClientBook
from billing_server.configuration import Settings, load_settings
from billing_server.errors import BillingError, ConfigurationRefused
from billing_server.operators import OperatorBook
from canteen.private_file import PrivateFileRefused
from sync.encoding import octets_text
from sync.sealing import OpeningKey
from sync.signing import SigningKey

EXIT_FINE = 0
EXIT_WRONG = 1
EXIT_REFUSED = 2


def main(argv: list[str] | None = None) -> int:
    """The console script; its exit code."""
    arguments = _parser().parse_args(argv)
    os.umask(0o077)  # what we write is for us alone
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except (BillingError, PrivateFileRefused) as error:
        return _refused(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canteen-billing", description="The school's server: ledger, orders, purges.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (TOML)")
    # The same again after the command: both orders are natural, and scripts use both.
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE")
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[shared], help=what, description=what)
        made.set_defaults(run=run)
        return made

    command("serve", _serve, "run the server (default)")
    command("keys", _print_keys, "print the server's public keys")
    operator = command("operator", _let_in, "let a member of staff in: prints their link")
    operator.add_argument("name", help="the operator's name, as the audit will show it")
    client = command("client", _let_read, "let a program pull: prints its key")
    client.add_argument("name", help="the program's name, as the audit will show it")
    client.add_argument("--uai", action="append", default=[], help="a school it may read (default: this one)")
    for name in ("verify", "verify-receipts"):
        verify = command(name, _verify, "check a signed certificate or file of receipts, offline")
        verify.add_argument("file", type=Path, metavar="FILE", help="the JSON file (of a PDF: what is attached to it)")
        verify.add_argument("--server-key", metavar="BASE64", help="the server's public key, as `keys` prints it")
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    from billing_server.verifying import key_octets, verify_file

    expected = None if arguments.server_key is None else key_octets(arguments.server_key)
    findings = verify_file(arguments.file, expected)
    for finding in findings:
        _say(f"{'ok   ' if finding.good else 'WRONG'} {finding.what}")
    wrong = sum(not finding.good for finding in findings)
    _say(f"{len(findings)} checked, {wrong} wrong")
    return EXIT_WRONG if wrong else EXIT_FINE


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.config is None:
        raise ConfigurationRefused("--config FILE is needed")
    return load_settings(arguments.config)


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from billing_server.serving import serve  # a second of imports that the other commands need not wait for

    serve(settings)
    return EXIT_FINE


def _let_read(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    uais = tuple(arguments.uai) or (settings.school.uai,)
    _say(ClientBook(settings.keys.clients).add(arguments.name, uais))
    return EXIT_FINE


def _print_keys(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    signing = SigningKey.load_or_create(settings.keys.signing_key).verifying_key
    sealing = OpeningKey.load_or_create(settings.keys.sealing_key).sealing_key
    _say(json.dumps({"signing": octets_text(signing.octets), "sealing": octets_text(sealing.octets)}))
    return EXIT_FINE


def _let_in(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    token = OperatorBook(settings.keys.operators).add(arguments.name)
    _say(f"http://{settings.web_host}:{settings.web_port}/entrer?jeton={token}")
    return EXIT_FINE


def _refused(sentence: str) -> int:
    _say(f"canteen-billing: {sentence}", sys.stderr)
    return EXIT_REFUSED


def _say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
