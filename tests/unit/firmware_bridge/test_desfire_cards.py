"""The school's cards: what makes one genuine, each reason to refuse one, and encoding torn apart at every command."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from canteen.credentials import CardNumber
from firmware_bridge.card_encoding import (
    CardBlank,
    CardEncoded,
    CardEncoder,
    EncodingStep,
    EncodingStop,
    EncodingStopped,
)
from firmware_bridge.card_keys import EncodingKeys, ReadingKeys, new_master_secret
from firmware_bridge.card_layout import DEFAULT_AID, CardLayout
from firmware_bridge.card_reading import SchoolCards, UidCards
from firmware_bridge.desfire import CardChannel, DesfireCard
from firmware_bridge.desfire_commands import Generation, Status
from firmware_bridge.devices import CardRefusal
from firmware_bridge.errors import CardKeysRefused, CardLost, CardMisused, CardStatusError
from firmware_bridge.simulated_card import CardInField, CardState, ReplayingChip, simulated_card
from firmware_bridge.simulated_chip_memory import TearPhase
from firmware_bridge.simulated_desfire import SimulatedDesfire

UID = bytes.fromhex("04A1B2C3D4E5F6")
LAYOUT = CardLayout("0311234A")
KEYS = EncodingKeys.from_master_secret(bytes(range(32)))
SCHOOL = SchoolCards(KEYS.reading, LAYOUT)
ENCODER = CardEncoder(KEYS, LAYOUT)


def encoded(uid: bytes = UID, generation: Generation = Generation.EV1) -> SimulatedDesfire:
    chip = SimulatedDesfire(uid, generation)
    assert isinstance(ENCODER.personalise(CardInField(chip)), CardEncoded)
    return chip


@pytest.mark.parametrize("generation", [Generation.EV1, Generation.EV2, Generation.EV3])
def test_a_card_made_here_is_read_there(generation: Generation) -> None:
    """A factory-new chip becomes a card whose number a terminal reads with its two keys alone."""
    chip = SimulatedDesfire(UID, generation)
    outcome = ENCODER.personalise(CardInField(chip))
    assert isinstance(outcome, CardEncoded)
    assert outcome.fresh
    terminal = SchoolCards(ReadingKeys.from_bytes(KEYS.reading.to_bytes()), LAYOUT)
    assert outcome.card == terminal.read(CardInField(chip))
    assert len(outcome.card.hexadecimal) == 14


def test_a_complete_card_keeps_its_number() -> None:
    """Presenting a finished card again changes nothing: an operator may always try again."""
    chip = encoded()
    before = SCHOOL.read(CardInField(chip))
    assert isinstance(before, CardNumber)
    assert CardEncoded(before, fresh=False) == ENCODER.personalise(CardInField(chip))


def test_reuse_gives_a_new_number() -> None:
    """A card that goes to somebody else has another number: the old one can stay blocked."""
    chip = encoded()
    before = SCHOOL.read(CardInField(chip))
    outcome = ENCODER.reuse(CardInField(chip))
    assert isinstance(outcome, CardEncoded)
    assert outcome.fresh
    assert outcome.card != before
    assert outcome.card == SCHOOL.read(CardInField(chip))


def test_two_cards_share_no_key() -> None:
    """Key diversification: another chip, another use, another application, another key."""
    keys = {
        LAYOUT.card_key(KEYS.reading.read, UID, 1),
        LAYOUT.card_key(KEYS.reading.read, UID, 0),
        LAYOUT.card_key(KEYS.reading.read, UID[::-1], 1),
        CardLayout("0311234A", b"\x01\x02\x03").card_key(KEYS.reading.read, UID, 1),
        LAYOUT.card_key(KEYS.application, UID, 1),
    }
    assert 5 == len(keys)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (CardState.FACTORY, CardRefusal.NOT_ENCODED),
        (CardState.HALF_WRITTEN, CardRefusal.HALF_WRITTEN),
        (CardState.WRONG_KEY, CardRefusal.WRONG_KEY),
        (CardState.OTHER_SCHOOL, CardRefusal.OTHER_SCHOOL),
        (CardState.COPIED_UID, CardRefusal.COPIED_UID),
        (CardState.REPLAYED, CardRefusal.REPLAYED_SESSION),
    ],
)
@pytest.mark.parametrize("generation", [Generation.EV1, Generation.EV2])
def test_each_wrong_card_has_its_reason(state: CardState, expected: CardRefusal, generation: Generation) -> None:
    """What the simulated card can play, and what a terminal answers."""
    assert expected == SCHOOL.read(CardInField(simulated_card(state, KEYS, LAYOUT, UID, generation)))


def test_a_copied_uid_on_a_blank_chip_is_not_encoded() -> None:
    """A blank chip given a pupil's chip number opens nothing: the number alone counts for nothing."""
    assert encoded().uid == SimulatedDesfire(UID).uid
    assert CardRefusal.NOT_ENCODED == SCHOOL.read(CardInField(SimulatedDesfire(UID)))


