"""The pages: what they show, in both languages, and what they hide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from billing_server.app import make_app
from canteen.access_decision import Reason
from canteen.meal_pass import PassCompleted
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import LedgerBench, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


@pytest.fixture
def page(small_bench: LedgerBench) -> Iterator[TestClient]:
    token = small_bench.services.operators.add("Mme Roux")
    headers = {"Accept-Language": "fr-FR,fr;q=0.9,en;q=0.5", "Origin": "http://testserver"}
    with TestClient(make_app(small_bench.services), headers=headers) as client:
        client.get(f"/entrer?jeton={token}")
        yield client


def test_the_ledger_shows_who_when_where_how(small_bench: LedgerBench, page: TestClient) -> None:
    """Newest first, denials with their reason."""
    terminal = small_bench.device("terminal-1")
    pupil = small_bench.pupil("Zoé", "Garcia", "4eC")
    grant = granted(pupil)
    terminal.note(grant, PassCompleted(grant.pass_id))
    small_bench.clock.advance(5)
    terminal.note(denied(pupil, Reason.ALREADY_SERVED), denied(None, Reason.UNKNOWN_CODE))
    small_bench.send(terminal)
    shown = page.get("/").text
    for text in ("Zoé Garcia", "4eC", "12:00:00", "terminal-1", "Main", "Passé", "Déjà servi à ce service", "Inconnu"):
        assert text in shown
    assert shown.index("Code inconnu") < shown.index("12:00:00")
    assert "lundi 23 novembre 2026" in shown


def test_the_live_part_is_empty_until_something_happens(small_bench: LedgerBench, page: TestClient) -> None:
    """A fetch three times a second must cost nothing while nothing happens."""
    import re

    terminal = small_bench.device("terminal-1")
    found = re.search(r'data-mark="([^"]+)"', page.get("/").text)
    assert found is not None
    assert 204 == page.get("/direct", params={"vu": found[1]}).status_code
    terminal.note(granted(small_bench.pupil()))
    small_bench.send(terminal)
    answer = page.get("/direct", params={"vu": found[1]})
    assert 200 == answer.status_code
    assert "Léa Martin" in answer.text


def test_english_for_who_asks(page: TestClient) -> None:
    """By the browser's language, by the address, and remembered after."""
    assert "Today’s passes" in page.get("/", headers={"Accept-Language": "en-GB"}).text
    assert "Passages du jour" in page.get("/", headers={"Accept-Language": "de"}).text
    assert "Today’s passes" in page.get("/?lang=en").text
    assert "Pupils" in page.get("/eleves").text


def test_the_roster_hides_the_codes(small_bench: LedgerBench, page: TestClient) -> None:
    from billing_server.models import PupilRow

    pupil = small_bench.pupil()
    with small_bench.services.database.reading() as session:
        code = small_bench.services.pupils.code(session.get_one(PupilRow, pupil))
    shown = page.get("/eleves").text
    assert "Martin Léa" in shown
    assert "Sans réponse" in shown
    assert code is not None
    assert code.digits not in shown


def test_a_departure_is_asked_for_then_seen_to_its_end(small_bench: LedgerBench, page: TestClient) -> None:
    """The confirmation says what it does; the purges page who has confirmed and what the receipt says."""
    terminal, station = small_bench.device("terminal-1"), small_bench.device("station-1", DeviceRole.STATION)
    pupil = small_bench.pupil()
    assert "Cela ne s’annule pas." in page.get(f"/eleves/{pupil}/depart").text
    shown = page.post(f"/eleves/{pupil}/depart", data={"cause": "deregistration"}).text
    assert "Désinscription de la demi-pension" in shown
    assert "0 sur 2 ont confirmé" in shown
    assert "7 jours restants" in shown
    small_bench.answer_all(terminal)
    assert "1 sur 2 ont confirmé" in page.get("/purges").text
    small_bench.answer_all(station)
    shown = page.get("/purges").text
    assert "Terminé" in shown
    assert "vérifiée à l’instant avec la clé de l’appareil" in shown
    assert "ab" * 32 in shown
    assert "déjà parti" in page.get(f"/eleves/{pupil}/depart").text


