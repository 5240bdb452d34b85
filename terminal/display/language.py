"""French and English: the French sentence is the message's name, English is in the catalogue."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

from terminal.display.view import Words

LOCALE = Path(__file__).parent.parent / "locale"


@cache
def _english() -> gettext.NullTranslations:
    return gettext.translation("messages", localedir=LOCALE, languages=["en"], fallback=True)


def both(sentence: str) -> Words:
    """A French sentence with its English one."""
    return Words(typeset(sentence), _english().gettext(sentence))


def typeset(french: str) -> str:
    """Keeps a French double sign on the line of its word."""
    return (
        french.replace(" :", "\N{NO-BREAK SPACE}:")
        .replace(" !", "\N{NO-BREAK SPACE}!")
        .replace(" ?", "\N{NO-BREAK SPACE}?")
    )


def said_in(language: str, sentence: str) -> str:
    """A French sentence in `language`."""
    return _english().gettext(sentence) if language == "en" else sentence


def _(sentence: str) -> str:
    """Marks a sentence for the catalogue; it is translated where it is said."""
    return sentence
