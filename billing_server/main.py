"""`canteen-billing`: run the server, and what is done to it from a shell."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from billing_server.clients import ClientBook
from billing_server.configuration import Settings, load_settings
from billing_server.errors import BillingError, CannotServe, ConfigurationRefused, UnknownDevice
from billing_server.operators import OperatorBook
from canteen.command_line import console_script
from canteen.private_file import PrivateFileRefused
from sync.encoding import octets_text
from sync.sealing import OpeningKey
from sync.signing import SigningKey

if TYPE_CHECKING:
    from billing_server.assembly import Services
    from billing_server.provisioning import ProvisioningDesk

OPERATOR = "the shell"
"""Who the audit names for what was asked by a command."""

EXIT_FINE = 0
EXIT_WRONG = 1
EXIT_REFUSED = 2


@console_script
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
    worker = command("ingest", _work, "take journals beside the server, as one of several workers")
    worker.add_argument("--worker", default="2", metavar="NAME", help="a name of its own (default: 2)")
    command("keys", _print_keys, "print the server's public keys")
    operator = command("operator", _let_in, "let a member of staff in: prints their link")
    operator.add_argument("name", help="the operator's name, as the audit will show it")
    client = command("client", _let_read, "let a program pull: prints its key")
    client.add_argument("name", help="the program's name, as the audit will show it")
    client.add_argument("--uai", action="append", default=[], help="a school it may read (default: this one)")
    code = command("device-code", _make_code, "make a one-time code with which a device comes in")
    code.add_argument("device", help="the device's name, for example terminal-3")
    code.add_argument("role", choices=("terminal", "station"))
    broker = command("broker", _make_broker, "write the broker's certificates, access list and configuration")
    broker.add_argument(
        "folder", type=Path, help="where; [broker] then names ca.pem, billing.pem and billing.key in it"
    )
    broker.add_argument("host", nargs="+", help="the names and addresses under which devices reach the broker")
    broker.add_argument("--bind", default="", metavar="ADDRESS", help="listen there alone")
    for name, run, what in (
        ("backup", _back_up, "write an encrypted backup of everything: database, keys, authority, configuration"),
        ("restore", _restore, "put a backup back, where nothing is yet"),
    ):
        kept = command(name, run, what)
        kept.add_argument("file", type=Path, metavar="FILE")
        kept.add_argument("--passphrase-file", type=Path, metavar="FILE", help="read the passphrase there, do not ask")
    revoked = command("revoke", _revoke, "send a device away: no more orders, no certificate")
    revoked.add_argument("device")
    broker = command("broker-certificate", _certify_broker, "a certificate for a broker of the school: prints it")
    broker.add_argument("name", help="its name, for example lane-broker")
    broker.add_argument("request", type=Path, metavar="FILE", help="its certificate request (PEM)")
    broker.add_argument("host", nargs="+", help="names and addresses under which it is reached")
    carry = command("carry", _carry, "messages in files, where the network is away")
    carry.add_argument("direction", choices=("import", "export"))
    carry.add_argument(
        "what", nargs="+", metavar="[DEVICE|all] FILE", help="import FILE; export DEVICE FILE; export all FILE"
    )
    for name in ("verify", "verify-receipts"):
        verify = command(name, _verify, "check a signed certificate or file of receipts, offline")
        verify.add_argument("file", type=Path, metavar="FILE", help="the JSON file (of a PDF: what is attached to it)")
        verify.add_argument("--server-key", metavar="BASE64", help="the server's public key, as `keys` prints it")
    return parser


@contextmanager
def _services(arguments: argparse.Namespace) -> Iterator[Services]:
    """The services beside a server that may be running: the database is shared, the threads are not started."""
    settings = _settings(arguments)
    from sqlalchemy.exc import SQLAlchemyError

    from billing_server.assembly import assemble

    services = assemble(settings)
    try:
        services.database.upgrade()
        yield services
    except SQLAlchemyError as error:
        raise CannotServe(f"the database cannot be used ({type(error).__name__}): check [database] url") from error
    finally:
        services.database.close()


def _make_code(arguments: argparse.Namespace) -> int:
    from billing_server import audit
    from canteen.errors import InvalidIdentifier
    from canteen.identifiers import parse_device_id
    from sync.orders import DeviceRole

    try:
        device = parse_device_id(arguments.device)
    except InvalidIdentifier as error:
        raise ConfigurationRefused("a device's name has small letters, digits and hyphens") from error
    with _services(arguments) as services, services.database.writing() as session:
        code = _provisioning(services).make_code(session, device, DeviceRole(arguments.role), OPERATOR)
        audit.note(session, OPERATOR, audit.Action.MADE_DEVICE_CODE, services.clock.utc_now(), device)
    _say(code)
    return EXIT_FINE


def _certify_broker(arguments: argparse.Namespace) -> int:
    with _services(arguments) as services:
        authority = _provisioning(services).authority
        try:
            request = arguments.request.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise CannotServe(f"{arguments.request}: cannot be read as a certificate request") from error
        _say(authority.issue(arguments.name, request, arguments.host).pem)
    return EXIT_FINE


def _make_broker(arguments: argparse.Namespace) -> int:
    from billing_server.broker_files import write_broker_files

    settings = _settings(arguments)
    port = 8883 if settings.broker is None else settings.broker.port
    with _services(arguments) as services:
        desk = _provisioning(services)
        with services.database.reading() as session:
            desk.write_revoked(session)
        if settings.authority is None:
            raise ConfigurationRefused("set [authority] in the configuration")
        try:
            written = write_broker_files(
                arguments.folder, desk.authority, settings.authority.revoked, arguments.host, port, arguments.bind
            )
        except OSError as error:
            raise CannotServe(f"{arguments.folder}: {error.strerror}") from error
    _say(f"{written}: for Mosquitto. The keys beside it are for the broker's user and ours, and nobody else.")
    return EXIT_FINE


def _back_up(arguments: argparse.Namespace) -> int:
    from billing_server.backup import write_backup
    from canteen.clock import SystemClock

    settings = _settings(arguments)
    try:
        size = write_backup(settings, arguments.config, arguments.file, _passphrase(arguments), SystemClock().utc_now())
    except OSError as error:
        raise CannotServe(f"{arguments.file}: {error.strerror}") from error
    _say(f"{arguments.file}: {size} bytes. Keep it elsewhere, and the passphrase at a third place.")
    return EXIT_FINE


def _restore(arguments: argparse.Namespace) -> int:
    from billing_server.backup import restore_backup

    settings = _settings(arguments)
    try:
        made_at = restore_backup(settings, arguments.config, arguments.file, _passphrase(arguments))
    except OSError as error:
        raise CannotServe(f"{error.filename or arguments.file}: {error.strerror}") from error
    _say(f"The state of {made_at:%Y-%m-%d %H:%M} UTC is back. Start the server: devices send what came after.")
    return EXIT_FINE


def _passphrase(arguments: argparse.Namespace) -> str:
    if arguments.passphrase_file is not None:
        text: str = arguments.passphrase_file.read_text(encoding="utf-8")
        return text.strip("\r\n")
    from getpass import getpass

    return getpass("Passphrase: ")


def _revoke(arguments: argparse.Namespace) -> int:
    from billing_server import audit

    with _services(arguments) as services, services.database.writing() as session:
        _provisioning(services).revoke(session, arguments.device)
        audit.note(session, OPERATOR, audit.Action.REVOKED_DEVICE, services.clock.utc_now(), arguments.device)
    _say(
        f"{arguments.device} is revoked. canteen-broker.path restarts the broker;"
        " without that unit: systemctl restart mosquitto."
    )
    return EXIT_FINE


def _carry(arguments: argparse.Namespace) -> int:
    from billing_server import audit
    from sync.carried_file import CarriedCount, write_carried_file

    *who, name = arguments.what
    if len(who) != (0 if arguments.direction == "import" else 1):
        raise ConfigurationRefused("carry import FILE, or carry export DEVICE|all FILE")
    path = Path(name)
    with _services(arguments) as services:
        try:
            if arguments.direction == "import":
                with path.open("rb") as file:
                    count = services.carry.take_in(file)
                _say(f"{path}: {count.taken} lines taken, {count.refused} refused")
                action, about = audit.Action.CARRIED_IN, f"{count.taken} taken, {count.refused} refused"
            else:
                with services.database.reading() as session:
                    everyone = services.carry.devices(session)
                if who[0] != "all" and who[0] not in everyone:
                    raise UnknownDevice(f"no device {who[0]}")
                lines = write_carried_file(path, services.carry.lines_for(everyone if who[0] == "all" else who))
                _say(f"{path}: {lines} lines")
                count, action, about = CarriedCount(lines, 0), audit.Action.CARRIED_OUT, who[0]
        except OSError as error:
            raise CannotServe(f"{path}: {error.strerror}") from error
        with services.database.writing() as session:
            services.refusals.write_down(session)
            audit.note(session, OPERATOR, action, services.clock.utc_now(), about)
    return EXIT_WRONG if count.refused else EXIT_FINE


def _provisioning(services: Services) -> ProvisioningDesk:
    if services.provisioning is None:
        raise ConfigurationRefused("this server has no certificate authority: set [authority] in its configuration")
    return services.provisioning


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


def _work(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from billing_server.serving import work

    if re.fullmatch("[a-z0-9-]{1,16}", arguments.worker) is None:
        raise ConfigurationRefused("a worker's name has small letters, digits and hyphens")
    work(settings, arguments.worker)
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


if __name__ == "__main__":
    sys.exit(main())
