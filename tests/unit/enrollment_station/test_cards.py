"""Cards: given, refused with a sentence, and their number for the server alone."""

from __future__ import annotations

import pytest

from canteen.credentials import CardNumber
from sync.errors import SealBroken
from sync.facts import CardIssued
from sync.orders import CardBlocked
from tests.unit.enrollment_station.bench import ADA, ALAN, STATION, Bench


@pytest.mark.parametrize("typed", ["04A1B2C3D4E5F6", "04:a1:b2:c3:d4:e5:f6", " 04 a1 b2 c3 d4 e5 f6\r\n"])
def test_a_card_is_given_however_it_is_typed(bench: Bench, typed: str) -> None:
    """The number reaches the server sealed, bound to station and pupil, as plain hexadecimal."""
    bench.fill()
    before = bench.station.journal.last_sequence
    assert 200 == bench.post(f"/api/eleves/{ADA}/carte", {"card": typed}).status_code
    (fact,) = bench.facts(before)
    assert isinstance(fact, CardIssued)
    context = {"v": 1, "what": "card", "station": STATION, "pupil": ADA}
    assert b"04A1B2C3D4E5F6" == bench.server_seal.open(fact.sealed_card, context)
    with pytest.raises(SealBroken):
        bench.server_seal.open(fact.sealed_card, {**context, "pupil": ALAN})
    assert bench.station.store.has_card(ADA)


@pytest.mark.parametrize("card", ["", "04A1", "04A1B2C3D4E5F", "XYZ", "0" * 22, 4, None, {"a": 1}, "é" * 8])
def test_what_is_no_card_number_is_refused(bench: Bench, card: object) -> None:
    """409 and a sentence, no fact."""
    bench.fill()
    before = bench.station.journal.last_sequence
    answer = bench.post(f"/api/eleves/{ADA}/carte", {"card": card})
    assert 409 == answer.status_code
    assert answer.json()["message"]
    assert [] == bench.facts(before)


def test_another_pupils_card_is_refused(bench: Bench) -> None:
    """One card, one pupil; giving it to the same one again is harmless."""
    bench.fill()
    for _ in range(2):
        assert 200 == bench.post(f"/api/eleves/{ADA}/carte", {"card": "04A1B2C3D4E5F6"}).status_code
    assert 409 == bench.post(f"/api/eleves/{ALAN}/carte", {"card": "04A1B2C3D4E5F6"}).status_code
    assert not bench.station.store.has_card(ALAN)


@pytest.mark.parametrize("given_before", [True, False])
def test_a_lost_card_is_not_given_again(bench: Bench, given_before: bool) -> None:
    """Blocked by the server, known here or not: it stays blocked."""
    bench.fill()
    if given_before:
        bench.post(f"/api/eleves/{ADA}/carte", {"card": "04A1B2C3D4E5F6"})
    bench.apply(CardBlocked(CardNumber("04A1B2C3D4E5F6")))
    before = bench.station.journal.last_sequence
    assert 409 == bench.post(f"/api/eleves/{ADA}/carte", {"card": "04A1B2C3D4E5F6"}).status_code
    assert [] == bench.facts(before)
    assert not bench.station.store.has_card(ADA)


def test_a_card_for_nobody_is_refused(bench: Bench) -> None:
    """A pupil who is not on the roster."""
    bench.fill()
    assert 404 == bench.post("/api/eleves/p-ffffffffffffffff/carte", {"card": "04A1B2C3D4E5F6"}).status_code
    assert 404 == bench.post("/api/eleves/nobody/carte", {"card": "04A1B2C3D4E5F6"}).status_code
