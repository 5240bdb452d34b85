"""Making the school's cards: format, personalise, verify, re-use, wipe.

Every step looks first at what the card already is and does only what is missing. So there is no state to keep between
runs: a card taken away at any moment, however often, is finished by presenting it again.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from canteen.credentials import CardNumber
from firmware_bridge.card_keys import EncodingKeys
from firmware_bridge.card_layout import (
    APPLICATION_KEY,
    CREDENTIAL_BYTES,
    ENCODED_KEY_VERSION,
    FILE_BYTES,
    FILE_NUMBER,
    KEY_COUNT,
    NOT_WRITTEN,
    READ_KEY,
    UID_BYTES,
    CardLayout,
    ChipKey,
)
from firmware_bridge.card_reading import SchoolCards
from firmware_bridge.desfire import (
    FACTORY_AES_KEY,
    PICC_AES_KEY_NUMBER,
    PICC_AID,
    CardChannel,
    DesfireCard,
    FileSettings,
)
from firmware_bridge.desfire_commands import FileProtection, Status
from firmware_bridge.desfire_factory_key import replace_factory_key
from firmware_bridge.devices import CardRefusal
from firmware_bridge.errors import CardError, CardKeyWrong, CardLost, CardStatusError, CardUnreadable

_APPLICATION_SETTINGS = 0x0B
"""Its key 0 changes every key; files are listed by anyone, made and deleted by key 0; the settings stay changeable."""
_FILE_SETTINGS = FileSettings(
    FileProtection.ENCIPHERED, (READ_KEY, APPLICATION_KEY, APPLICATION_KEY, APPLICATION_KEY), FILE_BYTES
)
_FACTORY_KEY_VERSION = 0
_T = TypeVar("_T")


class EncodingStep(enum.StrEnum):
    """Where encoding is, for the station's page."""

    IDENTIFY = "identify"
    OWN_CHIP = "own_chip"
    FORMAT = "format"
    APPLICATION = "application"
    KEYS = "keys"
    FILE = "file"
    WRITE = "write"
    VERIFY = "verify"
    RELEASE_CHIP = "release_chip"


class EncodingStop(enum.StrEnum):
    """Why encoding did not come to its end."""

    TORN_AWAY = "torn_away"
    """The card was taken away: present it again, nothing is lost."""
    NOT_DESFIRE = "not_desfire"
    RANDOM_UID = "random_uid"
    FOREIGN_CHIP = "foreign_chip"
    """The chip's key is neither ours nor the factory's: somebody else's card. Nothing was changed."""
    FOREIGN_APPLICATION = "foreign_application"
    """The chip is ours, the application is under other keys: an older secret. Formatting takes it over."""
    FULL = "full"
    """No memory left on the chip: formatting makes room."""
    FAILED = "failed"
    """The card answered with an error, or with nonsense."""


@dataclass(frozen=True, slots=True)
class CardEncoded:
    """The card is complete and was read back as a terminal reads it.

    Attributes:
        fresh: the number was written now; otherwise the card had it already.
    """

    card: CardNumber
    fresh: bool


@dataclass(frozen=True, slots=True)
class CardBlank:
    """The card carries nothing of the school's."""


@dataclass(frozen=True, slots=True)
class EncodingStopped:
    """What was reached, and why not more."""

    step: EncodingStep
    reason: EncodingStop


class _Stop(Exception):
    def __init__(self, reason: EncodingStop) -> None:
        super().__init__(reason.value)
        self.reason = reason


