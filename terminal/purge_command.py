"""`canteen-terminal purge verify` and `purge export`: an officer checks receipts without trusting the server, or us."""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from enum import IntEnum
from pathlib import Path

from canteen.command_line import session_language
from canteen.errors import CanteenError
from sync.orders import PurgeCause, PurgeScope
from sync.pass_journal import JournalReader
from sync.purge_receipts import (
    CheckedFile,
    CheckedReceipt,
    NotReceipts,
    Verdict,
    check_receipts,
    device_receipts,
)
from sync.signing import SigningKey, VerifyingKey
from terminal.configuration import Configuration, read_configuration
from terminal.display.language import _, said_in


class ExitStatus(IntEnum):
    """What a script goes by."""

    HOLDS = 0
    DOES_NOT = 1
    REFUSED = 2


VERDICTS = {
    Verdict.HOLDS: _("BON"),
    Verdict.BAD_SIGNATURE: _("FAUX : ce reçu n’est pas signé par la clé de cet appareil, ou il a été modifié"),
    Verdict.ABOUT_ANOTHER: _("FAUX : l’appareil a signé ce reçu pour un autre effacement"),
    Verdict.MISSING: _("MANQUE : cet appareil n’a pas encore confirmé"),
    Verdict.LEASE_ENDED: _("SANS REÇU : l’appareil est resté hors d’atteinte, son bail est terminé"),
}

CAUSES = {
    PurgeCause.DEPARTURE: _("départ"),
    PurgeCause.DEREGISTRATION: _("désinscription de la demi-pension"),
    PurgeCause.OPPOSITION: _("opposition de la famille"),
    PurgeCause.WITHDRAWAL: _("retrait de l’accord"),
    PurgeCause.END_OF_SCHOOLING: _("fin de la scolarité"),
    PurgeCause.END_OF_YEAR: _("fin de l’année scolaire"),
}

SCOPES = {
    PurgeScope.REFERENCE: _("le gabarit de la main"),
    PurgeScope.EVERYTHING: _("tout : main, code, cartes, inscription"),
}

_PURGE, _HOLDER = _("Effacement {purge}, appareil {device}"), _("  élève {pupil} ; effacé : {scope}")
_ASKED = _("  demandé par {who} ; raison : {why}")
_WHEN = _("  le {when} (UTC) ; époque {before} avant, {after} après")
_DIGEST, _NOTHING = _("  empreinte de ce qui a été effacé : {digest}"), _("  rien n’était conservé ici")
_NOT_SAID = _("(non précisé)")
_FILE_WHOLE = _("Le fichier est tel que le serveur l’a signé.")
_FILE_CHANGED = _("ATTENTION : le fichier a été modifié depuis que le serveur l’a signé. Chaque reçu est jugé seul.")
_FALSE_KEY = _("FAUX : le fichier nomme pour {device} une autre clé que celle que vous avez donnée")
_KEYS_GIVEN = _("Signatures vérifiées avec la clé que vous avez donnée : {devices}")
_KEYS_OF_FILE = _(
    "Vérifiées avec la clé que le fichier donne : {devices}. Pour ne rien croire sur parole, demandez la clé à"
    " l’appareil (« canteen-terminal keys ») et ajoutez --key APPAREIL=CLÉ."
)
_SUM = _("{count} reçus examinés : {good} bons, {bad} à expliquer.")


