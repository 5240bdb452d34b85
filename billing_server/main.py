"""`canteen-billing`: run the server, let an operator in, print the server's public keys."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from billing_server.configuration import Settings, load_settings
from billing_server.errors import BillingError
from billing_server.operators import OperatorBook
from canteen.private_file import PrivateFileRefused
from sync.encoding import octets_text
from sync.sealing import OpeningKey
from sync.signing import SigningKey

EXIT_FINE = 0
EXIT_REFUSED = 2


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
        from billing_server.serving import serve  # a second of imports that the other commands need not wait for

        serve(settings)
    except (BillingError, PrivateFileRefused) as error:
        return _refused(str(error))
    return EXIT_FINE


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


def _refused(sentence: str) -> int:
    _say(f"canteen-billing: {sentence}", sys.stderr)
    return EXIT_REFUSED


def _say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
