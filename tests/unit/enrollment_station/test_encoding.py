"""Cards at the reader: made, kept, taken over, wiped; and whatever is stopped leaves no fact and can be finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canteen.credentials import CardNumber
from enrollment_station import card_sentences
from enrollment_station.audit_log import AuditedAction
from enrollment_station.encoding import CardGiven, CardHeldBack, CardNotRead, CardSeen, Whose
from firmware_bridge.card_encoding import CardBlank, EncodingStep, EncodingStop, EncodingStopped
from firmware_bridge.card_reading import UidCards
from firmware_bridge.devices import CardRefusal
from firmware_bridge.simulated_card import CardInField, CardState, simulated_card
from firmware_bridge.simulated_chip_memory import TearPhase
from sync.errors import JournalUnavailable
from sync.facts import CardRetired
from sync.orders import CardBlocked
from sync.pass_journal import PassJournal
from tests.unit.enrollment_station.bench import ADA, ALAN, STATION
from tests.unit.enrollment_station.reader_bench import LAYOUT, ReaderBench

WHO = "Mme Delmas"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ReaderBench]:
    """A station that encodes."""
    made = ReaderBench(tmp_path)
    yield made
    made.close()


def test_a_blank_card_becomes_the_pupils(bench: ReaderBench) -> None:
    """One fact, with the number that a terminal reads off the card; the answer names every step."""
    bench.lay()
    answer = bench.post(f"/api/eleves/{ADA}/carte/encoder", {})
    assert 200 == answer.status_code
    number = bench.read()
    assert isinstance(number, CardNumber)
    assert [(ADA, number.hexadecimal)] == bench.issued()
    assert {"issued": True, "fresh": True}.items() <= answer.json().items()
    assert list(card_sentences.ENCODING_STEPS) == answer.json()["done"]
    assert bench.station.store.has_card(ADA)
    assert number.hexadecimal not in answer.text


def test_the_audit_log_names_the_card_without_its_number(bench: ReaderBench) -> None:
    """Asked for, then given; the number is in no file of the station in the clear."""
    bench.lay()
    bench.post(f"/api/eleves/{ADA}/carte/encoder", {})
    bench.post(f"/api/eleves/{ADA}/carte/verifier", {})
    bench.post(f"/api/eleves/{ADA}/carte/effacer", {})
    expected = ["card-encoding", "card-issued", "card-checked", "card-wiped"]
    assert expected == [entry.action.value for entry in reversed(bench.station.audit.entries())]
    assert {(WHO, ADA)} == {(entry.operator, entry.pupil) for entry in bench.station.audit.entries()}
    ((_, number),) = bench.issued()
    for file in bench.folder.iterdir():
        assert number.encode() not in file.read_bytes(), file
        assert bytes.fromhex(number) not in file.read_bytes(), file


def test_the_same_card_again_keeps_its_number(bench: ReaderBench) -> None:
    """Encoding twice is harmless."""
    bench.lay()
    assert CardGiven(fresh=True) == bench.desk.encode(ADA, WHO)
    assert CardGiven(fresh=False) == bench.desk.encode(ADA, WHO)
    first, second = bench.issued()
    assert first == second


def test_another_pupils_card_is_taken_over_only_on_demand(bench: ReaderBench) -> None:
    """Held back untouched; taken over, it gets a new number, and the old one is over."""
    bench.lay()
    bench.desk.encode(ADA, WHO)
    before = bench.read()
    refused = bench.post(f"/api/eleves/{ALAN}/carte/encoder", {})
    assert (409, True, "anothers") == (refused.status_code, refused.json()["may_reuse"], refused.json()["reason"])
    assert before == bench.read()
    assert [ADA] == [pupil for pupil, _ in bench.issued()]
    taken = bench.post(f"/api/eleves/{ALAN}/carte/encoder", {"reuse": True})
    assert 200 == taken.status_code
    assert before != bench.read()
    assert [ADA, ALAN] == [pupil for pupil, _ in bench.issued()]
    assert (False, True) == (bench.station.store.has_card(ADA), bench.station.store.has_card(ALAN))


def test_a_lost_card_that_is_found_gets_a_new_number(bench: ReaderBench) -> None:
    """The old one stays blocked."""
    bench.lay()
    bench.desk.encode(ADA, WHO)
    lost = bench.read()
    assert isinstance(lost, CardNumber)
    bench.apply(CardBlocked(lost))
    assert CardHeldBack(Whose.BLOCKED) == bench.desk.encode(ADA, WHO)
    assert CardGiven(fresh=True, taken_over=True) == bench.desk.encode(ADA, WHO, reuse=True)
    assert lost != bench.read()
    found = bench.station.store.find_by_card(lost)
    assert found is not None
    assert found.blocked


def test_a_number_that_leaves_its_card_is_retired_at_the_server(bench: ReaderBench) -> None:
    """Taken over, and wiped: both numbers go up sealed, before the card is touched; a blank card retires nothing."""
    bench.lay()
    bench.desk.encode(ADA, WHO)
    first = bench.read()
    bench.desk.encode(ALAN, WHO, reuse=True)
    second = bench.read()
    bench.desk.wipe(ALAN, WHO)
    assert CardBlank() == bench.desk.wipe(ALAN, WHO)
    context = {"v": 1, "what": "card-retired", "station": STATION}
    retired = [
        CardNumber(bench.server_seal.open(fact.sealed_card, context).decode())
        for fact in bench.facts(0)
        if isinstance(fact, CardRetired)
    ]
    assert [first, second] == retired
    assert all(found is not None and found.blocked for found in map(bench.station.store.find_by_card, retired))


def test_a_journal_that_takes_nothing_leaves_the_card_as_it_was(
    bench: ReaderBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number must not be over here and alive at the terminals."""
    bench.lay()
    bench.desk.encode(ADA, WHO)
    before = bench.read()

    def no_room(*_: object) -> None:
        raise JournalUnavailable("disk full")

    monkeypatch.setattr(PassJournal, "append_all", no_room)
    with pytest.raises(JournalUnavailable):
        bench.desk.wipe(ADA, WHO)
    assert before == bench.read()
    assert isinstance(before, CardNumber)
    found = bench.station.store.find_by_card(before)
    assert found is not None
    assert not found.blocked


