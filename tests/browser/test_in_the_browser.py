"""What a visitor does in the browser: pass by hand and by card, be refused, cut the network, enrol, leave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserType, Page, expect

from canteen.personal_code import personal_codes
from demo.canteen import Canteen
from demo.people import Person
from hand_geometry.landmarks import Finger
from hand_geometry.synthetic_hand import encode_jpeg
from hand_geometry.synthetic_people import Look, draw_person, picture_of
from tests.browser.conftest import barriers, careful_page, launched, picture
from tests.conftest import wait_until

pytestmark = pytest.mark.browser


def person(canteen: Canteen, first_name: str) -> Person:
    return next(one for one in canteen.people if one.first_name == first_name)


def open_lane(page: Page, canteen: Canteen) -> None:
    page.goto(f"http://127.0.0.1:{canteen.ports.lane}/")
    wait_until(lambda: canteen.display()["state"] == "idle", what="rest")


def choose(page: Page, one: Person) -> None:
    page.locator(f"summary:has-text('{one.first_name} {one.last_name}')").click()


def test_a_pupil_passes_by_hand_and_is_in_the_ledger_within_a_second(page: Page, canteen: Canteen) -> None:
    """Code, hand, green screen with the first name, turnstile; then the ledger's first row."""
    ines = person(canteen, "Inès")
    open_lane(page, canteen)
    picture(page, "lane-rest")
    choose(page, ines)
    page.get_by_role("button", name="Poser la main de Inès (1)").click()
    page.get_by_role("button", name=re.compile("Taper le code")).locator("visible=true").click()
    screen = page.frame_locator("#screen")
    expect(screen.get_by_text("Inès").first).to_be_visible()
    expect(page.locator("#turnstile-state")).to_have_text("ouvert : passez")
    picture(page, "lane-granted")
    page.get_by_role("button", name="Pousser et passer").click()
    expect(page.locator("#passages")).not_to_have_text("0")
    page.goto(canteen.operator_link(canteen.ports.billing))
    expect(page.get_by_text("Inès").first).to_be_visible(timeout=2000)
    picture(page, "ledger")


def test_another_ones_hand_is_refused_kindly(page: Page, canteen: Canteen) -> None:
    """Malo's code with Yanis's hand: no way through, and a screen that says what to do."""
    malo, yanis = person(canteen, "Malo"), person(canteen, "Yanis")
    open_lane(page, canteen)
    canteen.world.lay(yanis.probes[0], "Yanis")
    choose(page, malo)
    page.get_by_role("button", name=re.compile("Taper le code")).locator("visible=true").click()
    wait_until(lambda: canteen.display()["reason"] == "hand-not-matched", 15, "the denial")
    picture(page, "lane-denied")
    expect(page.locator("#turnstile-state")).to_have_text("verrouillé")
    page.get_by_role("button", name="Pousser et passer").click()
    expect(page.locator("#notice")).to_have_text("Le tourniquet est verrouillé.")
    canteen.world.lift()


def test_typing_on_the_page_by_keyboard(page: Page, canteen: Canteen) -> None:
    """The computer's own keys press the lane's keys: an unknown code is refused."""
    open_lane(page, canteen)
    taken = set(canteen.codes.values())
    page.keyboard.type(next(code for code in personal_codes(4) if code not in taken), delay=80)
    wait_until(lambda: canteen.display()["reason"] == "unknown-code", what="the denial")


def test_a_cut_is_said_on_the_screen_and_meals_go_on(page: Page, canteen: Canteen) -> None:
    """The switch, the screen's foot line, a card, and everything in the ledger afterwards."""
    jade = person(canteen, "Jade")
    open_lane(page, canteen)
    page.get_by_role("switch").click()
    wait_until(lambda: not canteen.display()["network"]["connected"], what="the cut to be seen")
    expect(page.frame_locator("#screen").get_by_text("ors ligne")).to_be_visible()
    choose(page, jade)
    page.get_by_role("button", name="Présenter la carte").locator("visible=true").click()
    expect(page.locator("#turnstile-state")).to_have_text("ouvert : passez")
    picture(page, "lane-cut")
    page.get_by_role("button", name="Pousser et passer").click()
    page.get_by_role("switch").click()
    wait_until(lambda: canteen.display()["backlog"] == 0, 30, "the backlog")


def test_the_station_enrols_a_pupil(page: Page, canteen: Canteen) -> None:
    """The roster, a pupil's page, and no capture before consent."""
    page.goto(canteen.operator_link(canteen.ports.station))
    expect(page.get_by_text("Izard").first).to_be_visible()
    picture(page, "station")
    page.get_by_role("link", name=re.compile("Izard")).first.click()
    picture(page, "station-pupil")
    expect(page.locator("input[type=file]").locator("visible=true")).to_have_count(0)


def give_consent(page: Page) -> None:
    """The form of a family that consents, copied by the operator."""
    page.get_by_text("consent au passage avec la main").click()
    page.get_by_label(re.compile("Version de la notice")).fill("2026-09")
    page.get_by_text("J’ai sous les yeux le formulaire signé").click()
    page.get_by_role("button", name="Enregistrer la réponse").click()
    expect(page.get_by_text("Consentement donné.")).to_be_visible()


