"""The roster file: every shape a school's spreadsheet saves, and an error for each row that is wrong."""

from __future__ import annotations

from datetime import date

import pytest

from billing_server import roster_import
from billing_server.errors import ImportRefused
from billing_server.roster import Identity
from billing_server.roster_import import parse_roster, school_year
from canteen.entitlements import EntitlementKind, external_meal

TODAY = date(2026, 11, 23)
HEADING = "nom;prénom;classe;régime\n"


def refusals(content: str | bytes, known: list[Identity] | None = None) -> list[tuple[int, str]]:
    untrusted = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ImportRefused) as refused:
        parse_roster(untrusted, TODAY, known or [])
    return [(row.row, row.what) for row in refused.value.rows]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_separators_and_encodings(separator: str, encoding: str) -> None:
    """What French office suites save."""
    lines = [
        ("Prénom", "NOM", "Régime", "Classe"),
        ("Inès", "Lefèvre", "5", "6eA"),
        ("Léo", "Noël", "2026-11-24", "4e"),
    ]
    content = "\r\n".join(separator.join(line) for line in lines).encode(encoding)
    first, second = parse_roster(content, TODAY, [])
    assert Identity("Inès", "Lefèvre", "6eA") == first.identity
    assert [EntitlementKind.FORFAIT_5_DAYS] == [e.kind for e in first.entitlements]
    assert (external_meal(date(2026, 11, 24)),) == second.entitlements


def test_an_external_date_as_the_french_write_it() -> None:
    (pupil,) = parse_roster((HEADING + "Noël;Léo;4e;1/12/2026\n").encode(), TODAY, [])
    assert (external_meal(date(2026, 12, 1)),) == pupil.entitlements


def test_each_wrong_row_is_named() -> None:
    content = HEADING + "A;B;5e;4\n;B;5e;4\n\nC;D;5e;six\nA;B;5e;5\nE;F;5e;31/02/2026\nG;H;5e;4\n"
    assert [
        (2, roster_import.NAME_MISSING),
        (3, roster_import.REGIME_UNKNOWN),
        (4, roster_import.TWICE),
        (5, roster_import.REGIME_UNKNOWN),
        (6, roster_import.HERE_ALREADY),
    ] == refusals(content, [Identity("H", "G", "5e")])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", roster_import.NO_COLUMN),
        (b"name;surname\nA;B\n", roster_import.NO_COLUMN),
        (b"\x00\x01\x02", roster_import.NOT_TEXT),
        (b"\x81\x8d\x8f", roster_import.NOT_TEXT),
        (HEADING.encode() + b"A;B;5e;4\n" * 5001, roster_import.TOO_MANY),
    ],
)
def test_what_is_no_roster(content: bytes, what: str) -> None:
    assert [(0, what)] == refusals(content)


def test_the_school_year() -> None:
    """From September; in August the one to come."""
    assert (date(2026, 9, 1), date(2027, 7, 31)) == school_year(TODAY) == school_year(date(2027, 6, 1))
    assert (date(2027, 9, 1), date(2028, 7, 31)) == school_year(date(2027, 8, 20))
