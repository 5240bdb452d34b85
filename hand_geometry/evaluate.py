"""``canteen-evaluate``: compares trials, fits the shipped numbers, and measures them on people kept apart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2

from canteen.command_line import console_script, session_language
from hand_geometry.errors import FittedNumbersError, TrialsError
from hand_geometry.evaluation_answers import EXIT_OK
from hand_geometry.evaluation_commands import COMMANDS
from hand_geometry.fitted_numbers import NUMBERS_FILE
from hand_geometry.height_numbers import HEIGHT_NUMBERS_FILE
from hand_geometry.language import LANGUAGES, _, trouble
from hand_geometry.policy import CURVES_FILE, PUPILS
from hand_geometry.silhouette import Platen

__all__ = ["EXIT_INPUT", "EXIT_OK", "main"]

# 2 is what argparse uses for wrong arguments.
EXIT_INPUT = 1


class _AddCommand(Protocol):
    """Adds a command of this name that does this."""

    def __call__(self, name: str, what: str) -> argparse.ArgumentParser: ...


def _at_least_one(untrusted_text: str) -> int:
    """A count on the command line. Raises ArgumentTypeError."""
    if not untrusted_text.isdecimal() or len(untrusted_text) > 6 or int(untrusted_text) == 0:
        raise argparse.ArgumentTypeError(_("il faut un nombre entier de 1 à 999999"))
    return int(untrusted_text)


def _platen(untrusted_text: str) -> Platen:
    """What hands lie on. Raises ArgumentTypeError."""
    try:
        return Platen(untrusted_text)
    except ValueError:
        known = ", ".join(Platen)
        raise argparse.ArgumentTypeError(_("il faut l’un de {platens}").format(platens=known)) from None


def _seed(untrusted_text: str) -> int:
    """What a simulation is drawn from. Raises ArgumentTypeError."""
    if not untrusted_text.isdecimal() or len(untrusted_text) > 9:
        raise argparse.ArgumentTypeError(_("il faut un nombre entier à partir de 0"))
    return int(untrusted_text)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="canteen-evaluate",
        description=_(
            "Mesure la comparaison des mains sur des dossiers d’images. Un dossier a un index.csv, avec les colonnes "
            "file (image), subject (personne) et, s’il y en a, hand (left ou right) : voir docs/hand-performance.md."
        ),
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar=_("COMMANDE"))

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what)

    report = command("report", _("rapport ISO/IEC 19795-1 d’un dossier d’images, en une page HTML"))
    _measured_on_people_apart(report, seeds=5)
    _add_out(report, _("la page HTML à écrire ; elle nomme des fichiers et ne montre aucune main"))
    _add_language(report)

    check = command(
        "crossvalidate", _("les taux d’erreur seuls : apprendre sur la moitié des personnes, mesurer l’autre")
    )
    _measured_on_people_apart(check, seeds=5)

    show = command("show", _("dessine sur une image ce qui y a été mesuré, pour le vérifier à l’œil"))
    show.add_argument("image", type=Path, metavar="IMAGE", help=_("la photo d’une main"))
    _add_out(show, _("l’image PNG à écrire ; elle montre la main : à garder aussi secrète que la photo"))
    _add_platen(show)

    compare = command("compare", _("compare les essais d’un fichier CSV ; un score plus bas est plus proche"))
    compare.add_argument(
        "--trials",
        type=Path,
        required=True,
        metavar="CSV",
        help=_("colonnes trial (nom de l’essai), enrolment (images séparées par |) et probe (image)"),
    )
    _add_out(compare, _("le fichier CSV à écrire : trial, outcome, score, reason"))
    _add_platen(compare)

    policy = command("policy", _("ce que chaque seuil veut dire : rejets par semaine dans un établissement"))
    policy.add_argument("--pupils", type=_at_least_one, default=PUPILS, metavar="N", help=_("élèves (%(default)s)"))
    _add_language(policy)
    policy.add_argument(
        "--measure", action="append", default=[], metavar=_FOLDER(), help=_("mesurer d’abord à nouveau sur ce dossier")
    )
    policy.add_argument(
        "--out",
        type=Path,
        default=CURVES_FILE,
        metavar="JSON",
        help=_("où écrire les courbes mesurées ; sans cette option, à la place de celles qui sont livrées"),
    )

    perturb = command("perturb", _("ce que changent un peu de rotation, de décalage, de lumière, de grain et de flou"))
    _measured_on_people_apart(perturb, seeds=2)

    masks = command("masks", _("ce que coûtent des doigts laissés de côté, sur des personnes tenues à part"))
    _measured_on_people_apart(masks, seeds=2)
    masks.add_argument(
        "--painted", action="store_true", help=_("effacer d’abord ces doigts, jusqu’à un moignon, dans chaque image")
    )

    _add_fit(command("fit", _("calcule à nouveau les nombres livrés, depuis des dossiers d’images")))
    _add_simulations(command)
    return parser


def _FOLDER() -> str:  # noqa: N802 - a constant but for its language
    return _("[SUPPORT=]DOSSIER")


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar=_("DOSSIER"), help=_("un dossier d’images avec son index.csv"))


def _add_out(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--out", type=Path, required=True, metavar=_("FICHIER"), help=what)


def _add_platen(command: argparse.ArgumentParser) -> None:
    """What the hands of its pictures lie on."""
    command.add_argument(
        "--platen",
        type=_platen,
        metavar=_("SUPPORT"),
        help=_(
            "sur quoi les mains sont posées : dark (fond sombre), light (papier blanc), backlit (éclairé par derrière) "
            "ou silhouette ; sinon, les images le montrent"
        ),
    )


def _add_support(command: argparse.ArgumentParser) -> None:
    """Sets that are fitted on, and not measured."""
    command.add_argument(
        "--support",
        action="append",
        default=[],
        metavar=_FOLDER(),
        help=_("un dossier d’autres personnes, dont on apprend sans les mesurer"),
    )


def _add_counts(command: argparse.ArgumentParser, *, seeds: int) -> None:
    """How often people are halved, and how many pictures enroll."""
    command.add_argument(
        "--seeds", type=_at_least_one, default=seeds, metavar="N", help=_("tirages au sort des moitiés (%(default)s)")
    )
    command.add_argument(
        "--enrolled",
        type=_at_least_one,
        default=3,
        metavar="N",
        help=_("images d’enrôlement par personne (%(default)s)"),
    )


def _add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--language", choices=LANGUAGES, default=session_language(), help=_("langue du texte (%(default)s)")
    )


def _measured_on_people_apart(command: argparse.ArgumentParser, *, seeds: int) -> None:
    """What a command that fits on half of a folder's people is told."""
    _add_folder(command)
    _add_platen(command)
    _add_support(command)
    _add_counts(command, seeds=seeds)


