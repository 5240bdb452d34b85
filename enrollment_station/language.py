"""French and English: every sentence is written in French where it is used, its English stands in `locale/`."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

LANGUAGES = ("fr", "en")
_LOCALE = Path(__file__).parent / "locale"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of `language`; French needs none."""
    return gettext.translation("messages", localedir=_LOCALE, languages=[language], fallback=True)


def say(language: str, sentence: str) -> str:
    """`sentence` in `language`."""
    return translations(language).gettext(sentence)


def marked(sentence: str) -> str:
    """`sentence` as it is: marks it for the catalogue where it is a constant."""
    return sentence


def preferred_language(
    asked: str | None, remembered: str | None, untrusted_accept_language: str, otherwise: str
) -> str:
    """What the page speaks: as asked in the address, as asked before, as the browser prefers, as configured."""
    for choice in (asked, remembered):
        if choice in LANGUAGES:
            return str(choice)
    for preference in untrusted_accept_language[:200].split(","):
        tag = preference.split(";")[0].strip().lower()
        if tag[:2] in LANGUAGES:
            return tag[:2]
    return otherwise
