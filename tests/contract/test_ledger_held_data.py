"""A family asks what is held of its child: all of it, of this child alone, in words and in a file; audited."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.models import Audit, PupilRow
from canteen.access_decision import Reason
from canteen.consent import ConsentState
from canteen.identifiers import PupilId
from canteen.meal_pass import PassCompleted
from sync.facts import ReferenceEnrolled
from sync.orders import DeviceRole, PurgeCause
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, consent, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


@pytest.fixture
def page(bench: LedgerBench) -> Iterator[TestClient]:
    token = bench.services.operators.add("Mme Roux")
    headers = {"Accept-Language": "fr", "Authorization": f"Bearer {token}"}
    with TestClient(make_app(bench.services), headers=headers) as client:
        yield client


@pytest.fixture
def lea(bench: LedgerBench) -> tuple[PupilId, SignedDevice, SignedDevice]:
    """A pupil with a hand, a card, a meal and a denial; and another, of whom nothing of that may be shown."""
    terminal, station = bench.device("terminal-1"), bench.device("station-1", DeviceRole.STATION)
    pupil, other = bench.pupil("Léa", "Martin"), bench.pupil("Zoé", "Garcia")
    now = bench.clock.utc_now()
    station.note(consent(pupil, ConsentState.GIVEN, now), ReferenceEnrolled(pupil, 1, "2026-1"))
    bench.card_issued(station, pupil)
    bench.send(station)
    bench.answer_all(station)
    meal, others = granted(pupil), granted(other)
    terminal.note(meal, PassCompleted(meal.pass_id), denied(pupil, Reason.ALREADY_SERVED), others)
    bench.send(terminal)
    with bench.services.database.writing() as session:
        bench.services.accounts.credit(session, pupil, 4200, "Mme Roux")
    return pupil, terminal, station


def test_all_of_one_pupil(
    bench: LedgerBench, page: TestClient, lea: tuple[PupilId, SignedDevice, SignedDevice]
) -> None:
    """The code is not shown, the card's number neither; what is not here is said not to be."""
    pupil = lea[0]
    shown = page.get(f"/eleves/{pupil}/donnees").text
    for words in (
        "Léa Martin",
        "5eB",
        "Des mesures chiffrées, jamais d’image, sur :",
        "station-1",
        "Accord",
        "Représentant légal",
        "2026-1",
        "Passé",
        "Déjà servi à ce service",
        "42,00",
        "Achat de repas",
    ):
        assert words in shown, words
    assert "Garcia" not in shown
    held = page.get(f"/eleves/{pupil}/donnees.json")
    assert f'attachment; filename="donnees-{pupil}.json"' == held.headers["content-disposition"]
    content = held.json()
    assert ("Martin", "held, sealed", 1, 1, 1, 1, 1, 1) == (
        content["last_name"],
        content["personal_code"],
        *(len(content[name]) for name in ("consents", "hand", "cards", "passes", "denials", "account")),
    )
    with bench.services.database.reading() as session:
        code = bench.services.pupils.code(session.get_one(PupilRow, pupil))
        looks = session.execute(select(Audit.operator, Audit.action, Audit.subject)).all()
    assert code is not None
    assert code.digits not in shown + held.text
    assert "04A1B2C3D4E5F6" not in shown + held.text
    assert 2 == looks.count(("Mme Roux", "saw-held-data", pupil))


def test_of_one_who_left_the_erasure_is_there_and_the_hand_is_not(
    bench: LedgerBench, page: TestClient, lea: tuple[PupilId, SignedDevice, SignedDevice]
) -> None:
    pupil, terminal, station = lea
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    for device in (terminal, station):
        bench.answer_all(device)
    content = page.get(f"/eleves/{pupil}/donnees.json").json()
    assert ([], "not held") == (content["hand"], content["personal_code"])
    assert [["station-1", "terminal-1"]] == [one["confirmed_by"] for one in content["erasures"]]
    shown = page.get(f"/eleves/{pupil}/donnees").text
    assert "Aucune mesure, nulle part." in shown
    assert "Départ de l’établissement" in shown


def test_nobody_and_nonsense(bench: LedgerBench, page: TestClient) -> None:
    """A page that says so; and without a personal link, nothing at all."""
    for who in ("p-0000000000000000", "x-0000000000000000", "%2e%2e", "p-%00"):
        assert 404 == page.get(f"/eleves/{who}/donnees").status_code
        assert 404 == page.get(f"/eleves/{who}/donnees.json").status_code
    with TestClient(make_app(bench.services)) as stranger:
        assert 401 == stranger.get(f"/eleves/{bench.pupil()}/donnees.json").status_code
