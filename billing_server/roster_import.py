"""A roster as a CSV file: every row checked, every error said with its row, and nothing imported by halves."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date

from billing_server.errors import ImportRefused, RowError
from billing_server.roster import Identity, NewPupil
from billing_server.text import N_
from canteen.entitlements import Entitlement, external_meal, forfait_4_days, forfait_5_days
from canteen.identifiers import PupilId

_NAMES = ("last_name", "first_name", "class")
_COLUMNS = {
    "last_name": ("last_name", "nom"),
    "first_name": ("first_name", "prenom", "prénom"),
    "class": ("class", "classe"),
    "regime": ("regime", "régime"),
}

ROWS_MAX = 5000
_NAME_LONGEST = 100
_CLASS_LONGEST = 40
_SCHOOL_YEAR_STARTS = 9
_SCHOOL_YEAR_ENDS = (7, 31)

NOT_TEXT = N_("le fichier n’est ni en UTF-8 ni en Windows-1252, ou n’est pas du CSV")
NO_COLUMN = N_("la première ligne doit nommer les colonnes : nom, prénom, classe, régime")
TOO_MANY = N_("trop de lignes")
NAME_MISSING = N_("nom, prénom ou classe manquants ou trop longs")
REGIME_UNKNOWN = N_("régime inconnu : 4, 5, ou la date du repas d’un externe")
TWICE = N_("cet élève figure deux fois dans le fichier")
HERE_ALREADY = N_("cet élève est déjà inscrit")
NOT_HERE = N_("aucun élève inscrit ne porte ce nom dans cette classe")
SEVERAL = N_("plusieurs élèves portent ce nom : donnez la classe telle qu’elle est inscrite")
NOBODY_STAYS = N_("aucun élève inscrit ne figure dans ce fichier : est-ce le bon ?")
NO_NAMES = N_("la première ligne doit nommer les colonnes : nom, prénom, classe")
NAMESAKE = N_(
    "un élève du même nom est déjà inscrit dans une autre classe : s’il a changé de classe, retirez la ligne ;"
    " si c’est un homonyme, ajoutez son second prénom"
)


def parse_roster(untrusted_file: bytes, today: date, known: Iterable[Identity]) -> list[NewPupil]:
    """The pupils in a CSV file with the columns last_name, first_name, class and regime (or nom, prénom, …).

    The separator may be a comma, a semicolon or a tab. A regime is 4, 5, or the date of an external's meal.

    Raises:
        ImportRefused: with every row that is wrong; row 0 is the file itself.
    """
    rows = _rows(untrusted_file)
    seen: dict[tuple[str, str], tuple[str, str]] = {
        _name(one): (_folded(one.class_name), HERE_ALREADY) for one in known
    }
    pupils, errors = [], []
    for number, row in enumerate(rows, start=1):
        identity = Identity(row["first_name"], row["last_name"], row["class"])
        entitlement = _entitlement(row["regime"], today)
        if not _is_whole(identity):
            errors.append(RowError(number, NAME_MISSING))
        elif entitlement is None:
            errors.append(RowError(number, REGIME_UNKNOWN))
        elif (before := seen.get(_name(identity))) is not None:
            same_class = before[0] == _folded(identity.class_name)
            errors.append(RowError(number, before[1] if same_class else NAMESAKE))
        else:
            seen[_name(identity)] = (_folded(identity.class_name), TWICE)
            pupils.append(NewPupil(identity, (entitlement,)))
    if errors:
        raise ImportRefused(errors)
    return pupils


def parse_leavers(
    untrusted_file: bytes, present: Sequence[tuple[PupilId, Identity]], *, whole_list: bool
) -> list[PupilId]:
    """Who leaves, by a CSV file with the columns nom, prénom, classe (an empty class: the name alone decides).

    With `whole_list` the file names everybody who stays, newcomers too; whoever is present and not in it leaves. Else
    it names those who leave, and each row must be exactly one present pupil.

    Raises:
        ImportRefused: with every row that is wrong; row 0 is the file itself.
    """
    by_name: dict[tuple[str, str], list[tuple[PupilId, Identity]]] = {}
    for pupil, identity in present:
        by_name.setdefault(_name(identity), []).append((pupil, identity))
    named: set[PupilId] = set()
    errors = []
    for number, row in enumerate(_rows(untrusted_file, _NAMES, NO_NAMES), start=1):
        wanted = Identity(row["first_name"], row["last_name"], row["class"])
        found = by_name.get(_name(wanted), [])
        of_class = [one for one in found if _folded(one[1].class_name) == _folded(wanted.class_name)]
        if whole_list:
            named.update(pupil for pupil, _ in found)  # whoever has changed class stays too
        elif len(of_class) == 1 or (not wanted.class_name and len(found) == 1):
            named.add((of_class or found)[0][0])
        else:
            errors.append(RowError(number, SEVERAL if found and not wanted.class_name else NOT_HERE))
    if whole_list and present and not named:
        errors.append(RowError(0, NOBODY_STAYS))
    if errors:
        raise ImportRefused(errors)
    return [pupil for pupil, _ in present if (pupil in named) is not whole_list]


def _name(identity: Identity) -> tuple[str, str]:
    """A child's name as a person compares it: another child's account must not come from capitals or accents."""
    return _folded(identity.last_name), _folded(identity.first_name)


def _folded(text: str) -> str:
    """Without case, without the difference of composed and decomposed accents, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def school_year(today: date) -> tuple[date, date]:
    """From 1 September to 31 July, around `today`."""
    first = today.year if today.month >= _SCHOOL_YEAR_STARTS - 1 else today.year - 1
    return date(first, _SCHOOL_YEAR_STARTS, 1), date(first + 1, *_SCHOOL_YEAR_ENDS)


