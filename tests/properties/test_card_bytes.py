"""Whatever a card or a reader sends, nothing is raised but our own errors, and no number comes of it."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from canteen.credentials import CardNumber
from firmware_bridge.card_encoding import CardEncoded, CardEncoder, EncodingStopped
from firmware_bridge.card_keys import EncodingKeys
from firmware_bridge.card_layout import FILE_BYTES, CardLayout
from firmware_bridge.card_reading import SchoolCards, UidCards
from firmware_bridge.desfire import DesfireCard, FileSettings
from firmware_bridge.desfire_commands import FileProtection, parse_version
from firmware_bridge.desfire_crypto import SecureSession
from firmware_bridge.desfire_factory_key import replace_factory_key
from firmware_bridge.devices import CardRefusal
from firmware_bridge.errors import CardError, CardUnreadable
from firmware_bridge.simulated_card import CardInField
from firmware_bridge.simulated_desfire import SimulatedDesfire

UID = bytes.fromhex("04A1B2C3D4E5F6")
LAYOUT = CardLayout("0311234A")
KEYS = EncodingKeys.from_master_secret(bytes(range(32)))
SCHOOL = SchoolCards(KEYS.reading, LAYOUT)
ENCODER = CardEncoder(KEYS, LAYOUT)

statuses = st.sampled_from([b"\x91\x00", b"\x91\xaf", b"\x91\xae", b"\x91\xa0", b"\x91\xf0", b"\x90\x00", b"\x6e\x00"])
answers = st.one_of(
    st.binary(max_size=80),
    st.tuples(st.one_of(st.sampled_from([b"", bytes(1), bytes(8), bytes(16)]), st.binary(max_size=64)), statuses).map(
        b"".join
    ),
)


class Babbling:
    """A card that answers anything; the same for ever once its list has ended."""

    def __init__(self, said: list[bytes]) -> None:
        self._said = said
        self._at = -1

    def transmit(self, _apdu: bytes) -> bytes:
        self._at += 1
        return self._said[min(self._at, len(self._said) - 1)]


@given(st.lists(answers, min_size=1, max_size=12))
def test_a_babbling_card_gives_no_number(said: list[bytes]) -> None:
    """Random answers, many of them with the right status: always a reason, never a number, never an exception."""
    assert isinstance(SCHOOL.read(Babbling(said)), CardRefusal)
    assert isinstance(UidCards().read(Babbling(said)), CardNumber | CardRefusal)
    for run in (ENCODER.personalise, ENCODER.reuse, ENCODER.format, ENCODER.wipe):
        assert isinstance(run(Babbling(said)), EncodingStopped)


@given(st.lists(answers, min_size=1, max_size=6))
def test_every_command_survives_any_answer(said: list[bytes]) -> None:
    """Each command alone, without a session and with one."""
    for session in (None, SecureSession(bytes(range(16)))):
        commands: list[Callable[[DesfireCard], object]] = [
            lambda card: card.get_version(),
            lambda card: card.get_application_ids(),
            lambda card: card.get_key_settings(),
            lambda card: card.get_key_version(0),
            lambda card: card.get_file_ids(),
            lambda card: card.get_file_settings(1),
            lambda card: card.create_std_data_file(1, FileSettings(FileProtection.ENCIPHERED, (1, 0, 0, 0), 32)),
            lambda card: card.authenticate(0, bytes(16)),
            lambda card: replace_factory_key(card, bytes(16), 1),
        ]
        if session is not None:
            commands += [
                lambda card: card.read_data(1, 0, 32),
                lambda card: card.write_data(1, 0, bytes(40)),
                lambda card: card.change_key(0, bytes(16), 1),
                lambda card: card.change_key(1, bytes(16), 1, bytes(16)),
            ]
        for command in commands:
            card = DesfireCard(Babbling(said))
            card._session, card._session_key_number = session, 0
            try:
                command(card)
            except CardError:
                pass


@settings(max_examples=60)
@given(st.integers(0, 40), st.binary(min_size=1, max_size=64), st.booleans())
def test_one_wrong_answer_never_gives_another_number(at: int, noise: bytes, replace: bool) -> None:
    """One answer of a genuine card changed or replaced: the card's own number, or a reason."""
    chip = SimulatedDesfire(UID)
    made = ENCODER.personalise(CardInField(chip))
    assert isinstance(made, CardEncoded)
    genuine = CardInField(chip)

    class Noisy:
        left = at

        def transmit(self, apdu: bytes) -> bytes:
            answer = genuine.transmit(apdu)
            self.left -= 1
            if self.left >= 0:
                return answer
            self.left = 1000
            mask = noise[: len(answer)].ljust(len(answer), b"\0")
            return noise if replace else bytes(a ^ b for a, b in zip(answer, mask, strict=True))

    read = SCHOOL.read(Noisy())
    assert isinstance(read, CardRefusal) or read == made.card


@given(st.binary(max_size=FILE_BYTES + 4))
def test_any_content_has_a_reason(content: bytes) -> None:
    """Thirty-two random bytes are no card."""
    assert isinstance(LAYOUT.parse(KEYS.reading.tag, UID, content), CardRefusal)


@given(st.binary(min_size=7, max_size=7).filter(lambda credential: len(set(credential)) > 1), st.integers(0, 255))
def test_content_reads_back_and_every_bit_counts(credential: bytes, bit: int) -> None:
    """Write, read; and one changed bit anywhere is refused."""
    content = LAYOUT.content(KEYS.reading.tag, UID, credential)
    assert CardNumber.from_bytes(credential) == LAYOUT.parse(KEYS.reading.tag, UID, content)
    changed = (int.from_bytes(content, "big") ^ (1 << bit)).to_bytes(FILE_BYTES, "big")
    assert isinstance(LAYOUT.parse(KEYS.reading.tag, UID, changed), CardRefusal)


@given(st.lists(st.binary(max_size=16), max_size=4))
def test_any_version_is_read_or_refused(frames: list[bytes]) -> None:
    """Three frames of the right lengths from NXP, or an error of ours."""
    try:
        parse_version(frames)
    except CardUnreadable:
        pass


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=8))
def test_the_simulated_chip_answers_anything(commands: list[bytes]) -> None:
    """The twin holds as well: an answer with a status to every command."""
    chip = SimulatedDesfire(UID)
    chip.power_up()
    for command in commands:
        answer = chip.apdu(command)
        assert answer is not None
        assert len(answer) >= 2
