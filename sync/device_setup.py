"""`canteen-terminal provision`, `canteen-station provision`: makes a device of a machine, at the machine.

It makes the keys here (they never leave), asks the server with a one-time code, over the network or by a stick, and
writes what the answer brings: certificate, configuration, folders with their owners. Run again, it goes on where it was
stopped: keys are kept, a configuration that stands is never overwritten. It is run by root before anything else runs;
the programs themselves never use this.
"""

from __future__ import annotations

import argparse
import grp
import http.client
import json
import os
import pwd
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from canteen.errors import CanteenError
from sync.encoding import MESSAGE_BYTES_MAX, canonical, octets_text, parse_object
from sync.errors import BadSignature, MalformedMessage
from sync.phrases import _, said
from sync.provisioning import (
    CODE_LENGTH,
    ProvisionAnswer,
    ProvisionRequest,
    code_key,
    read_answer,
    read_certificate_message,
    renewal_statement,
)
from sync.sealing import OpeningKey
from sync.signing import SigningKey, VerifyingKey
from sync.tls_files import TlsFiles

_TIMEOUT_S = 15.0
_CLOCK_MOST_S = 300.0
_RENEWAL = b"canteen certificate renewal v1"
"""The purpose under which the journal key signs the wish for another certificate."""

_REFUSED = {
    "code-unknown": _("Le code n’est pas le bon. Vérifiez chaque signe, ou faites-en un autre sur la page du serveur."),
    "code-expired": _("Ce code a plus de 24 heures. Faites-en un autre sur la page du serveur."),
    "code-used": _("Ce code a déjà servi pour un autre appareil. Faites-en un autre sur la page du serveur."),
    "code-other-role": _(
        "Ce code est pour un appareil d’un autre rôle. Faites-en un sur la page du serveur pour celui-ci."
    ),
    "name-taken": _(
        "Le nom de ce code appartient déjà à un appareil qui a d’autres clés. Faites un code pour un nouveau nom."
    ),
}


class SetupRefused(CanteenError):
    """It cannot go on; the message is a sentence for the person at the device."""


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """What differs between a terminal and a station.

    Attributes:
        program: the name of its folder, its user and its configuration ("terminal").
        configuration: makes the text of its own configuration from the answer and the state folder.
        opening_key: the key that opens what is sealed for it, from its configuration's path and the key's: kept as that
            says where there is one already; made on first use.
    """

    program: str
    configuration: Callable[[ProvisionAnswer, Path], str]
    opening_key: Callable[[Path, Path], OpeningKey]


def provision(kind: DeviceKind, argv: list[str]) -> int:
    """The command; its exit status."""
    arguments = _parser(kind).parse_args(argv)
    setup = _Setup(kind, arguments.config, arguments.state)
    try:
        if arguments.renew:
            setup.renew(arguments.server)
        elif arguments.request is not None:
            setup.write_request(_code(arguments.code_file), arguments.request)
        elif arguments.answer is not None:
            setup.take(_code(arguments.code_file), _read(arguments.answer))
        else:
            setup.ask(_code(arguments.code_file), arguments.server)
    except SetupRefused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    except (CanteenError, OSError) as trouble:
        sys.stderr.write(said(_("Rien n’a pu être installé : {why}")).replace("{why}", str(trouble)) + "\n")
        return 1
    return 0


def _parser(kind: DeviceKind) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"canteen-{kind.program} provision",
        description=said(_("Installe cet appareil avec le code à usage unique de la page « Appareils » du serveur.")),
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--server", metavar="URL", help=said(_("L’adresse de la page du serveur, http://…")))
    how.add_argument("--request", type=Path, metavar="FILE", help=said(_("Sans réseau : écrit la demande ici")))
    how.add_argument("--answer", type=Path, metavar="FILE", help=said(_("Sans réseau : lit ici la réponse")))
    parser.add_argument(
        "--renew", action="store_true", help=said(_("Avec --server : un nouveau certificat, quand l’ancien a expiré"))
    )
    parser.add_argument(
        "--code-file", type=Path, metavar="FILE", help=said(_("Lit le code ici au lieu de le demander"))
    )
    parser.add_argument("--config", type=Path, default=Path(f"/etc/canteen/{kind.program}.toml"), metavar="FILE")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/canteen"), metavar="FOLDER")
    return parser


