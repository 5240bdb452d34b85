"""Debian's Chromium, driven by Playwright, before a running canteen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # no stubs
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, sync_playwright

from demo.canteen import Canteen
from demo.lane import LaneServer
from tests.conftest import listening, wait_until
from tests.running_canteen import running_canteen

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = os.environ.get("CANTEEN_PICTURES")
"""A folder to leave screenshots in, for a person to look at."""


@pytest.fixture(scope="module")
def canteen() -> Iterator[Canteen]:
    """A filled canteen with its lane page."""
    with running_canteen() as canteen:
        lane = LaneServer(canteen)
        lane.start()
        wait_until(lambda: listening(canteen.ports.lane), what="the lane's page")
        yield canteen
        lane.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserType]:
    """Debian's Chromium, to be launched. For one module: there is one synchronous Playwright in a process at a time."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium


@contextmanager
def launched(chromium: BrowserType, *arguments: str) -> Iterator[Browser]:
    """A browser of a test's own."""
    browser = chromium.launch(executable_path=CHROMIUM, headless=True, args=[*ARGUMENTS, *arguments])
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def browser(chromium: BrowserType) -> Iterator[Browser]:
    """The browser of most tests."""
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A French page on which any complaint of the browser fails the test."""
    with careful_page(browser) as page:
        yield page


@contextmanager
def careful_page(browser: Browser) -> Iterator[Page]:
    """A page whose console is listened to."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "favicon" not in message.text:
            complaints.append(message.text)

    context = browser.new_context(locale="fr-FR", viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [] == complaints


def picture(page: Page, name: str) -> None:
    """Leave a screenshot where a person asked for them."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def barriers(page: Page) -> list[str]:
    """What axe-core finds wrong for whoever cannot see, point or tell colours apart: WCAG 2.1, levels A and AA."""
    levels = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    options = {"runOnly": levels, "resultTypes": ["violations"], "iframes": False}  # a page in a page has its own test
    found = Axe().run(page, options=options).response["violations"]
    return [f"{page.url} {one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]
