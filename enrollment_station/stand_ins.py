"""What an operator asks for beside three usual placements: fingers not compared, another hand for a while, a rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from enrollment_station.errors import StandInRefused
from enrollment_station.language import marked
from hand_geometry.landmarks import Finger
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_numbers import SUPPORTED_MASKS

LONGEST = timedelta(days=366)
"""A plaster lasts weeks; what lasts longer than a year is for good."""

FINGER_NAMES: dict[Finger, str] = {
    Finger.THUMB: marked("pouce"),
    Finger.INDEX: marked("index"),
    Finger.MIDDLE: marked("majeur"),
    Finger.RING: marked("annulaire"),
    Finger.LITTLE: marked("auriculaire"),
}

NOT_THESE_FINGERS = marked("Un seul doigt peut être laissé de côté, ou deux doigts voisins.")
NOT_THAT_DAY = marked("Le dernier jour doit être entre aujourd’hui et dans un an.")
NO_HAND_TO_REST = marked("Aucune main n’est enregistrée : l’élève passe déjà avec sa carte.")
NOT_READABLE_NOW = marked(
    "La main habituelle ne peut pas être lue : la station n’a plus de nouvelles du serveur depuis trop longtemps."
)
NOTHING_ENDS = marked("Rien ne remplace la main de cet élève en ce moment.")


@dataclass(frozen=True, slots=True)
class EnrollmentTerms:
    """How the three placements are meant.

    Attributes:
        mask: fingers that are not compared.
        until: through that day the reference stands in for the usual one; None: it is the usual one from now on.
    """

    mask: Mask = NO_MASK
    until: date | None = None


USUAL_TERMS = EnrollmentTerms()


def read_terms(untrusted: Mapping[str, str], today: date) -> EnrollmentTerms:
    """The terms in a request's query: `doigts` (names of `Finger`, with commas) and `jusqu_au` (a day).

    Raises:
        StandInRefused: fingers that cannot be left out, or a day that cannot be.
    """
    return EnrollmentTerms(read_mask(untrusted), read_last_day(untrusted.get("jusqu_au"), today))


def read_mask(untrusted: Mapping[str, str]) -> Mask:
    """The fingers of `read_terms` alone. Raises StandInRefused."""
    names = [name for name in untrusted.get("doigts", "").split(",") if name]
    try:
        mask = Mask.without(Finger[name.upper()] for name in names)
    except (KeyError, ValueError) as error:
        raise StandInRefused(NOT_THESE_FINGERS) from error
    if mask.left_out and mask not in SUPPORTED_MASKS:
        raise StandInRefused(NOT_THESE_FINGERS)
    return mask


def read_last_day(untrusted: object, today: date) -> date | None:
    """A last day, or None for an empty one. Raises StandInRefused."""
    if untrusted is None or untrusted == "":
        return None
    try:
        day = date.fromisoformat(str(untrusted))
    except ValueError as error:
        raise StandInRefused(NOT_THAT_DAY) from error
    if not today <= day <= today + LONGEST:
        raise StandInRefused(NOT_THAT_DAY)
    return day
