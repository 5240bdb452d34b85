"""The page in Chromium at the kiosk's size: every face fits, nothing is loaded from elsewhere, nothing errs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from canteen.access_decision import Reason
from canteen.meal_pass import PassMethod
from firmware_bridge.devices import CardRefusal
from hand_geometry.quality import QualityReason
from terminal.display.faces import DENIALS
from terminal.display.server import ScreenServer
from terminal.pass_machine import PassAttempt, State
from tests.browser.conftest import barriers
from tests.unit.terminal.lane import School, card

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SHOTS = os.environ.get("CANTEEN_SCREENSHOTS")
"""A folder in which a person may look at every face."""

CASES: dict[str, tuple[State, PassAttempt]] = {
    "idle": (State.IDLE, PassAttempt(took_ms=184)),
    "typing": (State.TYPING_CODE, PassAttempt(typed="12")),
    "retype": (State.TYPING_CODE, PassAttempt(retype=True)),
    "hand": (State.AWAITING_HAND, PassAttempt()),
    "granted": (State.PASSAGE_OPEN, PassAttempt(first_name="Marie-Alexandrine", took_ms=97)),
    "abandoned": (State.SHOWING_DENIAL, PassAttempt(reason=Reason.GRANTED, abandoned=True)),
    "fault": (State.OUT_OF_SERVICE, PassAttempt()),
    **{
        f"guiding-{quality}": (State.GUIDING, PassAttempt(tries=1, guidance=quality.value, method=PassMethod.HAND))
        for quality in QualityReason
    },
    "guiding-again": (State.GUIDING, PassAttempt(tries=2)),
    **{f"card-{refusal.value}": (State.SHOWING_DENIAL, PassAttempt(card_refusal=refusal)) for refusal in CardRefusal},
    **{f"denied-{reason.value}": (State.SHOWING_DENIAL, PassAttempt(reason=reason)) for reason in DENIALS},
}

ONE_OF_EACH_TONE = {"idle", "typing", "hand", "granted", "fault", "guiding-again", "denied-already-served"}
assert ONE_OF_EACH_TONE <= CASES.keys()

FITS = """() => {
  const main = document.querySelector("main").getBoundingClientRect();
  const side = document.querySelector(".side").getBoundingClientRect();
  const wide = [...document.querySelectorAll("h1, .prompt, .other")].filter((e) => e.scrollWidth > e.clientWidth + 1);
  const foot = document.querySelector("footer");
  return side.top >= main.top && side.bottom <= main.bottom && wide.length === 0
    && foot.scrollWidth <= foot.clientWidth + 1;
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 800, "height": 480}, reduced_motion="reduce")
        browser.close()


@pytest.fixture
def kiosk(school: School) -> Iterator[School]:
    """The lane with its true screen."""
    server = ScreenServer("127.0.0.1", 0, production=False)
    school.close()
    school.screen = server  # type: ignore[assignment]  # the true one in place of the one in memory
    school.open()
    yield school.begin()
    server.close()


def test_every_face_fits(kiosk: School, page: Page) -> None:
    """At 800 by 480 in both languages, offline and with a backlog: no word is cut or covered."""
    screen = kiosk.screen
    assert isinstance(screen, ScreenServer)
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    kiosk.box.note_link(connected=False, now=kiosk.clock.utc_now())
    kiosk.present(card(2))
    kiosk.push()
    kiosk.lane.presenter.refresh()
    base = f"http://127.0.0.1:{screen.port}/"
    for language in ("fr", "en"):
        page.goto(f"{base}?lang={language}")
        for name, (state, attempt) in CASES.items():
            kiosk.lane.presenter.show(state, attempt)
            shown = json_of(kiosk, language)
            page.wait_for_function("text => document.getElementById('message').textContent === text", arg=shown)
            assert page.evaluate(FITS), (language, name)
            if language == "fr" and name in ONE_OF_EACH_TONE:
                assert [] == barriers(page), name
            if SHOTS:
                page.screenshot(path=str(Path(SHOTS) / f"{language}-{name}.png"))
    assert [] == errors
    assert all(url.startswith(base) for url in asked), asked


def test_cut_off_from_the_terminal(kiosk: School, page: Page) -> None:
    """A screen that hears nothing does not go on inviting pupils: it sends them to an adult."""
    screen = kiosk.screen
    assert isinstance(screen, ScreenServer)
    page.goto(f"http://127.0.0.1:{screen.port}/")
    page.wait_for_function("() => document.body.dataset.state === 'idle'")
    screen.close()
    page.wait_for_function("() => document.body.dataset.tone === 'fault'", timeout=5000)


def json_of(kiosk: School, language: str) -> str:
    """The message that the page should now show."""
    screen = kiosk.screen
    assert isinstance(screen, ScreenServer)
    return str(json.loads(screen._latest)["message"][language])