def _rows(
    untrusted_file: bytes, columns: Sequence[str] = tuple(_COLUMNS), missing: str = NO_COLUMN
) -> list[dict[str, str]]:
    content = _decoded(untrusted_file)
    heading, _, _ = content.partition("\n")
    separator = max(",;\t", key=heading.count)
    try:
        table = list(csv.reader(io.StringIO(content), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ImportRefused([RowError(0, NOT_TEXT)]) from error
    if not table:
        raise ImportRefused([RowError(0, missing)])
    places = _places(table[0], columns, missing)
    filled = [row for row in table[1:] if any(cell.strip() for cell in row)]
    if len(filled) > ROWS_MAX:
        raise ImportRefused([RowError(0, TOO_MANY)])
    return [{name: row[place].strip() if place < len(row) else "" for name, place in places.items()} for row in filled]


def _decoded(untrusted_file: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252"):  # the spreadsheet of a French office saves the second
        try:
            content = untrusted_file.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in content:
            return content
    raise ImportRefused([RowError(0, NOT_TEXT)])


def _places(heading: list[str], columns: Sequence[str], missing: str) -> dict[str, int]:
    names = [cell.strip().lower() for cell in heading]
    places = {}
    for column in columns:
        found = [names.index(spelling) for spelling in _COLUMNS[column] if spelling in names]
        if not found:
            raise ImportRefused([RowError(0, missing)])
        places[column] = found[0]
    return places


def _is_whole(identity: Identity) -> bool:
    texts = (identity.first_name, identity.last_name, identity.class_name)
    short = len(identity.class_name) <= _CLASS_LONGEST and all(len(text) <= _NAME_LONGEST for text in texts)
    return short and all(text and text.isprintable() for text in texts)


def _entitlement(regime: str, today: date) -> Entitlement | None:
    if regime in ("4", "5"):
        first, last = school_year(today)
        return forfait_4_days(first, last) if regime == "4" else forfait_5_days(first, last)
    day, separator, rest = regime.partition("/")
    if separator and rest.count("/") == 1:
        month, _, year = rest.partition("/")
        regime = f"{year}-{month.zfill(2)}-{day.zfill(2)}"
    try:
        return external_meal(date.fromisoformat(regime))
    except ValueError:
        return None
