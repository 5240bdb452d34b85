"""From a card in the field to its number, or to the reason why there is none. The only two ways that exist.

`SchoolCards` is the way: the chip must prove that it holds a key made for it. `UidCards` is for schools whose pupils
already carry transport or ENT cards, and is weak: a chip number is sent in clear to any reader, some telephones and
every cheap emulator can send any number, so a card seen once can be copied. It is off unless a configuration asks for
it, and every page that shows the configuration must say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from canteen.credentials import CardNumber
from firmware_bridge.card_keys import ReadingKeys
from firmware_bridge.card_layout import ENCODED_KEY_VERSION, FILE_BYTES, FILE_NUMBER, READ_KEY, UID_BYTES, CardLayout
from firmware_bridge.desfire import CardChannel, DesfireCard
from firmware_bridge.desfire_commands import Status
from firmware_bridge.devices import CardRefusal
from firmware_bridge.errors import (
    CardKeyWrong,
    CardLost,
    CardProofWrong,
    CardSessionSpoiled,
    CardStatusError,
    CardUnreadable,
)

_GET_UID = bytes.fromhex("FFCA000000")
"""PC/SC part 3: the number that the card gave in anticollision; the reader answers, not the card."""
_SUCCESS = b"\x90\x00"
_RANDOM_UID_MARK = 0x08
"""ISO/IEC 14443-3: a number of four bytes that begins so is a new one each time."""
_UID_SIZES = (4, 7, 10)
_ABSENT = (Status.FILE_NOT_FOUND, Status.NO_SUCH_KEY)


class CardReading(Protocol):
    """How this school reads cards."""

    def read(self, channel: CardChannel) -> CardNumber | CardRefusal:
        """The number of the card in the field, or why not; raises nothing that a card could cause."""
        ...


@dataclass(frozen=True, slots=True)
class SchoolCards:
    """Cards encoded by the school's own station."""

    keys: ReadingKeys
    layout: CardLayout

    def read(self, channel: CardChannel) -> CardNumber | CardRefusal:
        """The number of the card in the field, or why not."""
        card = DesfireCard(channel)
        try:
            radio_uid = _radio_uid(channel)
            try:
                version = card.get_version()
            except (CardUnreadable, CardStatusError):
                return CardRefusal.NOT_DESFIRE
            if version.uid == bytes(UID_BYTES) or _is_random(radio_uid):
                return CardRefusal.RANDOM_UID
            if radio_uid is not None and radio_uid != version.uid:
                return CardRefusal.COPIED_UID
            return self._read_file(card, version.uid)
        except CardLost:
            return CardRefusal.TORN_AWAY
        except CardKeyWrong:
            return CardRefusal.WRONG_KEY
        except CardProofWrong:
            return CardRefusal.REPLAYED_SESSION
        except CardSessionSpoiled:
            return CardRefusal.SPOILED_SESSION
        except (CardUnreadable, CardStatusError):
            return CardRefusal.UNREADABLE

    def _read_file(self, card: DesfireCard, uid: bytes) -> CardNumber | CardRefusal:
        try:
            card.select_application(self.layout.aid)
        except CardStatusError as error:
            if error.status == Status.APPLICATION_NOT_FOUND:
                return CardRefusal.NOT_ENCODED
            raise
        try:
            if card.get_key_version(READ_KEY) != ENCODED_KEY_VERSION:
                return CardRefusal.HALF_WRITTEN
            card.authenticate(READ_KEY, self.layout.card_key(self.keys.read, uid, READ_KEY))
            untrusted_content = card.read_data(FILE_NUMBER, 0, FILE_BYTES)
        except CardStatusError as error:
            if error.status in _ABSENT:
                return CardRefusal.HALF_WRITTEN
            raise
        return self.layout.parse(self.keys.tag, uid, untrusted_content)


@dataclass(frozen=True, slots=True)
class UidCards:
    """Any contactless card, by its chip number alone: off by default, and weak (see above)."""

    def read(self, channel: CardChannel) -> CardNumber | CardRefusal:
        """The number of the card in the field, or why not."""
        try:
            uid = _radio_uid(channel)
        except CardLost:
            return CardRefusal.TORN_AWAY
        if uid is None:
            return CardRefusal.UNREADABLE
        if _is_random(uid):
            return CardRefusal.RANDOM_UID
        return CardNumber.from_bytes(uid)


def _radio_uid(channel: CardChannel) -> bytes | None:
    """The number the reader saw; None where the reader cannot say, or says nonsense."""
    untrusted = channel.transmit(_GET_UID)
    uid = untrusted[:-2]
    return uid if untrusted[-2:] == _SUCCESS and len(uid) in _UID_SIZES else None


def _is_random(uid: bytes | None) -> bool:
    return uid is not None and len(uid) == 4 and uid[0] == _RANDOM_UID_MARK