def test_a_complete_card_that_nobody_has_gets_a_new_number(bench: ReaderBench) -> None:
    """A card of a pupil who left, or one whose fact was never written: a number never changes hands."""
    bench.lay(CardState.ENCODED)
    before = bench.read()
    assert CardGiven(fresh=True) == bench.desk.encode(ADA, WHO)
    assert before != bench.read()


def test_every_moment_of_tearing_away_can_be_repaired(bench: ReaderBench) -> None:
    """At each command, before, during and after: no fact until the card is whole, and then one.

    In the first commands nothing has begun, and the card is simply waited for; here it is back at once.
    """
    bench.lay()
    bench.desk.encode(ADA, WHO)
    commands = bench.tray.commands
    assert commands > 30
    stops = 0
    for at in range(commands):
        phase = tuple(TearPhase)[at % 3]
        chip = bench.lay(uid=f"04{at:012x}")
        before = bench.station.journal.last_sequence
        chip.tear(at, phase)
        outcome = bench.desk.encode(ALAN, WHO)
        if chip.tear_pending:
            continue
        if isinstance(outcome, EncodingStopped):
            stops += 1
            assert EncodingStop.TORN_AWAY == outcome.reason
            assert before == bench.station.journal.last_sequence
            assert isinstance(bench.desk.encode(ALAN, WHO), CardGiven), at
        number = bench.read()
        assert isinstance(number, CardNumber)
        assert [(ALAN, number.hexadecimal)] == bench.issued(before)
    assert stops > 25


