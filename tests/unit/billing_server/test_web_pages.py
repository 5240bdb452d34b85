"""The pages: what they show, in both languages, and what they hide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.models import AccountEntry, Audit
from billing_server.roster import Identity, NewPupil
from canteen.access_decision import Reason
from canteen.consent import ConsentState
from canteen.entitlements import external_meal
from canteen.hand_policy import HandPolicy
from canteen.meal_pass import PassAbandoned, PassCompleted
from sync.facts import EnrollmentAdvised, ReferenceEnrolled
from sync.orders import CalendarOrder, DeviceRole
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, consent, denied, granted

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
    assert "La carte de Léa Martin est bloquée" in page.post("/cartes/1/bloquer").text
    assert "Bloquée" in page.get("/eleves").text
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


def test_departures_by_file_are_shown_before_anything_is_erased(small_bench: LedgerBench, page: TestClient) -> None:
    """A list of leavers: each row one pupil or the row is named; nothing happens before the button; all or none."""
    small_bench.device("terminal-1")
    small_bench.pupil("Léa", "Martin", "5eB")
    small_bench.pupil("Léa", "Martin", "6eA")
    small_bench.pupil("Adam", "N’Guyen", "6eA")
    wrong = "nom;prénom;classe\nMARTIN;léa;\nPetit;Sacha;6eB\n"
    refused = page.post("/eleves/departs", files={"fichier": ("l.csv", wrong.encode())})
    assert (422, True, True) == (
        refused.status_code,
        "plusieurs élèves" in refused.text,
        "aucun élève inscrit" in refused.text,
    )
    right = "nom;prénom;classe\nMARTIN;léa;5eB\nN’GUYEN;Adam;\n"
    asked = page.post("/eleves/departs", files={"fichier": ("l.csv", right.encode())}).text
    assert "2 départs" in asked
    assert "sur 3 élèves inscrits" in asked
    assert "Aucun effacement demandé" in page.get("/purges").text
    pupils = asked.partition('name="pupils" value="')[2].partition('"')[0]
    shown = page.post("/eleves/departs/confirmer", data={"pupils": pupils, "cause": "end-of-schooling"}).text
    assert 2 == shown.count("Fin de la scolarité")
    assert "2 effacements en cours" in shown
    assert 404 == page.post("/eleves/departs/confirmer", data={"pupils": "p-0000000000000000"}).status_code


def test_a_list_of_all_who_stay_makes_the_others_leave(small_bench: LedgerBench, page: TestClient) -> None:
    """Whoever changed class stays, newcomers are nobody's departure, and the wrong file empties no school."""
    small_bench.pupil("Léa", "Martin", "5eB")
    small_bench.pupil("Adam", "Nguyen", "6eA")
    whole = {"liste": "restants"}
    stays = "nom;prénom;classe\nMartin;Léa;4eB\nNouveau;Élève;6eA\n"
    asked = page.post("/eleves/departs", data=whole, files={"fichier": ("l.csv", stays.encode())}).text
    assert "1 départ<" in asked
    assert "Nguyen Adam" in asked
    assert "Martin" not in asked
    another = "nom;prénom;classe\nDupont;Zoé;3eA\n"
    assert "est-ce le bon" in page.post("/eleves/departs", data=whole, files={"fichier": ("l", another.encode())}).text


def test_the_page_of_a_blocked_card_says_who_knows(small_bench: LedgerBench, page: TestClient) -> None:
    """Device by device, with the seconds it took; live until all know."""
    terminal, station = small_bench.device("terminal-1"), small_bench.device("station-1", DeviceRole.STATION)
    small_bench.card_issued(station, small_bench.pupil())
    for device in (station, terminal):
        small_bench.send(device)
        small_bench.answer_all(device)
    shown = page.post("/cartes/1/bloquer").text
    assert "2 appareils ne le savent pas encore." in shown
    small_bench.clock.advance(0.4)
    small_bench.answer_all(terminal)
    shown = page.get("/cartes/1/direct").text
    assert "1 appareil ne le sait pas encore." in shown
    assert "a répondu après 0.4 s" in shown
    small_bench.answer_all(station)
    shown = page.get("/cartes/1/direct")
    assert "Tous les appareils refusent cette carte." in shown.text
    mark = shown.text.partition('data-mark="')[2].partition('"')[0]
    assert 204 == page.get(f"/cartes/1/direct?vu={mark}").status_code
    assert 404 == page.get("/cartes/9/direct").status_code


