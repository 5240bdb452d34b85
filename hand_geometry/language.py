"""The words of this package's reports and commands: the French sentence is the message's name, English by gettext."""

from __future__ import annotations

import errno
import gettext
from collections.abc import Callable
from functools import cache
from pathlib import Path

from canteen.command_line import session_language

LANGUAGES = ("fr", "en")
_LOCALE = Path(__file__).parent / "locale"


@cache
def words_in(language: str) -> Callable[[str], str]:
    """A function from the French sentence to the sentence in this language."""
    return gettext.translation("messages", localedir=_LOCALE, languages=[language], fallback=True).gettext


def _(sentence: str) -> str:
    """The sentence in the session's language."""
    return words_in(session_language())(sentence)


def N_(sentence: str) -> str:  # noqa: N802 - gettext's own name for it
    """Marks a sentence that is translated where it is said."""
    return sentence


def number_in(language: str, text: str) -> str:
    """A number, with its percent sign or without, as the language writes it."""
    return text.replace(".", ",").replace(" %", "\u202f%") if language == "fr" else text.replace(" %", "%")


def number(text: str) -> str:
    """The same in the session's language."""
    return number_in(session_language(), text)


def trouble(error: Exception) -> str:
    """Why a file could not be read or written, in the session's language."""
    if isinstance(error, UnicodeDecodeError):
        return _("ce n’est pas du texte en UTF-8")
    if not isinstance(error, OSError):
        return _("ce n’est pas un fichier CSV")
    known = {
        errno.ENOENT: _("le dossier ou le fichier n’existe pas"),
        errno.EACCES: _("accès refusé"),
        errno.EPERM: _("accès refusé"),
        errno.EISDIR: _("c’est un dossier"),
        errno.ENOTDIR: _("ce n’est pas un dossier"),
        errno.ENOSPC: _("le disque est plein"),
        errno.EROFS: _("on ne peut rien y écrire"),
        errno.ELOOP: _("des liens tournent en rond"),
        errno.ENAMETOOLONG: _("le nom est trop long"),
    }
    return known.get(error.errno or 0) or error.strerror or type(error).__name__
