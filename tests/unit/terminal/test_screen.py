"""What the screen says: every case has a face, both languages, no money and no blame, and enough contrast."""

from __future__ import annotations

import gettext
import re
from dataclasses import fields
from pathlib import Path

import pytest

import terminal.display
from canteen.access_decision import Reason
from hand_geometry.quality import Finding, QualityReason
from terminal.display import faces
from terminal.display.faces import DENIALS, GUIDANCE, Face, face_for, guidance_face
from terminal.display.language import LOCALE, both, typeset
from terminal.display.server import ScreenServer
from terminal.display.view import PAGE, LineStatus, ScreenView, Tone, Words
from terminal.errors import DisplayUnavailable
from terminal.pass_machine import PassAttempt, State
from tests.unit.terminal.lane import School, hand_of

ALL_FACES = [*DENIALS.values(), *GUIDANCE.values(), *(f for f in vars(faces).values() if isinstance(f, Face))]


def test_every_reason_that_can_deny_has_its_face() -> None:
    """Two reasons are no denial: granted, and the question for the hand. FORCED is a grant."""
    assert set(Reason) - {Reason.GRANTED, Reason.FORCED, Reason.HAND_NEEDED} == set(DENIALS)


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_face(state: State) -> None:
    """Whatever the attempt holds."""
    for reason in (None, *DENIALS):
        for guidance in (None, *(quality.value for quality in QualityReason)):
            attempt = PassAttempt(reason=reason, guidance=guidance, tries=1)
            face = face_for(state, attempt, status=LineStatus(), fault=None)
            assert face.message


def test_every_quality_reason_is_guided() -> None:
    """Those without words of their own get the general ones; a value of the quality module finds its words."""
    for quality in QualityReason:
        assert Tone.ASK is guidance_face(quality.value).tone
    assert "Écarte les doigts" == guidance_face(QualityReason.FINGERS_CLOSED.value).message


def test_every_sentence_has_its_english_one() -> None:
    """The compiled catalogue beside the source holds each of them."""
    english = gettext.translation("messages", localedir=LOCALE, languages=["en"])
    for face in ALL_FACES:
        for sentence in (face.message, face.prompt, face.board_text):
            assert english.gettext(sentence) != sentence, sentence


def test_short_and_kind() -> None:
    """Few words; never money, never fault, never a raised voice."""
    for face in ALL_FACES:
        sentence = f"{face.message} {face.prompt}".lower()
        assert len(face.message) <= 34
        assert len(face.prompt) <= 44
        assert len(face.board_text) <= 32
        for word in ("pay", "dette", "solde", "argent", "refus", "interdit", "faute", "fraude", "impay"):
            assert word not in sentence


def test_every_denial_says_what_to_do() -> None:
    """A card, an adult, another try or another time: never a dead end."""
    ways = re.compile(r"carte|adulte|recommence|retape|reviens|présente", re.IGNORECASE)
    for reason, face in DENIALS.items():
        assert ways.search(face.prompt + face.message), reason


def test_double_signs_stay_with_their_word() -> None:
    """French sets a space before them; the line must not break there."""
    assert "Erreur\N{NO-BREAK SPACE}? Oui\N{NO-BREAK SPACE}: bien\N{NO-BREAK SPACE}!" == typeset(
        "Erreur ? Oui : bien !"
    )
    assert "Enjoy your meal!" == both("Bon appétit !").en


def test_a_name_is_only_a_name() -> None:
    """Braces and markup in a first name are shown as they are; the page writes text, never markup."""
    assert "Bon {x} <b>" == Words("Bon {name}", "").filled(name="{x} <b>").fr
    script = (PAGE / "screen.js").read_text(encoding="utf-8")
    assert "innerHTML" not in script
    assert "insertAdjacentHTML" not in script


def test_the_page_has_every_pictogram() -> None:
    """Each name that a face uses is a symbol of the page."""
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    for face in ALL_FACES:
        assert f'id="p-{face.pictogram}"' in page, face.pictogram


def test_contrast() -> None:
    """At least 7:1 for every text on its ground (WCAG 2.2, 1.4.6), from the colours in the style sheet itself."""
    style = (PAGE / "screen.css").read_text(encoding="utf-8")
    for tone in Tone:
        rule = re.search(rf'body\[data-tone="{tone.value}"\]\s*\{{([^}}]*)\}}', style)
        assert rule is not None, tone
        colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6})", rule.group(1)))
        for ink, ground in (("text", "back"), ("soft", "back"), ("text", "bar"), ("ink", "plate")):
            assert contrast(colours[ink], colours[ground]) >= 7.0, (tone, ink, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 between two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_reduced_motion_and_live_region() -> None:
    """Who asks for stillness gets it; who listens hears each new message."""
    assert "prefers-reduced-motion: reduce" in (PAGE / "screen.css").read_text(encoding="utf-8")
    assert 'aria-live="assertive"' in (PAGE / "index.html").read_text(encoding="utf-8")


def test_the_snapshot_never_holds_a_digit_of_the_code() -> None:
    """The view has no place for one."""
    assert not any("code" in field.name and field.name != "code_length" for field in fields(ScreenView))


def test_a_taken_port_has_a_name() -> None:
    """And a second server on it is refused with it."""
    server = ScreenServer("127.0.0.1", 0, production=True)
    try:
        with pytest.raises(DisplayUnavailable, match=str(server.port)):
            ScreenServer("127.0.0.1", server.port, production=True)
    finally:
        server.close()


def test_package_data_is_beside_the_code() -> None:
    """Page, style, script and catalogue are in the package that serves them."""
    assert Path(terminal.display.__file__).parent == PAGE.parent
    for name in ("index.html", "screen.css", "screen.js", "icon.svg"):
        assert (PAGE / name).is_file()


@pytest.mark.parametrize(
    ("reason", "finding", "said"),
    [
        (QualityReason.FINGERS_CLOSED, Finding.FINGERS_TOUCHING, "Écarte ces doigts"),
        (QualityReason.WEB_HIDDEN, Finding.WEB_HIDDEN, "Écarte encore les doigts"),
    ],
)
def test_the_screen_points_at_the_place(school: School, reason: QualityReason, finding: Finding, said: str) -> None:
    """On the drawn hand, while the next placement is asked for; not any more once the hand was read."""
    school.hands.finding, school.hands.place = finding, (0.4, 0.2)
    school.type_code(1)
    school.lay(reason)
    view = school.screen.view
    assert ("hand", said, (0.4, 0.2)) == (view.pictogram, view.message.fr, view.place)
    assert [0.4, 0.2] == view.as_json()["place"]
    school.hands.lift()
    school.settle(2.0)
    assert (0.4, 0.2) == school.screen.view.place
    school.lay(hand_of(2))
    assert school.screen.view.place is None