def _add_fit(fit: argparse.ArgumentParser) -> None:
    """What the shipped numbers are made from."""
    fit.add_argument(
        "--set", action="append", required=True, metavar=_FOLDER(), dest="sets", help=_("un dossier dont on apprend")
    )
    fit.add_argument(
        "--mean",
        action="append",
        default=[],
        metavar=_FOLDER(),
        help=_("un dossier dont on ne prend que la moyenne, pour ce support"),
    )
    fit.add_argument(
        "--out",
        type=Path,
        default=NUMBERS_FILE,
        metavar="NPZ",
        help=_(
            "où écrire les nombres, et à côté, sous masked_…, ceux de mains à doigts laissés de côté ; sans cette "
            "option, à la place des nombres livrés"
        ),
    )
    fit.add_argument("--no-masks", action="store_true", help=_("sans les nombres de mains à doigts laissés de côté"))
    fit.add_argument(
        "--only-rates",
        action="store_true",
        help=_("mesurer seulement les taux d’inconnus : les références gardées restent lisibles"),
    )


def _add_simulations(command: _AddCommand) -> None:
    """The commands about drawn people, growth and attacks."""
    growth = command("growth", _("simule une année scolaire d’enfants qui grandissent, avec et sans mises à jour"))
    growth.add_argument("--children", type=_at_least_one, default=600, metavar="N", help=_("enfants (%(default)s)"))
    growth.add_argument("--seed", type=_seed, default=0, metavar="N", help=_("graine du hasard (%(default)s)"))

    attacks = command("attacks", _("présentations frauduleuses simulées, par sorte"))
    attacks.add_argument(
        "--people", type=_at_least_one, default=20, metavar="N", help=_("personnes essayées (%(default)s)")
    )
    attacks.add_argument(
        "--mirror",
        choices=("both", "without", "with"),
        default="both",
        help=_("lecteur avec miroir latéral (with), sans (without), les deux (both)"),
    )
    attacks.add_argument(
        "--folder",
        type=Path,
        metavar=_("DOSSIER"),
        help=_("de vraies mains sur fond sombre, sans miroir, à la place de personnes de synthèse"),
    )

    synthetic = command("synthetic", _("à quelle distance les mesures des mains de synthèse sont de vraies"))
    synthetic.add_argument("sets", metavar=_FOLDER(), nargs=1, help=_("un dossier de vraies mains"))
    synthetic.add_argument(
        "--people", type=_at_least_one, default=40, metavar="N", help=_("personnes de synthèse (%(default)s)")
    )
    synthetic.add_argument(
        "--fit",
        action="store_true",
        help=_("dessiner désormais les personnes d’après ce dossier : change le programme"),
    )

    readers = command("readers", _("personnes simulées, enrôlées sur un lecteur et passant sur un autre"))
    readers.add_argument(
        "--people", type=_at_least_one, default=120, metavar="N", help=_("personnes simulées (%(default)s)")
    )

    heights = command("heights", _("calcule à nouveau les nombres des hauteurs, depuis des personnes simulées"))
    heights.add_argument(
        "--people", type=_at_least_one, default=120, metavar="N", help=_("personnes simulées (%(default)s)")
    )
    heights.add_argument(
        "--out",
        type=Path,
        default=HEIGHT_NUMBERS_FILE,
        metavar="NPZ",
        help=_("où écrire les nombres ; sans cette option, à la place de ceux qui sont livrés"),
    )


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = _arguments().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return COMMANDS[arguments.command](arguments)
    except (TrialsError, FittedNumbersError) as error:
        said = str(error)
    except OSError as error:  # a folder where a file is to be written, a disk that is full
        said = _("{path} : {trouble}").format(path=error.filename or _("la réponse"), trouble=trouble(error))
    sys.stderr.write(f"canteen-evaluate: {said}\n")
    return EXIT_INPUT


if __name__ == "__main__":
    sys.exit(main())