def test_a_purge_past_its_deadline_says_so(small_bench: LedgerBench, page: TestClient) -> None:
    small_bench.device("terminal-1")
    page.post(f"/eleves/{small_bench.pupil()}/depart")
    small_bench.clock.advance(7 * 86400 + 1)
    assert "En retard" in page.get("/purges").text


def test_devices_with_their_fingerprints(small_bench: LedgerBench, page: TestClient) -> None:
    from billing_server.routes.pages import fingerprint

    terminal = small_bench.device("terminal-1")
    shown = page.get("/appareils").text
    assert fingerprint(terminal.signing.verifying_key.octets) in shown
    assert "jamais" in shown


def test_alarms_and_refusals_are_shown_and_closed(small_bench: LedgerBench, page: TestClient) -> None:
    terminal = small_bench.device("terminal-1")
    terminal.note(denied(), denied())
    small_bench.send(terminal, terminal.journal[1:])
    small_bench.services.ingest.take_journal("canteen/terminal-1/up/journal", b"garbage")
    small_bench.services.housekeeping.round()
    shown = page.get("/alarmes").text
    assert "Des entrées manquent dans le journal" in shown
    assert "Illisible" in shown
    assert "Aucune alarme" in page.post("/alarmes/1/classer").text


def test_a_lost_card_is_blocked_from_the_roster(small_bench: LedgerBench, page: TestClient) -> None:
    from sync.orders import CardBlocked

    terminal, station = small_bench.device("terminal-1"), small_bench.device("station-1", DeviceRole.STATION)
    card = small_bench.card_issued(station, small_bench.pupil())
    small_bench.send(station)
    assert "/cartes/1/bloquer" in page.get("/eleves").text
    assert "Léa Martin" in page.get("/cartes/1/bloquer").text
    assert "Bloquée" in page.post("/cartes/1/bloquer").text
    assert CardBlocked(card) == small_bench.orders(terminal)[-1][1]


def test_a_roster_file_is_taken_whole_or_not_at_all(page: TestClient) -> None:
    """The page says which row is wrong; the file's content is not repeated."""
    good = "nom;prénom;classe;régime\nMartin;Léa;5eB;4\nNguyen;Adam;6eA;5\n"
    bad = good + "Petit;Sacha;6eB;3\n"
    answer = page.post("/eleves/import", files={"fichier": ("liste.csv", bad.encode())})
    assert 422 == answer.status_code
    assert "régime inconnu" in answer.text
    assert "Petit" not in answer.text
    assert "Aucun élève" in page.get("/eleves").text
    shown = page.post("/eleves/import", files={"fichier": ("liste.csv", good.encode("cp1252"))}).text
    assert "2 élèves inscrits" in shown
    again = page.post("/eleves/import", files={"fichier": ("liste.csv", good.encode())})
    assert "déjà inscrit" in again.text


@pytest.mark.parametrize("path", ["/nothing", "/eleves/x/depart", "/cartes/99/bloquer", "/cartes/x/bloquer"])
def test_a_wrong_address_is_a_page_that_says_so(page: TestClient, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code in (404, 422)
    assert "Rien n’a été changé." in answer.text


def test_a_name_is_shown_as_text_whatever_is_in_it(small_bench: LedgerBench, page: TestClient) -> None:
    """A roster is outside data: markup in it stays text."""
    small_bench.pupil("<script>alert(1)</script>", "O'Neil & fils")
    shown = page.get("/eleves").text
    assert "<script>alert" not in shown
    assert "&lt;script&gt;" in shown


def test_the_live_page_is_one_look_in_the_audit(small_bench: LedgerBench, page: TestClient) -> None:
    """Not three a second."""
    from sqlalchemy import func, select

    from billing_server.models import Audit

    page.get("/")
    for _ in range(5):
        page.get("/direct")
    with small_bench.services.database.reading() as session:
        looks = session.scalar(select(func.count()).select_from(Audit).where(Audit.action == "saw-ledger"))
    assert 2 == looks  # one when the link opened the page, one when the page was opened again
