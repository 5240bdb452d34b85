"""What this package says to the person at a device: the French sentence is the message's name, English by gettext."""

from __future__ import annotations

import gettext
from pathlib import Path

from canteen.command_line import session_language


def said(sentence: str) -> str:
    """A French sentence in the language of this session."""
    if session_language() == "fr":
        return sentence
    return gettext.translation("messages", Path(__file__).parent / "locale", languages=["en"], fallback=True).gettext(
        sentence
    )


def _(sentence: str) -> str:
    """Marks a sentence for the catalogue; it is translated where it is said."""
    return sentence
