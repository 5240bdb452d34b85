"""The words of the benchmarks: the French sentence is the message's name, English is in the catalogue."""

from __future__ import annotations

import gettext
from pathlib import Path

from canteen.command_line import session_language

_CATALOGUE = gettext.translation(
    "messages", Path(__file__).parent / "locale", languages=[session_language()], fallback=True
)


def _(sentence: str) -> str:
    """`sentence` in the session's language."""
    return _CATALOGUE.gettext(sentence)