def test_content_copied_to_another_chip_is_not_genuine() -> None:
    """Even with the other chip's keys in hand: the tag holds for one chip number."""
    chip, other = encoded(), encoded(UID[::-1])
    _file_of(other)[:] = _file_of(chip)
    assert CardRefusal.NOT_GENUINE == SCHOOL.read(CardInField(other))


def test_a_newer_format_is_said_to_be_one() -> None:
    """A terminal not yet updated does not call a good card forged."""
    chip = encoded()
    _file_of(chip)[0] = 2
    assert CardRefusal.UNKNOWN_FORMAT == SCHOOL.read(CardInField(chip))


def test_a_random_uid_is_said_to_be_one() -> None:
    """Chips that hide their number cannot have a key of their own found."""
    chip = encoded()
    chip.radio_uid = bytes.fromhex("08A1B2C3")
    assert CardRefusal.RANDOM_UID == SCHOOL.read(CardInField(chip))


class _OtherCard:
    """A bank card, for instance."""

    def transmit(self, apdu: bytes) -> bytes:
        return bytes.fromhex("8112345678ABCD9000") if apdu[0] == 0xFF else bytes.fromhex("6E00")


class _Spoiling:
    """Changes one bit of every longer answer from the given command on."""

    def __init__(self, channel: CardChannel, first: int) -> None:
        self._channel, self._left = channel, first

    def transmit(self, apdu: bytes) -> bytes:
        answer = self._channel.transmit(apdu)
        self._left -= 1
        return bytes([answer[0] ^ 1]) + answer[1:] if self._left < 0 and len(answer) > 2 else answer


def test_another_kind_of_card_is_said_to_be_one() -> None:
    """Transport, bank, telephone."""
    assert CardRefusal.NOT_DESFIRE == SCHOOL.read(_OtherCard())


def test_changed_bytes_end_the_session() -> None:
    """The file's bytes changed on the way after both keys were proved."""
    clean = CardInField(encoded())
    SCHOOL.read(clean)
    spoilt = _Spoiling(CardInField(encoded()), clean.commands - 1)
    assert CardRefusal.SPOILED_SESSION == SCHOOL.read(spoilt)


@pytest.mark.parametrize("phase", list(TearPhase))
def test_torn_away_while_reading(phase: TearPhase) -> None:
    """At any command, only one answer: present it again; and the card is none the worse."""
    chip = encoded()
    whole = CardInField(chip)
    number = SCHOOL.read(whole)
    for at in range(whole.commands - 1):  # the radio number is the reader's own to answer
        chip.tear(at, phase)
        assert CardRefusal.TORN_AWAY == SCHOOL.read(CardInField(chip))
    assert number == SCHOOL.read(CardInField(chip))


def test_uid_mode_takes_any_number() -> None:
    """The weak mode: a chip number is enough, which is why it is off; only random ones are refused."""
    assert CardNumber.from_bytes(UID) == UidCards().read(CardInField(SimulatedDesfire(UID)))
    assert CardNumber("8112345678ABCD") == UidCards().read(_OtherCard())
    hidden = SimulatedDesfire(UID, radio_uid=bytes.fromhex("08A1B2C3"))
    assert CardRefusal.RANDOM_UID == UidCards().read(CardInField(hidden))


Run = Callable[[CardEncoder, CardChannel], object]
RUNS: dict[str, Run] = {
    "personalise": CardEncoder.personalise,
    "reuse": CardEncoder.reuse,
    "format": CardEncoder.format,
    "wipe": CardEncoder.wipe,
}


@pytest.mark.parametrize("phase", list(TearPhase))
@pytest.mark.parametrize("run", list(RUNS))
@pytest.mark.parametrize("start", ["factory", "encoded", "wiped"])
def test_torn_at_every_command_a_second_run_repairs(start: str, run: str, phase: TearPhase) -> None:
    """Every step of every run, before, during and after each command: said to be torn, and finished by repeating.

    Between the two runs a terminal never reads a number that the card had before and then lost, nor half a number.
    """
    fresh = SimulatedDesfire(UID) if start == "factory" else encoded()
    if start == "wiped":
        assert CardBlank() == ENCODER.wipe(CardInField(fresh))
    before = SCHOOL.read(CardInField(fresh))
    whole = CardInField(copy.deepcopy(fresh))
    RUNS[run](ENCODER, whole)
    for at in range(whole.commands):
        chip = copy.deepcopy(fresh)
        chip.tear(at, phase)
        outcome = RUNS[run](ENCODER, CardInField(chip))
        if chip.tear_pending:
            break  # fewer commands than before: the radio numbers, which the reader answers
        assert isinstance(outcome, EncodingStopped)
        assert EncodingStop.TORN_AWAY is outcome.reason
        between = SCHOOL.read(CardInField(chip))
        if isinstance(between, CardNumber):
            assert run in {"personalise", "reuse"} or between == before
        else:
            assert between in {CardRefusal.NOT_ENCODED, CardRefusal.HALF_WRITTEN}
        again = RUNS[run](ENCODER, CardInField(chip))
        after = SCHOOL.read(CardInField(chip))
        if run in {"personalise", "reuse"}:
            assert isinstance(again, CardEncoded)
            assert again.card == after
            assert run == "personalise" or again.card not in {before, between}
        else:
            assert CardBlank() == again
            assert CardRefusal.NOT_ENCODED == after