def main(argv: list[str]) -> int:
    """Run `purge …`; the exit status."""
    language = session_language()
    parser = argparse.ArgumentParser(
        prog="canteen-terminal purge", description=said_in(language, _("Les reçus d’effacement : vérifier, exporter."))
    )
    parser.add_argument("what", choices=("verify", "export"))
    parser.add_argument("file", type=Path, metavar="FILE", help=said_in(language, _("Le fichier de reçus (JSON)")))
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="DEVICE=BASE64",
        help=said_in(language, _("Clé publique d’un appareil, telle que « canteen-terminal keys » la montre")),
    )
    parser.add_argument("--config", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        configuration = None if arguments.config is None else read_configuration(arguments.config)
        if arguments.what == "export":
            if configuration is None:
                parser.error("export: --config FILE")
            return _export(configuration, arguments.file)
        checked = check_receipts(arguments.file, _keys(arguments.key, configuration))
    except (CanteenError, OSError) as error:
        sys.stderr.write(said_in(language, _("Impossible : {why}")).replace("{why}", str(error)) + "\n")
        return ExitStatus.REFUSED
    sys.stdout.write(said_of(checked, language))
    return ExitStatus.HOLDS if _all_holds(checked) else ExitStatus.DOES_NOT


def said_of(checked: CheckedFile, language: str) -> str:
    """The report, a few lines a receipt."""

    def say(sentence: str, **values: object) -> str:
        return said_in(language, sentence).format(**values)

    lines = []
    if checked.server_signed is not None:
        lines.append(say(_FILE_WHOLE if checked.server_signed else _FILE_CHANGED))
    lines += [say(_FALSE_KEY, device=device) for device in checked.false_keys]
    for one in checked.receipts:
        lines += ["", say(_PURGE, purge=one.purge, device=one.device) + " : " + say(VERDICTS[one.verdict])]
        receipt = one.receipt
        if receipt is None or one.verdict is not Verdict.HOLDS:
            continue
        why = _NOT_SAID if receipt.cause is None else CAUSES[receipt.cause]
        when = f"{receipt.erased_at:%Y-%m-%d %H:%M:%S}"
        lines += [
            say(_HOLDER, pupil=receipt.pupil, scope=say(SCOPES[receipt.scope])),
            say(_ASKED, who=receipt.asked_by or say(_NOT_SAID), why=say(why)),
            say(_WHEN, when=when, before=receipt.epoch_before, after=receipt.epoch_after),
            say(_NOTHING) if receipt.record_digest is None else say(_DIGEST, digest=receipt.record_digest),
        ]
    good = sum(one.good for one in checked.receipts)
    lines += ["", say(_SUM, count=len(checked.receipts), good=good, bad=len(checked.receipts) - good)]
    for given, sentence in ((True, _KEYS_GIVEN), (False, _KEYS_OF_FILE)):
        devices = {one.device for one in checked.receipts if one.verdict is Verdict.HOLDS and one.key_given is given}
        if devices:
            lines.append(say(sentence, devices=", ".join(sorted(devices))))
    return "\n".join(lines) + "\n"


def _all_holds(checked: CheckedFile) -> bool:
    return checked.server_signed is not False and not checked.false_keys and all(map(_good, checked.receipts))


def _good(one: CheckedReceipt) -> bool:
    return one.good


def _keys(given: list[str], configuration: Configuration | None) -> dict[str, VerifyingKey]:
    """The keys on the command line, and this terminal's own where its configuration is named."""
    keys = {}
    if configuration is not None:
        own = SigningKey.load_or_create(configuration.signing_key)
        keys[str(configuration.device)] = own.verifying_key
    for item in given:
        device, equals, text = item.partition("=")
        try:
            keys[device] = VerifyingKey(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError, CanteenError) as error:
            raise NotReceipts("--key DEVICE=BASE64, 32 octets") from error
        if not equals:
            raise NotReceipts("--key DEVICE=BASE64")
    return keys


def _export(configuration: Configuration, path: Path) -> int:
    """This terminal's own receipts, out of its journal: nothing of the server's is needed to check them."""
    key = SigningKey.load_or_create(configuration.signing_key).verifying_key
    journal = JournalReader(configuration.journal)
    try:
        document = device_receipts(journal, configuration.device, key)
    finally:
        journal.close()
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    sys.stdout.write(f"{path}: {len(document['receipts'])}\n")
    return ExitStatus.HOLDS