def test_a_takeover_that_is_torn_is_finished(bench: ReaderBench) -> None:
    """Whenever it is torn away: the former holder has no card, the new one has one, with one fact."""
    for at in range(10, 40, 3):
        chip = bench.lay(uid=f"04{at:012x}")
        bench.desk.encode(ADA, WHO)
        former = bench.read()
        before = bench.station.journal.last_sequence
        chip.tear(at)
        stopped = bench.desk.encode(ALAN, WHO, reuse=True)
        if chip.tear_pending:
            break
        if not isinstance(stopped, CardGiven):
            assert isinstance(bench.desk.encode(ALAN, WHO, reuse=True), CardGiven), at
        number = bench.read()
        assert isinstance(number, CardNumber)
        assert number != former
        assert [(ALAN, number.hexadecimal)] == bench.issued(before)
        assert not bench.station.store.has_card(ADA)


def test_a_stop_names_the_step_and_what_to_do(bench: ReaderBench) -> None:
    """In French, and in English where that is asked for; the steps before are ticked."""
    bench.lay().tear(22)
    stopped = bench.post(f"/api/eleves/{ADA}/carte/encoder", {})
    content = stopped.json()
    assert (409, "card-stopped", "torn_away") == (stopped.status_code, content["error"], content["reason"])
    assert content["step"] == card_sentences.ENCODING_STEPS[len(content["done"])]
    assert content["message"].startswith(f"Arrêt à l’étape « {card_sentences.STEPS[content['step']]} »")
    assert "Reposez la même carte" in content["message"]
    bench.lay(uid="04665544332211").tear(22)
    english = bench.post(f"/api/eleves/{ADA}/carte/encoder?lang=en", {}).json()["message"]
    assert english.startswith("Stopped at the step “")
    assert "it will be repaired" in english


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (CardState.OTHER_SCHOOL, CardNotRead(CardRefusal.OTHER_SCHOOL)),
        (CardState.COPIED_UID, CardNotRead(CardRefusal.COPIED_UID)),
        (CardState.WRONG_KEY, EncodingStopped(EncodingStep.OWN_CHIP, EncodingStop.FOREIGN_CHIP)),
    ],
)
def test_a_card_that_is_not_ours_is_left_alone(bench: ReaderBench, state: CardState, expected: object) -> None:
    """Neither encoded nor wiped; a terminal makes of it what it made before."""
    bench.lay(state)
    before = bench.read()
    assert expected == bench.desk.encode(ADA, WHO)
    assert expected == bench.desk.encode(ADA, WHO, reuse=True)
    assert expected == bench.desk.wipe(ADA, WHO)
    assert before == bench.read()
    assert [] == bench.issued()


def test_an_overheard_session_is_no_card(bench: ReaderBench) -> None:
    """An emulator that says again what it heard."""
    bench.tray.chip = simulated_card(CardState.REPLAYED, bench.keys, LAYOUT)
    assert CardNotRead(CardRefusal.REPLAYED_SESSION) == bench.desk.encode(ADA, WHO)
    assert CardNotRead(CardRefusal.REPLAYED_SESSION) == bench.desk.check(ADA, WHO)


def test_checking_says_whose_it_is(bench: ReaderBench) -> None:
    """Nobody's, this pupil's, another's, blocked, or why it is none."""
    bench.lay(CardState.ENCODED)
    assert CardSeen(Whose.NOBODYS) == bench.desk.check(ADA, WHO)
    bench.desk.encode(ADA, WHO)
    assert CardSeen(Whose.THIS_PUPILS) == bench.desk.check(ADA, WHO)
    assert CardSeen(Whose.ANOTHERS) == bench.desk.check(ALAN, WHO)
    number = bench.read()
    assert isinstance(number, CardNumber)
    bench.apply(CardBlocked(number))
    assert CardSeen(Whose.BLOCKED) == bench.desk.check(ADA, WHO)
    bench.lay()
    assert CardNotRead(CardRefusal.NOT_ENCODED) == bench.desk.check(ADA, WHO)


