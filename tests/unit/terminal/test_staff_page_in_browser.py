"""The staff page in Chromium: from the link to the open gate in a few touches, within ten seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from canteen.meal_pass import PassGranted, PassMethod
from canteen.operator_access import Operator, token_digest
from sync.order_box import StickVisit
from terminal.display.server import ScreenServer
from terminal.display.staff import StaffDoor, StaffPages, StaffSettings
from tests.browser.conftest import barriers
from tests.unit.terminal.lane import School
from tests.unit.terminal.test_screen_in_browser import ARGUMENTS, CHROMIUM

pytestmark = pytest.mark.browser

TOKEN = "t" * 32


@pytest.fixture
def base(school: School) -> Iterator[str]:
    staff = StaffPages(StaffSettings((Operator("Mme Martin", token_digest(TOKEN)),), 1))
    server = ScreenServer("127.0.0.1", 0, production=True, more=staff.routes)
    desk, checkup = school.lane.vouch_desk, school.lane.checkup
    staff.open(StaffDoor(desk, school.store, lambda: "Europe/Paris", checkup, school.box, list))
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.fixture
def page() -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 800, "height": 480})
        browser.close()


def serve(school: School, stop: threading.Event) -> None:
    """The lane goes on beside the page."""
    while not stop.wait(0.05):
        school.settle()


def test_a_pupil_is_let_through(base: str, page: Page, school: School) -> None:
    """Class, pupil, reason: open; a second time it says why not; the count is beyond the plan; closed again by hand."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{base}/personnel/entrer?jeton={TOKEN}")
    assert page.url == f"{base}/personnel"
    began_s = time.monotonic()
    page.get_by_role("button", name="6A", exact=True).click()
    page.get_by_role("button", name="Prénom2").click()
    stop = threading.Event()
    lane = threading.Thread(target=serve, args=(school, stop))
    page.get_by_role("button", name="Carte oubliée").click()
    lane.start()
    try:
        expect(page.locator("#outcome")).to_have_attribute("data-outcome", "opened")
        assert time.monotonic() - began_s < 10
        page.goto(f"{base}/personnel?lang=en")
        expect(page.locator("#today")).to_contain_text("1 of 1")
        page.get_by_role("button", name="6A", exact=True).click()
        page.get_by_role("button", name="Prénom3").click()
        page.click("#back")
        page.fill("#search", "prenom2")
        page.get_by_role("button", name="Prénom2").click()
        assert school.board.push()
        page.get_by_role("button", name="Card forgotten").click()
        expect(page.locator("#outcome")).to_contain_text("Passed already")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.click("#back")
        page.wait_for_url(f"{base}/")
        page.goto(f"{base}/personnel")
        expect(page.locator("#token")).to_be_visible()
        page.fill("#token", TOKEN)
        page.click("#enter")
        expect(page.locator("#who")).to_have_text("Mme Martin")
    finally:
        stop.set()
        lane.join()
    assert [] == errors
    assert [PassMethod.VOUCHED] == [fact.method for fact in school.facts if isinstance(fact, PassGranted)]


def test_a_stick_is_exchanged(base: str, page: Page, school: School) -> None:
    """Asked for on the page, done by the program with the network, told on the page; a stick without our folder too."""
    page.goto(f"{base}/personnel/entrer?jeton={TOKEN}&lang=en")
    page.goto(f"{base}/personnel?lang=en")
    expect(page.locator("#visit")).to_be_hidden()
    assert [] == barriers(page)
    for visit, sentence in (
        (StickVisit(school.clock.utc_now(), 3, 1, 412), "412 lines of the journal to carry"),
        (StickVisit(school.clock.utc_now(), 0, 0, 0, "no-stick"), "No USB stick with a folder"),
        (StickVisit(school.clock.utc_now(), 0, 0, 0, "No space left on device"), "(No space left on device)"),
    ):
        page.get_by_role("button", name="Exchange with the USB stick").click()
        expect(page.locator("#visit")).to_have_text("USB stick: one moment…")
        assert school.box.stick_asked
        school.box.note_stick(visit)
        expect(page.locator("#visit")).to_contain_text(sentence)
    page.reload()
    expect(page.locator("#visit")).to_contain_text("(No space left on device)")