def test_accounts_move_by_further_entries_only(small_bench: LedgerBench, page: TestClient) -> None:
    """A purchase, a correction down, an amount that is none; the page says what is left and what moved."""
    new = NewPupil(Identity("Adam", "Nguyen", "6eA"), (external_meal(TODAY),))
    with small_bench.services.database.writing() as session:
        ((pupil, _),) = small_bench.services.pupils.add(session, [new])
    assert "Nguyen" in page.get("/soldes").text
    page.post("/soldes", data={"pupil": pupil, "montant": "42,00", "nature": "purchase"})
    shown = page.post("/soldes", data={"pupil": pupil, "montant": "-8,4 €", "nature": "correction", "motif": "rendu"})
    assert "33,60 €" in shown.text
    assert "−8,40 €" in shown.text
    assert '<td class="number">8</td>' in shown.text
    for montant, nature in (("-1", "purchase"), ("0", "correction"), ("1e3", "purchase"), ("5", "meal")):
        refused = page.post("/soldes", data={"pupil": pupil, "montant": montant, "nature": nature})
        assert "rien n’a été inscrit" in refused.text
    assert 404 == page.post("/soldes", data={"pupil": "x", "montant": "5", "nature": "purchase"}).status_code
    with small_bench.services.database.reading() as session:
        assert [4200, -840] == list(session.scalars(select(AccountEntry.cents).order_by(AccountEntry.id)))


def test_the_live_page_says_who_is_still_to_come(small_bench: LedgerBench, page: TestClient) -> None:
    """Of the day's entitled pupils, less those who have eaten; an abandoned pass leaves the pupil to come."""
    terminal = small_bench.device("terminal-1")
    one, two, _ = small_bench.pupil(), small_bench.pupil(), small_bench.pupil()
    assert "3 élèves à venir au plus" in page.get("/").text
    left = granted(two)
    small_bench.send(terminal, terminal.note(granted(one), left, PassAbandoned(left.pass_id)))
    shown = page.get("/").text
    assert "2 élèves à venir au plus" in shown
    assert "horloge à l’heure" in shown
    assert 2 == page.get("/api/counts").json()["periods"][0]["to_come"]


def test_how_strict_the_terminals_are_is_chosen_on_a_page(small_bench: LedgerBench, page: TestClient) -> None:
    """Each choice with what it means; pressed, every device is told, once; and it is in the audit."""
    terminal = small_bench.device("terminal-1")
    shown = page.get("/reglages").text
    assert "vise un inconnu sur 1 000" in shown
    assert "Mesuré : un inconnu sur 1961 est passé." in shown
    assert "8 à 89 premiers essais refusés à tort par semaine, pour 600 élèves" in shown
    assert "Mesuré : aucun inconnu n’est passé." in shown
    before = len(small_bench.orders(terminal))
    for _again in range(2):
        answer = page.post("/reglages/main", data={"choix": "strict"})
        assert "C’est enregistré" in answer.text
    told = [order for _, order in small_bench.orders(terminal)][before:]
    assert [HandPolicy.STRICT] == [order.hand_policy for order in told if isinstance(order, CalendarOrder)]
    assert 422 == page.post("/reglages/main", data={"choix": "lax"}).status_code
    small_bench.restart()
    with small_bench.services.database.reading() as session:
        assert HandPolicy.STRICT is small_bench.services.school.calendar_order(session).hand_policy
        actions = [line.action for line in session.scalars(select(Audit))]
    assert 1 == actions.count("changed-hand-policy")


def test_whose_hand_has_grown_stands_in_the_list(small_bench: LedgerBench, page: TestClient) -> None:
    """From a terminal's advice until the station has taken the hand anew."""
    station, terminal = small_bench.device("station-1", DeviceRole.STATION), small_bench.device("terminal-1")
    pupil = small_bench.pupil()
    given = consent(pupil, ConsentState.GIVEN, small_bench.clock.utc_now())
    small_bench.send(station, station.note(given, ReferenceEnrolled(pupil, 7, "2026-1")))
    assert "Main à reprendre" not in page.get("/eleves").text
    small_bench.send(terminal, terminal.note(EnrollmentAdvised(pupil, 7)))
    assert "Main à reprendre" in page.get("/eleves").text
    small_bench.send(station, station.note(ReferenceEnrolled(pupil, 8, "2026-1")))
    assert "Main à reprendre" not in page.get("/eleves").text
