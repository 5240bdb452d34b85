"""How the commands of ``canteen-evaluate`` answer: lines in the session's language, whole files, and refusals."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hand_geometry.errors import TrialsError
from hand_geometry.language import _, number, trouble
from hand_geometry.performance import Estimate, rule_of_three
from hand_geometry.silhouette import Platen

if TYPE_CHECKING:
    from hand_geometry.fit import AcquiredSet

EXIT_OK = 0


def say(line: str) -> None:
    """One line of the answer, on stdout."""
    sys.stdout.write(line + "\n")


def nobody_to_measure() -> TrialsError:
    return TrialsError(
        _("personne à mesurer : il faut au moins deux personnes, avec des images qui peuvent être mesurées")
    )


def percent(share: float, digits: int = 2) -> str:
    return number(f"{100 * share:.{digits}f} %")


def estimated(found: Estimate) -> str:
    """A rate and its 95 % interval."""
    low, high = (number(f"{100 * one:.2f}") for one in (found.low, found.high))
    return _("{rate} [{low} ; {high}]").format(rate=percent(found.value), low=low, high=high)


def told(found: Estimate, people: int) -> str:
    """The same of so many people; where no error was seen, no bootstrap can say what the rule of three does."""
    if found.high != 0.0:
        return estimated(found)
    limited = Estimate(found.value, found.low, rule_of_three(people))
    return _("{rate} (aucune erreur vue ; règle de trois)").format(rate=estimated(limited))


def ready_for(out: Path) -> None:
    """Looks before the work, which takes minutes, whether its result can be written. Raises TrialsError."""
    folder = out.parent
    if out.is_dir():
        raise TrialsError(_("{path} : c’est un dossier, il faut un fichier").format(path=out))
    if not folder.is_dir():
        raise TrialsError(_("{path} : le dossier {folder} n’existe pas").format(path=out, folder=folder))
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise TrialsError(_("{path} : on ne peut rien y écrire").format(path=out))


def write_whole(out: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or as it was before. Raises TrialsError."""
    part = out.with_name(f"{out.name}.part")
    try:
        if out.exists() and not out.is_file():  # a pipe, a terminal
            out.write_bytes(content)
            return
        try:
            part.write_bytes(content)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TrialsError(_("{path} : {trouble}").format(path=out, trouble=trouble(error))) from error


def sets_of(given: list[str]) -> list[AcquiredSet]:
    """Measures the folders named as FOLDER or PLATEN=FOLDER."""
    from hand_geometry.fit import acquire_set

    sets = []
    for one in given:
        platen, parted, folder = one.partition("=")
        if Path(one).is_dir():
            sets.append(acquire_set(Path(one)))
        elif parted and folder and platen in list(Platen):
            sets.append(acquire_set(Path(folder), Platen(platen)))
        elif parted:
            raise TrialsError(
                _("{given} : il faut DOSSIER ou SUPPORT=DOSSIER, et pour SUPPORT l’un de {platens}").format(
                    given=one, platens=", ".join(Platen)
                )
            )
        else:
            raise TrialsError(_("{path} : ce dossier n’existe pas").format(path=one))
    return sets
