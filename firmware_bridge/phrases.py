"""The words this package's programs say: the French sentence is the message's name, English is in the catalogue."""

from __future__ import annotations

import gettext
from collections.abc import Callable
from pathlib import Path


def translator(language: str) -> Callable[[str], str]:
    """The translation function for a language tag or a LANG value; French for all but English."""
    tag = language.split("_", maxsplit=1)[0].split("-", maxsplit=1)[0].lower()
    return gettext.translation("messages", Path(__file__).parent / "locale", languages=[tag], fallback=True).gettext