def test_a_card_may_be_torn_again_and_again() -> None:
    """One command further each time: it still becomes a card."""
    chip = SimulatedDesfire(UID)
    for at in range(60):
        chip.tear(at)
        if isinstance(ENCODER.personalise(CardInField(chip)), CardEncoded):
            break
    chip.tear(None)
    assert isinstance(SCHOOL.read(CardInField(chip)), CardNumber)


def test_somebody_elses_chip_is_left_alone() -> None:
    """Neither our key nor the factory's: refused, and nothing on it has changed."""
    stranger = CardEncoder(EncodingKeys.from_master_secret(new_master_secret()), LAYOUT)
    chip = encoded()
    number = SCHOOL.read(CardInField(chip))
    for run in RUNS.values():
        assert EncodingStopped(EncodingStep.OWN_CHIP, EncodingStop.FOREIGN_CHIP) == run(stranger, CardInField(chip))
    assert number == SCHOOL.read(CardInField(chip))


def test_a_full_chip_says_so() -> None:
    """Formatting makes room on a used chip; here there is none at all."""
    chip = SimulatedDesfire(UID, memory_bytes=16)
    assert EncodingStopped(EncodingStep.APPLICATION, EncodingStop.FULL) == ENCODER.personalise(CardInField(chip))


def test_what_is_no_desfire_is_not_encoded() -> None:
    """A bank card on the encoder."""
    assert EncodingStopped(EncodingStep.IDENTIFY, EncodingStop.NOT_DESFIRE) == ENCODER.personalise(_OtherCard())


def test_the_station_sees_every_step() -> None:
    """In order, each once, for a new card."""
    steps: list[EncodingStep] = []
    CardEncoder(KEYS, LAYOUT, steps.append).personalise(CardInField(SimulatedDesfire(UID)))
    assert [step for step in EncodingStep if step not in {EncodingStep.FORMAT, EncodingStep.RELEASE_CHIP}] == steps


def test_a_terminals_keys_do_not_write() -> None:
    """The read key opens the file for reading alone."""
    chip = encoded()
    card = DesfireCard(CardInField(chip))
    card.select_application(DEFAULT_AID)
    card.authenticate(1, LAYOUT.card_key(KEYS.reading.read, UID, 1))
    with pytest.raises(CardStatusError) as refused:
        card.write_data(1, 0, b"\x01")
    assert Status.AUTHENTICATION_ERROR == refused.value.status
    with pytest.raises(CardMisused):  # the session is over on our side too
        card.read_data(1, 0, 32)


def test_keys_show_nowhere() -> None:
    """No key in a representation, no publicly known or doubled key taken."""
    assert "ReadingKeys()" == repr(KEYS.reading)
    assert KEYS.chip.hex() not in repr(KEYS)
    for refused in (bytes(32), b"\x01" * 32, bytes(range(31)), bytes(range(16)) * 2):
        with pytest.raises(CardKeysRefused):
            ReadingKeys.from_bytes(refused)


@pytest.mark.parametrize(("uai", "aid"), [("0311234", DEFAULT_AID), ("0311234a", DEFAULT_AID), ("0311234A", bytes(3))])
def test_impossible_layouts_are_refused(uai: str, aid: bytes) -> None:
    """A school's number or an application that cannot be."""
    with pytest.raises(CardKeysRefused):
        CardLayout(uai, aid)


def test_a_channel_that_ends_stays_ended() -> None:
    """A replaying emulator and a torn card: no answer after the end."""
    chip = encoded()
    chip.tear(0)
    channel = CardInField(chip)
    assert CardRefusal.TORN_AWAY == SCHOOL.read(channel)
    with pytest.raises(CardLost):
        channel.transmit(b"\x90\x60\x00\x00\x00")
    assert isinstance(simulated_card(CardState.REPLAYED, KEYS, LAYOUT), ReplayingChip)


def _file_of(chip: SimulatedDesfire) -> bytearray:
    return chip._applications[DEFAULT_AID[::-1]].files[1].data
