"""The words of the benchmarks: the French sentence is the message's name, English is in the catalogue."""

from __future__ import annotations

import gettext
import os
from pathlib import Path

_TAG = os.environ.get("LANG", "fr").split("_", maxsplit=1)[0].split(".", maxsplit=1)[0].lower()
_CATALOGUE = gettext.translation("messages", Path(__file__).parent / "locale", languages=[_TAG], fallback=True)


def _(sentence: str) -> str:
    """`sentence` in the language of LANG; French for all but English."""
    return _CATALOGUE.gettext(sentence)
