"""The words of this package's reports: the French sentence is the message's name, English is in the catalogue."""

from __future__ import annotations

import gettext
from collections.abc import Callable
from pathlib import Path

LANGUAGES = ("fr", "en")
_LOCALE = Path(__file__).parent / "locale"


def words_in(language: str) -> Callable[[str], str]:
    """A function from the French sentence to the sentence in this language."""
    return gettext.translation("messages", localedir=_LOCALE, languages=[language], fallback=True).gettext