class _Setup:
    def __init__(self, kind: DeviceKind, config: Path, state: Path) -> None:
        self._kind, self._config, self._state = kind, config, state
        self._sync_config = config.with_name("sync.toml")
        own, network = state / kind.program, state / "sync"
        self._signing, self._sealing = own / "signing.key", own / "sealing.key"
        self._tls = TlsFiles(network / "ca.pem", network / "tls.pem", network / "tls.key")

    def ask(self, code: str, server: str) -> None:
        request, key = self._request(), code_key(code)
        answer = _post(server, "/api/provision", request.write(key))
        self.take(code, answer)

    def write_request(self, code: str, path: Path) -> None:
        path.write_bytes(canonical(self._request().write(code_key(code))) + b"\n")
        self._own()
        _say(_("Demande écrite : {path}. Portez-la à la page du serveur, et rapportez sa réponse."), path=path)

    def take(self, code: str, untrusted_answer: dict[str, Any]) -> None:
        """Believe the answer if it knows the code, and write all that it brings."""
        try:
            answer = read_answer(untrusted_answer, code_key(code), self._request().digest)
        except BadSignature:
            raise SetupRefused(
                said(
                    _(
                        "La réponse ne vient pas d’un serveur qui connaît ce code pour cet appareil : rien n’a été "
                        "installé. Quelqu’un s’interpose peut-être sur le réseau ; sinon, refaites un code."
                    )
                )
            ) from None
        except MalformedMessage:
            raise SetupRefused(said(_("Ce n’est pas une réponse de notre serveur."))) from None
        if answer.role != self._kind.program:
            raise SetupRefused(said(_REFUSED["code-other-role"]))
        self._check_clock(answer)
        if answer.broker is None:
            raise SetupRefused(said(_("Le serveur n’a pas de messagerie : réglez [broker] dans sa configuration.")))
        self._keep(self._config, answer, self._kind.configuration(answer, self._state))
        self._keep(self._sync_config, answer, self._sync_toml(answer))
        if not self._tls.install(answer.certificate, answer.authority) and not self._tls.certificate.exists():
            raise SetupRefused(said(_("Le certificat reçu n’est pas celui de la clé de cet appareil.")))
        self._own()
        _say(_("{device} est installé."), device=answer.device)
        _say(
            _("1. Relisez {config} : lecteur, tourniquet et caméra y sont à leurs réglages usuels."),
            config=self._config,
        )
        _say(
            _("2. Lancez : systemctl enable --now canteen-{program} canteen-sync"),
            program=self._kind.program,
        )
        _say(_("3. Sur la page « Appareils » du serveur, vérifiez son dernier contact."))

    def renew(self, server: str) -> None:
        """Another certificate by the journal key: after weeks without a network, or after the authority was lost."""
        settings = _toml(self._sync_config)
        device = str(settings["device"])
        request = self._tls.request()
        statement = renewal_statement(device, request)
        # The same key signs journal entries; the purpose keeps the two apart.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(SigningKey.load_or_create(self._signing).octets)
        signature = key.sign(_RENEWAL + b"\x00" + canonical(statement))
        wish = {"device": device, "certificate_request": request, "signature": octets_text(signature)}
        message = read_certificate_message(_post(server, "/api/renew", wish))
        try:
            message.verify(_server_key(settings))
        except BadSignature:
            raise SetupRefused(
                said(_("La réponse n’est pas signée par notre serveur : rien n’a été changé."))
            ) from None
        if message.device != device or not self._tls.install(message.certificate, message.authority):
            raise SetupRefused(said(_("Le certificat reçu n’est pas celui de la clé de cet appareil.")))
        self._own()
        _say(_("Nouveau certificat installé pour {device}. Lancez : systemctl restart canteen-sync"), device=device)

    def _request(self) -> ProvisionRequest:
        """The same at every call: keys are made once."""
        self._tls.finish()
        signing = SigningKey.load_or_create(self._signing)
        opening = self._kind.opening_key(self._config, self._sealing)
        kept = self._tls.key.with_name("request.pem")
        if not kept.exists() or not self._tls.certificate.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                kept.write_text(self._tls.request(), encoding="ascii")
        return ProvisionRequest(
            self._kind.program, signing.verifying_key, opening.sealing_key, kept.read_text(encoding="ascii")
        )

    def _check_clock(self, answer: ProvisionAnswer) -> None:
        now = datetime.now(UTC)
        certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
        wrong_s = (now - answer.now).total_seconds()
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            raise SetupRefused(
                said(
                    _("L’horloge de cet appareil est fausse ({now}) : mettez-la à l’heure, puis recommencez.")
                ).replace("{now}", f"{now:%Y-%m-%d %H:%M} UTC")
            )
        if abs(wrong_s) > _CLOCK_MOST_S:
            _say(
                _("Attention : l’horloge de cet appareil diffère de {n} min de celle du serveur."),
                n=round(wrong_s / 60),
            )

    def _keep(self, path: Path, answer: ProvisionAnswer, text: str) -> None:
        """Write a configuration; one that stands stays, if it is of this device and this server."""
        if path.exists():
            settings = _toml(path)
            if settings.get("device") != answer.device or _server_key(settings) != answer.server_signing_key:
                raise SetupRefused(
                    said(
                        _("{path} est d’un autre appareil ou serveur : rangez-le ailleurs, puis recommencez.")
                    ).replace("{path}", str(path))
                )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o640)
        draft.replace(path)

    def _sync_toml(self, answer: ProvisionAnswer) -> str:
        host, port = answer.broker or ("", 0)
        exchange = self._state / "exchange"
        return f"""\
device = "{answer.device}"

[storage]
journal = "{exchange / "journal.sqlite"}"
orders = "{exchange / "orders.sqlite"}"

[trust]
server_signing_key = "{octets_text(answer.server_signing_key.octets)}"
server_sealing_key = "{octets_text(answer.server_sealing_key.octets)}"

[broker]
host = {json.dumps(host)}
port = {port}
ca = "{self._tls.ca}"
certificate = "{self._tls.certificate}"
key = "{self._tls.key}"
"""

    def _own(self) -> None:
        """Each folder to its program: the keys of the gate, the keys of the network, and the exchange for both."""
        exchange = self._state / "exchange"
        exchange.mkdir(parents=True, exist_ok=True)
        exchange.chmod(0o2770)
        for folder in (self._state / self._kind.program, self._state / "sync"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        if os.geteuid() != 0:
            return
        try:
            group = grp.getgrnam("canteen").gr_gid
            owners = {name: pwd.getpwnam(f"canteen-{name}").pw_uid for name in (self._kind.program, "sync")}
        except KeyError:
            _say(_("Les utilisateurs canteen n’existent pas encore : lancez systemd-sysusers, puis recommencez."))
            return
        os.chown(exchange, 0, group)
        for path in (self._config, self._sync_config):
            if path.exists():
                os.chown(path, 0, group)
        for name, owner in owners.items():
            folder = self._state / name
            for path in (folder, *folder.rglob("*")):
                os.chown(path, owner, group, follow_symlinks=False)


def _code(path: Path | None) -> str:
    if path is not None:
        code = path.read_text(encoding="utf-8")
    else:
        sys.stderr.write(said(_("Code à usage unique : ")))
        sys.stderr.flush()
        code = sys.stdin.readline(200)
    if sum(character.isalnum() for character in code) != CODE_LENGTH:
        raise SetupRefused(said(_("Un code a 12 signes, par exemple {code}.")).replace("{code}", "7K3M-9QXR-2WHT"))
    return code


def _post(server: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the server; its refusals become sentences. What it answers is believed by its proof alone."""
    if not server.startswith(("http://", "https://")):
        raise SetupRefused(said(_("L’adresse du serveur commence par http:// ou https://.")))
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        server.rstrip("/") + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return parse_object(answer.read(MESSAGE_BYTES_MAX))
    except urllib.error.HTTPError as refusal:
        raise SetupRefused(_why(refusal)) from None
    except (OSError, http.client.HTTPException) as error:
        sentence = said(_("Le serveur ne répond pas à {server} ({why}). Vérifiez l’adresse et le réseau."))
        raise SetupRefused(sentence.replace("{server}", server).replace("{why}", str(error))) from None
    except MalformedMessage:
        raise SetupRefused(said(_("Ce n’est pas une réponse de notre serveur."))) from None


def _why(refusal: urllib.error.HTTPError) -> str:
    try:
        detail = str(json.loads(refusal.read(4096)).get("error", ""))
    except (ValueError, AttributeError, OSError):
        detail = ""
    if detail in _REFUSED:
        return said(_REFUSED[detail])
    if refusal.code == http.HTTPStatus.TOO_MANY_REQUESTS:
        return said(_("Trop d’essais : attendez une minute, puis recommencez."))
    if refusal.code == http.HTTPStatus.FORBIDDEN:
        return said(_("Le serveur ne connaît pas cet appareil, ou l’a révoqué."))
    sentence = said(_("Le serveur refuse ({code} {why})."))
    return sentence.replace("{code}", str(refusal.code)).replace("{why}", detail[:200])


def _read(path: Path) -> dict[str, Any]:
    return parse_object(path.read_bytes()[:MESSAGE_BYTES_MAX])


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupRefused(f"{path}: {error}") from error


def _server_key(settings: dict[str, Any]) -> VerifyingKey:
    import base64
    import binascii

    try:
        return VerifyingKey(base64.b64decode(settings["trust"]["server_signing_key"], validate=True))
    except (KeyError, TypeError, binascii.Error, MalformedMessage):
        raise SetupRefused(said(_("La clé du serveur ne peut pas être lue dans la configuration."))) from None


def _say(sentence: str, **filled: object) -> None:
    text = said(sentence)
    for name, value in filled.items():
        text = text.replace("{" + name + "}", str(value))
    sys.stdout.write(text + "\n")
