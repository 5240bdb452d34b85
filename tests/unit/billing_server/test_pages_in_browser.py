"""The pages in Chromium: nothing overflows a telephone, wide tables are reached by keyboard, in both languages."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from billing_server.app import make_app
from billing_server.serving import _listen, _Server
from canteen.access_decision import Reason
from canteen.meal_pass import PassCompleted
from sync.facts import ReferenceEnrolled
from sync.orders import DeviceRole, PurgeCause
from tests.browser.conftest import ARGUMENTS, CHROMIUM, barriers, picture
from tests.conftest import wait_until
from tests.unit.billing_server.ledger_bench import LedgerBench, SqliteFiles, denied, granted

pytestmark = pytest.mark.browser

PAGES = [
    "/",
    "/eleves",
    "/soldes",
    "/cartes/1/bloquer",
    "/rapprochement",
    "/purges",
    "/appareils",
    "/appareils/terminal-1/revoquer",
    "/alarmes",
    "/reglages",
    "donnees",
]
"""`donnees` is the page of the pupil with a hand, whose pseudonym is random."""


def fill(bench: LedgerBench) -> None:
    """Something in every table, names as long as they come."""
    terminal, second = bench.device("terminal-1"), bench.device("terminal-2")
    station = bench.device("station-1", DeviceRole.STATION)
    pupils = [bench.pupil(name, "Delacroix-Montgolfier", "4e Europe") for name in ("Anne-Charlotte", "Léa", "Zoé")]
    bench.card_issued(station, pupils[0])
    bench.send(station)
    bench.answer_all(terminal)
    for pupil in pupils:
        grant = granted(pupil)
        terminal.note(grant, PassCompleted(grant.pass_id))
        bench.clock.advance(20)
        second.note(granted(pupil), denied(pupil, Reason.ALREADY_SERVED))
    bench.send(terminal)
    bench.send(second)
    bench.send(terminal, [terminal.sign(denied(), 3, "ab" * 32)])
    bench.services.ingest.take_journal("canteen/terminal-1/up/journal", b"garbage")
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupils[2], PurgeCause.DEPARTURE, "Mme Roux")
        bench.services.accounts.credit(session, pupils[0], 4200, "Mme Roux")
        bench.services.accounts.correct(session, pupils[1], -420, "Mme Roux")
        bench.services.cards.block(session, 1)
    station.note(ReferenceEnrolled(pupils[1], 1, "2026-1"))
    bench.send(station)
    bench.answer_all(terminal)
    bench.services.housekeeping.round()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A filled server; the address that lets in."""
    folder = tmp_path_factory.mktemp("pages")
    bench = LedgerBench(folder, SqliteFiles(folder).fresh())
    fill(bench)
    listener = _listen("127.0.0.1", 0)
    server = _Server(uvicorn.Config(make_app(bench.services), log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="the web server")
    token = bench.services.operators.add("Mme Roux")
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/entrer?jeton={token}"
    server.should_exit = True
    thread.join(5)
    bench.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None or shutil.which(CHROMIUM) is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A French page, let in; any complaint of the browser fails the test."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    context = browser.new_context(locale="fr-FR")
    page = context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert [] == complaints


@pytest.mark.parametrize(("width", "language"), [(390, "fr"), (390, "en"), (1280, "fr")])
def test_no_page_is_wider_than_its_window(page: Page, address: str, width: int, language: str) -> None:
    """Wide tables scroll inside their own box, which the keyboard reaches and which has a name."""
    page.set_viewport_size({"width": width, "height": 844})
    base = address.partition("/entrer")[0]
    for path in PAGES:
        if path == "donnees":
            page.goto(f"{base}/eleves?lang={language}")
            page.click("tr:has-text('Léa') a[href$='/donnees']")
        else:
            page.goto(f"{base}{path}?lang={language}")
        picture(page, f"billing-{Path(path).name or 'passages'}-{width}-{language}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert language == page.evaluate("document.documentElement.lang")
        unreachable = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1"
            " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
            " && !(e.tabIndex >= 0 && e.getAttribute('aria-label'))).length"
        )
        assert 0 == unreachable, path
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(set(ids)) == len(ids), path
        assert [] == barriers(page)


@pytest.mark.parametrize("language", ["fr", "en"])
def test_departures_by_file_with_the_keyboard_alone(page: Page, address: str, language: str, tmp_path: Path) -> None:
    """A file, a list to look at, and a button that is reached by Tab; nothing is sent on the way back."""
    base = address.partition("/entrer")[0]
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{base}/eleves?lang={language}")
    leavers = tmp_path / "departs.csv"
    leavers.write_text("nom;prénom;classe\nDelacroix-Montgolfier;Léa;4e Europe\n", encoding="utf-8")
    page.set_input_files("#departs", str(leavers))
    page.focus("#departs-liste")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/eleves/departs")
    picture(page, f"billing-departs-390-{language}")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "Delacroix-Montgolfier Léa" in page.inner_text("main")
    page.focus("input[name=cause]")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.className")
    assert "danger" in focused
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/eleves")
    assert "Léa" in page.inner_text("main table")