def test_wiping_ends_card_and_number(bench: ReaderBench) -> None:
    """Torn in the middle and repeated; another pupil's is left alone; a wiped card is a blank."""
    chip = bench.lay()
    bench.desk.encode(ADA, WHO)
    assert CardHeldBack(Whose.ANOTHERS) == bench.desk.wipe(ALAN, WHO)
    chip.tear(14)
    assert isinstance(bench.desk.wipe(ADA, WHO), EncodingStopped)
    assert not bench.station.store.has_card(ADA)
    assert CardBlank() == bench.desk.wipe(ADA, WHO)
    assert CardRefusal.NOT_ENCODED == bench.read()
    assert CardGiven(fresh=True) == bench.desk.encode(ALAN, WHO)


def test_a_full_disk_leaves_a_card_that_is_finished_later(bench: ReaderBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is written, the fact is not: 503; once there is room, the same number is given."""
    bench.lay()
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise JournalUnavailable("no space left")

        patch.setattr(PassJournal, "append_all", full)
        assert 503 == bench.post(f"/api/eleves/{ADA}/carte/encoder", {}).status_code
    number = bench.read()
    assert isinstance(number, CardNumber)
    assert [] == bench.issued()
    assert CardGiven(fresh=False) == bench.desk.encode(ADA, WHO)
    assert [(ADA, number.hexadecimal)] == bench.issued()


def test_nobody_gets_no_card(bench: ReaderBench) -> None:
    """A pupil who is not on the roster: the card is not touched."""
    bench.lay()
    for act in ("encoder", "verifier", "effacer"):
        assert 404 == bench.post(f"/api/eleves/p-ffffffffffffffff/carte/{act}", {}).status_code
        assert 404 == bench.post(f"/api/eleves/nobody/carte/{act}", {}).status_code
    assert 0 == bench.tray.commands


def test_no_number_is_typed_where_cards_are_encoded(bench: ReaderBench) -> None:
    """Otherwise a copied chip number would be as good as an encoded card."""
    assert 409 == bench.post(f"/api/eleves/{ADA}/carte", {"card": "04A1B2C3D4E5F6"}).status_code
    page = bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).text
    assert 'id="lecteur"' in page
    assert 'name="card"' not in page
    assert "Mode UID" not in page


def test_chip_numbers_are_taken_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """UID mode: any card's number is given, the page says what that is worth, and nothing is encoded."""
    bench = ReaderBench(tmp_path, mode="uid")
    chip = bench.lay(CardState.WRONG_KEY)
    number = UidCards().read(CardInField(chip))
    assert isinstance(number, CardNumber)
    assert 200 == bench.post(f"/api/eleves/{ADA}/carte/lire", {}).status_code
    assert [(ADA, number.hexadecimal)] == bench.issued()
    assert 409 == bench.post(f"/api/eleves/{ALAN}/carte/lire", {}).status_code
    assert "this-pupils" == bench.post(f"/api/eleves/{ADA}/carte/verifier", {}).json()["whose"]
    assert 409 == bench.post(f"/api/eleves/{ADA}/carte/encoder", {}).status_code
    assert 409 == bench.post(f"/api/eleves/{ADA}/carte/effacer", {}).status_code
    assert "se copie" in bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).text
    assert AuditedAction.CARD_ISSUED in {entry.action for entry in bench.station.audit.entries()}
    bench.close()


def test_a_station_that_types_has_no_reader(tmp_path: Path) -> None:
    """As before there was one: the form is there, the reader's addresses say that they are not."""
    bench = ReaderBench(tmp_path, mode="typed")
    for act in ("encoder", "lire", "verifier", "effacer", "annuler"):
        assert 409 == bench.post(f"/api/eleves/{ADA}/carte/{act}", {}).status_code
    page = bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).text
    assert 'name="card"' in page
    assert 'id="lecteur"' not in page
    bench.close()
