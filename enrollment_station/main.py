"""`canteen-station --config FILE`: the station. `… operator NAME`: a personal link. `… card-keys`: the cards' keys."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from canteen.command_line import console_script
from canteen.errors import CanteenError
from enrollment_station.card_settings import make_card_keys
from enrollment_station.configuration import StationConfiguration, load_configuration
from enrollment_station.door import ENTRANCE
from enrollment_station.errors import StationError
from enrollment_station.language import marked, say
from enrollment_station.operators import OperatorBook

OPERATOR_LINK = marked("Lien personnel de {name}, à ouvrir une fois et à ne donner à personne d’autre :")

CARD_SECRET_MADE = marked("Secret des cartes créé : {path}")
CARD_SECRET_KEPT = marked("Secret des cartes inchangé : {path}")
CARD_SECRET_SAFE = marked(
    "Gardez-en une copie au coffre (« canteen-station card-keys FICHIER » en écrit une, sur une clé USB) : sans lui, "
    "aucune carte ne pourra plus être lue par une nouvelle borne, ni changée."
)
CARD_SECRET_COPY = marked("Copie du secret, en clair, pour le coffre : {path}")
CARD_READING_KEY = marked(
    "Clé de lecture pour les bornes : {path}. Portez-la à chaque borne (0600, à son propre utilisateur), "
    "puis effacez-la d’ici."
)

_COMMANDS = (
    "provision makes a station of this machine; operator NAME makes a personal link; "
    "card-keys [COPY] makes the cards' secret and the terminals' reading key, and leaves a copy for the safe"
)


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 2 means that something needs a look before it can."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["provision"]:
        from enrollment_station.provisioning import STATION
        from sync.device_setup import provision  # before there is a configuration

        return provision(STATION, argv[1:])
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        configuration = load_configuration(arguments.config)
        if arguments.command == "operator":
            return _make_operator(configuration, arguments.name)
        if arguments.command == "card-keys":
            return _make_card_keys(configuration, arguments.name)
        from enrollment_station.serving import serve  # the page's libraries: the commands need none

        serve(configuration)
    except (StationError, CanteenError) as error:
        return _give_up(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canteen-station", description="Consents, hands and cards of the pupils.")
    parser.add_argument("command", nargs="?", choices=["provision", "operator", "card-keys"], help=_COMMANDS)
    parser.add_argument("name", nargs="?", default="", help="the operator's name, as the audit log shows it; a file")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    return parser


def _make_operator(configuration: StationConfiguration, name: str) -> int:
    token = OperatorBook(configuration.storage.operators).add(name)
    query = urlencode({"jeton": token})
    print(say(configuration.language, OPERATOR_LINK).format(name=name))  # noqa: T201 - for the person who asked
    print(f"http://{configuration.host}:{configuration.port}{ENTRANCE}?{query}")  # noqa: T201 - as above
    return 0


def _make_card_keys(configuration: StationConfiguration, copy: str) -> int:
    language = configuration.language
    files = make_card_keys(configuration.cards, configuration.storage.kept_secrets, Path(copy) if copy else None)
    made = CARD_SECRET_MADE if files.fresh else CARD_SECRET_KEPT
    print(say(language, made).format(path=files.master_key))  # noqa: T201 - for the person who asked
    print(say(language, CARD_SECRET_SAFE))  # noqa: T201 - as above
    if copy:
        print(say(language, CARD_SECRET_COPY).format(path=copy))  # noqa: T201 - as above
    print(say(language, CARD_READING_KEY).format(path=files.reading_key))  # noqa: T201 - as above
    return 0


def _give_up(sentence: str) -> int:
    print(f"canteen-station: {sentence}", file=sys.stderr)  # noqa: T201 - for the person who starts it
    return 2


if __name__ == "__main__":
    sys.exit(main())
