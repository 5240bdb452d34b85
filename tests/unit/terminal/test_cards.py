"""Cards from the board or from a reader beside it: the same pass; a card that gives no number is told kindly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.meal_pass import PassDenied, PassGranted, PassMethod
from canteen.private_file import create_private_file
from firmware_bridge.card_keys import EncodingKeys, new_master_secret
from firmware_bridge.card_layout import DEFAULT_AID
from firmware_bridge.card_reading import SchoolCards, UidCards
from firmware_bridge.devices import (
    CardPresented,
    CardReaderLost,
    CardReaderRecovered,
    CardRefusal,
    CardRefused,
    ReaderLossReason,
)
from terminal.assembly import card_reading
from terminal.configuration import read_configuration
from terminal.display.faces import PRESENT_AGAIN
from terminal.errors import ConfigurationRefused
from terminal.findings import Verdict
from terminal.health import HealthSources, examine
from terminal.kept_keys import KeptKeys
from terminal.pass_machine import State
from tests.unit.terminal.lane import School, card
from tests.unit.terminal.test_configuration import GOOD, write


def refuse(school: School, reason: CardRefusal) -> None:
    school.lane.inbox.on_card_reader_event(CardRefused(reason))
    school.settle()


def test_the_same_card_either_way(school: School) -> None:
    """A reader beside the board gives the same pass; a card seen by both is one presentation."""
    school.lane.inbox.on_card_reader_event(CardPresented(card(2)))
    school.board.present(card(2))
    school.settle()
    assert school.is_in(State.PASSAGE_OPEN)
    assert school.push()
    assert [PassMethod.CARD] == [fact.method for fact in school.facts if isinstance(fact, PassGranted)]
    assert school.is_in(State.IDLE)


@pytest.mark.parametrize("reason", list(CardRefusal))
def test_each_refusal_is_told_and_the_lane_goes_on(school: School, reason: CardRefusal) -> None:
    """Words for the pupil, the reason for staff, a denial on record unless the card was only too quick."""
    refuse(school, reason)
    view = school.screen.view
    assert (State.SHOWING_DENIAL, f"card:{reason.value}") == (school.state, view.staff_note)
    assert reason.value not in view.message.fr + view.prompt.fr
    denials = [fact for fact in school.facts if isinstance(fact, PassDenied)]
    expected = [] if reason in PRESENT_AGAIN else [(None, PassMethod.CARD, Reason.UNKNOWN_CARD)]
    assert expected == [(fact.pupil, fact.method, fact.reason) for fact in denials]
    school.present(card(2))
    assert school.is_in(State.PASSAGE_OPEN)


@pytest.mark.parametrize("state", ["typing-code", "awaiting-hand", "passage-open", "out-of-service"])
def test_in_every_other_state(school: School, state: str) -> None:
    """Whoever stands there is answered; who goes through is not disturbed; the hand reader is let go."""
    if state == "typing-code":
        school.board.type("1")
    elif state == "awaiting-hand":
        school.type_code(1)
    elif state == "passage-open":
        school.present(card(2))
    else:
        school.board.online = False
        school.settle()
        from firmware_bridge.devices import BoardLost, LossReason

        school.board.report(BoardLost(LossReason.SILENT))
    school.settle()
    assert school.is_in(State(state))
    refuse(school, CardRefusal.WRONG_KEY)
    if state == "passage-open":
        assert school.push()
    expected = State.OUT_OF_SERVICE if state == "out-of-service" else State.SHOWING_DENIAL
    assert school.is_in(expected)


def test_reader_lost_and_back(school: School) -> None:
    """Pupils are no longer asked for a card; staff see why at the foot at once; the lane serves hands meanwhile."""
    school.lane.inbox.on_card_reader_event(CardReaderLost(ReaderLossReason.NO_READER))
    school.settle(1.0)
    view = school.screen.view
    assert "Cartes en panne" in view.prompt.fr
    assert ("card-reader",) == view.status.ill
    school.type_code(1)
    assert school.is_in(State.AWAITING_HAND)
    school.board.correct()
    school.lane.inbox.on_card_reader_event(CardReaderRecovered())
    school.settle(1.0)
    view = school.screen.view
    assert (True, ()) == ("carte" in view.prompt.fr, view.status.ill)


class Reader:
    """A card reader that is there, or not."""

    ready = True

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(
    ("ready", "loss", "by_chip_alone", "verdict", "word"),
    [
        (True, None, False, Verdict.WELL, "il lit"),
        (True, None, True, Verdict.WATCH, "copier"),
        (False, None, False, Verdict.RISK, "pas encore"),
        (False, ReaderLossReason.NO_SERVICE, False, Verdict.RISK, "pcscd"),
        (False, ReaderLossReason.NO_READER, False, Verdict.RISK, "branché"),
        (False, ReaderLossReason.STUCK, True, Verdict.RISK, "débrancher"),
    ],
)
def test_doctor(
    school: School, ready: bool, loss: ReaderLossReason | None, by_chip_alone: bool, verdict: Verdict, word: str
) -> None:
    """What it says of the reader; the weak mode is said each time."""
    reader = Reader()
    reader.ready = ready
    school.lane.inbox.card_reader_loss = loss
    devices = dataclasses.replace(school.lane.devices, card_reader=reader, cards_by_chip_alone=by_chip_alone)
    sources = HealthSources(
        devices, school.lane.inbox, school.lane.runner._actions._records, school.lane.identification, ()
    )
    (check,) = [check for check in examine(sources).checks if check.name == "card-reader"]
    assert verdict is check.verdict
    assert word in check.words.fr


# The configuration


def test_board_reads_the_cards_unless_said_otherwise(tmp_path: Path) -> None:
    """Nothing to configure for a reader on the board."""
    assert read_configuration(write(tmp_path, GOOD)).card_reader is None
    assert read_configuration(write(tmp_path, GOOD + '[card_reader]\nkind = "osdp"\n')).card_reader is None


def test_reader_beside_the_board(tmp_path: Path) -> None:
    """The keys come from the file that the station made; UID mode needs none and is asked for by name."""
    keys = EncodingKeys.from_master_secret(new_master_secret()).reading
    create_private_file(tmp_path / "card-reading.key", keys.to_bytes())
    text = '[card_reader]\nkind = "pcsc"\nuai = "0311234A"\nreading_key = "card-reading.key"\n'
    configuration = read_configuration(write(tmp_path, GOOD + text))
    source = configuration.card_reader
    assert source is not None
    reading = card_reading(source, KeptKeys.of(configuration))
    assert isinstance(reading, SchoolCards)
    assert (keys, DEFAULT_AID, None, False) == (
        reading.keys,
        reading.layout.aid,
        source.reader,
        source.knows_chips_only,
    )
    text = '[card_reader]\nkind = "pcsc-uid"\nreader = "Virtual"\n'
    configuration = read_configuration(write(tmp_path, GOOD + text))
    source = configuration.card_reader
    assert source is not None
    assert ("Virtual", True) == (source.reader, source.knows_chips_only)
    assert isinstance(card_reading(source, KeptKeys.of(configuration)), UidCards)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "nfc"', "one of"),
        ('kind = "pcsc"\nreading_key = "k"', "uai"),
        ('kind = "pcsc"\nuai = "0311234A"', "reading_key"),
        ('kind = "pcsc"\nuai = "31"\nreading_key = "k"', "UAI"),
        ('kind = "pcsc"\nuai = "0311234A"\naid = "xyz"\nreading_key = "k"', "hexadecimal"),
        ('kind = "pcsc-uid"\nreading_key = "k"', "no setting"),
        ('kind = "osdp"\nreader = "x"', "no setting"),
    ],
)
def test_wrong_card_reader(tmp_path: Path, text: str, said: str) -> None:
    """Each in one sentence, with its place."""
    with pytest.raises(ConfigurationRefused, match=said):
        read_configuration(write(tmp_path, f"{GOOD}[card_reader]\n{text}\n"))


def test_key_file_that_is_no_key(tmp_path: Path) -> None:
    """Missing, too short, or open to others: the terminal does not start."""
    text = '[card_reader]\nkind = "pcsc"\nuai = "0311234A"\nreading_key = "card-reading.key"\n'
    configuration = read_configuration(write(tmp_path, GOOD + text))
    source = configuration.card_reader
    assert source is not None
    path = tmp_path / "card-reading.key"
    for content, mode in ((None, 0o600), (b"short", 0o600), (bytes(range(32)), 0o644)):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(mode)
        with pytest.raises(ConfigurationRefused, match="reading_key"):
            card_reading(source, KeptKeys.of(configuration))