class CardEncoder:
    """Makes cards of one school, one at a time."""

    def __init__(
        self,
        keys: EncodingKeys,
        layout: CardLayout,
        on_step: Callable[[EncodingStep], None] = lambda _: None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._keys = keys
        self._layout = layout
        self._chip_key = ChipKey(keys.chip)
        self._reading = SchoolCards(keys.reading, layout)
        self._on_step = on_step
        self._random_bytes = random_bytes
        self._step = EncodingStep.IDENTIFY

    def format(self, channel: CardChannel) -> CardBlank | EncodingStopped:
        """Make the chip ours and empty: whatever was on it is gone."""

        def steps() -> CardBlank:
            card, uid = self._identify(channel)
            self._own_chip(card, uid)
            self._at(EncodingStep.FORMAT)
            card.format_picc()
            return CardBlank()

        return self._run(steps)

    def personalise(self, channel: CardChannel) -> CardEncoded | EncodingStopped:
        """Make a card of the school; one that is complete keeps its number, one that is not is finished."""
        return self._run(lambda: self._encode(channel, keep=True))

    def reuse(self, channel: CardChannel) -> CardEncoded | EncodingStopped:
        """Give the card a new number for another pupil; the old number never comes back."""
        return self._run(lambda: self._encode(channel, keep=False))

    def verify(self, channel: CardChannel) -> CardNumber | CardRefusal:
        """Read the card as a terminal does."""
        return self._reading.read(channel)

    def wipe(self, channel: CardChannel) -> CardBlank | EncodingStopped:
        """Take everything of the school's off the card; its chip key is zeros again, now AES."""

        def steps() -> CardBlank:
            card, uid = self._identify(channel)
            self._own_chip(card, uid)
            self._at(EncodingStep.FORMAT)
            card.format_picc()
            self._at(EncodingStep.RELEASE_CHIP)
            card.change_key(PICC_AES_KEY_NUMBER, FACTORY_AES_KEY, _FACTORY_KEY_VERSION)
            return CardBlank()

        return self._run(steps)

    def _run(self, steps: Callable[[], _T]) -> _T | EncodingStopped:
        self._step = EncodingStep.IDENTIFY
        try:
            return steps()
        except _Stop as stop:
            return EncodingStopped(self._step, stop.reason)
        except CardLost:
            return EncodingStopped(self._step, EncodingStop.TORN_AWAY)
        except CardStatusError as error:
            full = error.status == Status.OUT_OF_MEMORY
            return EncodingStopped(self._step, EncodingStop.FULL if full else EncodingStop.FAILED)
        except CardError:
            return EncodingStopped(self._step, EncodingStop.FAILED)

    def _at(self, step: EncodingStep) -> None:
        self._step = step
        self._on_step(step)

    def _encode(self, channel: CardChannel, *, keep: bool) -> CardEncoded:
        """All steps to a complete card."""
        card, uid = self._identify(channel)
        self._own_chip(card, uid)
        self._application(card)
        self._set_keys(card, uid)
        self._file(card)
        self._at(EncodingStep.WRITE)
        found = self._layout.parse(self._keys.reading.tag, uid, card.read_data(FILE_NUMBER, 0, FILE_BYTES))
        fresh = not keep or not isinstance(found, CardNumber)
        if fresh:
            self._write(card, uid)
        self._at(EncodingStep.VERIFY)
        read = self._reading.read(channel)
        if not isinstance(read, CardNumber):
            raise _Stop(EncodingStop.TORN_AWAY if read is CardRefusal.TORN_AWAY else EncodingStop.FAILED)
        return CardEncoded(read, fresh)

    def _identify(self, channel: CardChannel) -> tuple[DesfireCard, bytes]:
        self._at(EncodingStep.IDENTIFY)
        card = DesfireCard(channel, self._random_bytes)
        try:
            version = card.get_version()
        except (CardUnreadable, CardStatusError) as error:
            raise _Stop(EncodingStop.NOT_DESFIRE) from error
        if version.uid == bytes(UID_BYTES):
            raise _Stop(EncodingStop.RANDOM_UID)
        return card, version.uid

    def _own_chip(self, card: DesfireCard, uid: bytes) -> None:
        """A session at the chip's level under our key, taking it over from the factory's where need be."""
        self._at(EncodingStep.OWN_CHIP)
        ours = self._chip_key.of(uid)
        card.select_application(PICC_AID)
        if _accepts(card, APPLICATION_KEY, ours):
            return
        if _accepts(card, APPLICATION_KEY, FACTORY_AES_KEY):
            card.change_key(PICC_AES_KEY_NUMBER, ours, ENCODED_KEY_VERSION)
        else:
            try:
                replace_factory_key(card, ours, ENCODED_KEY_VERSION, self._random_bytes)
            except CardKeyWrong as error:
                raise _Stop(EncodingStop.FOREIGN_CHIP) from error
        card.authenticate(APPLICATION_KEY, ours)

    def _application(self, card: DesfireCard) -> None:
        """The school's application exists and is selected."""
        self._at(EncodingStep.APPLICATION)
        if self._layout.aid not in card.get_application_ids():
            card.create_application(self._layout.aid, _APPLICATION_SETTINGS, KEY_COUNT)
        card.select_application(self._layout.aid)

    def _set_keys(self, card: DesfireCard, uid: bytes) -> None:
        """A session under the application's own key, and both keys ours."""
        self._at(EncodingStep.KEYS)
        application_key = self._layout.card_key(self._keys.application, uid, APPLICATION_KEY)
        read_key = self._layout.card_key(self._keys.reading.read, uid, READ_KEY)
        fresh = card.get_key_version(APPLICATION_KEY) != ENCODED_KEY_VERSION
        if not _accepts(card, APPLICATION_KEY, FACTORY_AES_KEY if fresh else application_key):
            raise _Stop(EncodingStop.FOREIGN_APPLICATION)
        if fresh:
            card.change_key(APPLICATION_KEY, application_key, ENCODED_KEY_VERSION)
            card.authenticate(APPLICATION_KEY, application_key)
        if card.get_key_version(READ_KEY) != ENCODED_KEY_VERSION:
            card.change_key(READ_KEY, read_key, ENCODED_KEY_VERSION, old_key=FACTORY_AES_KEY)

    def _file(self, card: DesfireCard) -> None:
        """The file exists and is kept as it must be."""
        self._at(EncodingStep.FILE)
        if FILE_NUMBER in card.get_file_ids():
            if card.get_file_settings(FILE_NUMBER) == _FILE_SETTINGS:
                return
            card.delete_file(FILE_NUMBER)
        card.create_std_data_file(FILE_NUMBER, _FILE_SETTINGS)

    def _write(self, card: DesfireCard, uid: bytes) -> None:
        """A new number: the format byte alone is cleared first and set last (see `card_layout`)."""
        credential = self._random_bytes(CREDENTIAL_BYTES)
        content = self._layout.content(self._keys.reading.tag, uid, credential)
        card.write_data(FILE_NUMBER, 0, bytes([NOT_WRITTEN]))
        card.write_data(FILE_NUMBER, 1, content[1:])
        card.write_data(FILE_NUMBER, 0, content[:1])


def _accepts(card: DesfireCard, key_number: int, key: bytes) -> bool:
    """Whether the card has this key; if so there is a session."""
    try:
        card.authenticate(key_number, key)
    except CardKeyWrong:
        return False
    return True
