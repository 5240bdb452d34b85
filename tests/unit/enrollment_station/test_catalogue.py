"""English for every French sentence, and the compiled catalogue is that of the source."""

from __future__ import annotations

import gettext
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import enrollment_station

_PACKAGE = Path(enrollment_station.__file__).parent
_CATALOGUE = _PACKAGE / "locale" / "en" / "LC_MESSAGES"


def _sentences() -> set[str]:
    found = extract_from_dir(
        _PACKAGE,
        method_map=[("**.py", "python"), ("pages/templates/**.html", "jinja2")],
        options_map={"pages/templates/**.html": {"newstyle_gettext": "true"}},
        keywords={"marked": None, "_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}


def test_every_sentence_has_its_english() -> None:
    """Nothing of ours is shown in French to who reads English, and nothing stale is kept."""
    with (_CATALOGUE / "messages.po").open("rb") as file:
        catalogue = {
            message.id if isinstance(message.id, str) else message.id[0]: (
                [message.string] if isinstance(message.string, str) else list(message.string or [""])
            )
            for message in read_po(file)
            if message.id
        }
    assert _sentences() == set(catalogue)
    assert [] == [sentence for sentence, english in catalogue.items() if not all(english)]


def test_the_compiled_catalogue_is_up_to_date() -> None:
    """The .mo is committed: programs read it, people the .po."""
    with (_CATALOGUE / "messages.po").open("rb") as file, (_CATALOGUE / "messages.mo").open("rb") as compiled:
        source, translations = read_po(file), gettext.GNUTranslations(compiled)
        for message in source:
            if isinstance(message.id, str) and message.id:
                assert message.string == translations.gettext(message.id)
