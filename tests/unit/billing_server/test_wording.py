"""Every value has its sentence, every sentence its English."""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import billing_server
from billing_server import roster_import, wording
from billing_server.alarms import AlarmKind
from billing_server.refusals import WhyRefused
from billing_server.text import Text
from canteen.access_decision import Reason
from canteen.consent import ConsentState, GivenBy
from canteen.entitlements import EntitlementKind
from canteen.hand_policy import HandPolicy
from canteen.meal_pass import PassMethod, PassOutcome
from sync.orders import DeviceRole, PurgeCause, PurgeScope

PACKAGE = Path(billing_server.__file__).parent
CATALOGUE = PACKAGE / "locale/en/LC_MESSAGES/messages.po"

TABLES: list[tuple[type[StrEnum], Mapping[Any, str]]] = [
    (PassMethod, wording.METHODS),
    (PassOutcome, wording.OUTCOMES),
    (Reason, wording.REASONS),
    (ConsentState, wording.CONSENTS),
    (GivenBy, wording.GIVEN_BY),
    (HandPolicy, wording.HAND_POLICIES),
    (EntitlementKind, wording.ENTITLEMENTS),
    (DeviceRole, wording.ROLES),
    (PurgeCause, wording.CAUSES),
    (PurgeScope, wording.SCOPES),
    (AlarmKind, wording.ALARMS),
    (WhyRefused, wording.REFUSALS),
]


@pytest.mark.parametrize(("values", "table"), TABLES, ids=lambda item: getattr(item, "__name__", ""))
def test_every_value_has_its_sentence(values: type[StrEnum], table: Mapping[Any, str]) -> None:
    assert set(values) == set(table)


def english_ids() -> set[str]:
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file)
    ids = set()
    for message in catalogue:
        if message.id:
            assert message.string, message.id
            ids.add(message.id if isinstance(message.id, str) else message.id[0])
    return ids


def test_every_sentence_has_its_english() -> None:
    """Those of the tables, of the templates and of the importer."""
    said = {sentence for _, table in TABLES for sentence in table.values()}
    said |= {value for name, value in vars(roster_import).items() if name.isupper() and isinstance(value, str)}
    for template in (PACKAGE / "pages").glob("*.html"):
        content = template.read_text(encoding="utf-8")
        said |= set(re.findall(r"""\b_\(\s*["'](.+?)["']\s*[,)]""", content))
        said |= set(re.findall(r"""\bn_\(\s*"(.+?)",""", content))
    for source in PACKAGE.rglob("*.py"):
        content = source.read_text(encoding="utf-8")
        said |= set(re.findall(r"""(?<![.\w])(?:N_|text|self)\("([^"]+)"[,)]""", content)) - {
            "SELECT 1",
            "charged_to = 'external-meal'",
        }
    said = {sentence for sentence in said if not sentence.startswith("SELECT")}
    assert set() == said - english_ids()


def test_the_compiled_catalogue_is_the_written_one() -> None:
    with CATALOGUE.open("rb") as file:
        fresh = io.BytesIO()
        write_mo(fresh, read_po(file))
    fresh.seek(0)
    compiled = gettext.GNUTranslations((CATALOGUE.with_suffix(".mo")).open("rb"))
    expected = gettext.GNUTranslations(fresh)
    assert expected._catalog == compiled._catalog  # type: ignore[attr-defined]  # the parsed messages have no public name


def test_french_counts_nothing_in_the_singular() -> None:
    french, english = Text("fr", "Europe/Paris"), Text("en", "Europe/Paris")
    one, many = "{n} alarme ouverte", "{n} alarmes ouvertes"
    assert ["0 alarme ouverte", "1 alarme ouverte", "2 alarmes ouvertes"] == [
        french.several(one, many, n) for n in range(3)
    ]
    assert ["0 open alarms", "1 open alarm", "2 open alarms"] == [english.several(one, many, n) for n in range(3)]
