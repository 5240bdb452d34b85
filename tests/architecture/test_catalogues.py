"""Languages: every French sentence has its English, and the compiled catalogues are those of their sources."""

from __future__ import annotations

from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted(PROJECT.glob("*/locale/en/LC_MESSAGES/messages.po"))
METHODS = [("**.py", "python"), ("**.html", "jinja2")]
KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "gettext": None, "ngettext": (1, 2), "tr": None, "N_": None}


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def test_every_package_that_speaks_has_a_catalogue() -> None:
    """The programs with screens, and the board's text display."""
    assert {"billing_server", "demo", "enrollment_station", "terminal"} <= {path.parts[-5] for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.parts[-5])
def test_the_compiled_catalogue_is_that_of_its_source(path: Path) -> None:
    """`make messages` was run after the last change."""
    with path.with_suffix(".mo").open("rb") as file:
        compiled = GNUTranslations(file)
    source = {entry.id: entry.string for entry in catalogue(path) if isinstance(entry.id, str) and entry.id}
    assert source == {message: compiled.gettext(message) for message in source}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.parts[-5])
def test_every_sentence_in_the_code_has_its_english(path: Path) -> None:
    """Nothing a user reads is left in French only."""
    package = path.parents[3]
    english = catalogue(path)
    missing = {
        message if isinstance(message, str) else message[0]
        for _, _, message, _, _ in extract_from_dir(str(package), METHODS, keywords=KEYWORDS)
        if not (entry := english.get(message if isinstance(message, str) else message[0])) or not entry.string
    }
    assert set() == missing