def test_enrolment_by_three_files(page: Page, canteen: Canteen) -> None:
    """Consent, three images each judged at once, saved; a picture that is no hand is refused in words."""
    nour = person(canteen, "Nour")
    page.goto(canteen.operator_link(canteen.ports.station))
    page.get_by_role("link", name=re.compile("Izard")).first.click()
    give_consent(page)
    inputs = page.locator(".placement input[type=file]")
    expect(page.locator(".placement").nth(0)).to_have_class(re.compile("next"))  # the script is there, and listens
    inputs.nth(0).set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator(".placement").nth(0)).to_have_class(re.compile("bad"))
    for number, hand in enumerate(nour.enrolment):
        inputs.nth(number).set_input_files(
            {"name": f"{number}.jpg", "mimeType": "image/jpeg", "buffer": hand.encoded()}
        )
        expect(page.locator(".placement").nth(number)).to_have_class(re.compile("good"))
    picture(page, "station-three")
    # The same pictures are judged again when a finger is ticked that is not there, and when it is unticked.
    third = page.locator(".placement").nth(2)
    hurt = picture_of(draw_person(3), 0, Look(missing=(int(Finger.RING),)))
    inputs.nth(2).set_input_files({"name": "h.jpg", "mimeType": "image/jpeg", "buffer": encode_jpeg(hurt)})
    expect(third).to_have_class(re.compile("bad"))
    page.get_by_text("Attelle, doigt pansé ou absent").click()
    page.get_by_label("annulaire").check()
    expect(third).to_have_class(re.compile("good"))
    picture(page, "station-finger")
    page.get_by_label("annulaire").uncheck()
    expect(third).to_have_class(re.compile("bad"))
    inputs.nth(2).set_input_files({"name": "2.jpg", "mimeType": "image/jpeg", "buffer": nour.enrolment[2].encoded()})
    expect(third).to_have_class(re.compile("good"))
    page.get_by_role("button", name="Enregistrer la main").click()
    expect(page.get_by_text(re.compile("Main enregistrée, scellée pour 1 borne"))).to_be_visible()
    canteen.wait_settled()
    canteen.world.lay(nour.probes[0], "Nour")
    canteen.world.type_code(canteen.code_of(nour))
    wait_until(canteen.world.push, 15, "Nour to pass")


def test_enrolment_by_the_browsers_camera(chromium: BrowserType, canteen: Canteen, tmp_path: Path) -> None:
    """Chromium's camera plays a film of several placements; a few clicks later the hand is enrolled."""
    gabin = person(canteen, "Gabin")
    film = tmp_path / "hand.mjpeg"
    film.write_bytes(b"".join(hand.encoded() * 25 for hand in gabin.hands))
    camera = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
    with launched(chromium, *camera) as browser, careful_page(browser) as page:
        page.goto(canteen.operator_link(canteen.ports.station))
        page.get_by_role("link", name=re.compile("Jouve")).first.click()
        give_consent(page)
        page.get_by_role("button", name="Ouvrir la caméra").click()
        for number in range(3):
            take_placement(page, number)
        picture(page, "station-camera")
        done = page.get_by_text(re.compile("Main enregistrée, scellée pour 1 borne"))
        said = page.locator("#dire.bad")
        page.get_by_role("button", name="Enregistrer la main").click()
        for _ in range(6):
            expect(done.or_(said)).to_be_visible()
            if done.is_visible():
                break
            # The film had come round to a frame taken before: the page says which one to take again.
            for number in range(3):
                if "bad" in (page.locator(".placement").nth(number).get_attribute("class") or ""):
                    take_placement(page, number)
            page.get_by_role("button", name="Enregistrer la main").click()
        expect(done).to_be_visible()


def take_placement(page: Page, number: int) -> None:
    """Click; the film goes on meanwhile, so that the next placement is another frame."""
    page.get_by_role("button", name=f"Prendre la pose {number + 1}").click()
    expect(page.locator(".placement").nth(number)).to_have_class(re.compile("good"))
    page.wait_for_timeout(1300)


def test_a_departure_and_its_receipts(page: Page, canteen: Canteen) -> None:
    """Asked for on the server's page; both devices have confirmed soon after."""
    page.goto(canteen.operator_link(canteen.ports.billing))
    page.goto(f"{canteen.billing.base}/eleves")
    expect(page.get_by_text("Fauré").first).to_be_visible()
    picture(page, "roster")
    canteen.billing.post(f"/api/pupils/{canteen.pupils[person(canteen, 'Timéo').key]}/departure")
    wait_until(lambda: canteen.billing.get("/api/purges")[0]["complete"], what="the receipts")
    page.goto(f"{canteen.billing.base}/purges")
    expect(page.get_by_text("terminal-1").first).to_be_visible()
    picture(page, "purges")


@pytest.mark.parametrize("width", [390, 1440])
def test_pages_in_english_and_on_a_phone(page: Page, canteen: Canteen, width: int) -> None:
    """Nothing overflows sideways; the English pages are English."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(canteen.operator_link(canteen.ports.billing))
    page.goto(canteen.operator_link(canteen.ports.station))
    for base, path in (
        (f"http://127.0.0.1:{canteen.ports.lane}", "/?lang=en"),
        (canteen.billing.base, "/?lang=en"),
        (canteen.billing.base, "/eleves?lang=en"),
        (canteen.billing.base, "/purges?lang=en"),
        (canteen.billing.base, "/appareils?lang=en"),
        (canteen.billing.base, "/alarmes?lang=en"),
        (canteen.station.base, "/?lang=en"),
        (canteen.station.base, f"/eleves/{canteen.station.pupils()[0]['pupil']}?lang=en"),
        (canteen.station.base, "/lecteur?lang=en"),
        (canteen.station.base, "/cle?lang=en"),
    ):
        page.goto(base + path)
        assert page.evaluate("document.documentElement.lang") == "en", path
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert [] == barriers(page)
