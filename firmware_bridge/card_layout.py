"""What the school writes on a card: one DESFire application with one enciphered file of 32 bytes.

     0       1                 9                         16                                32
     +-------+-----------------+-------------------------+---------------------------------+
     | format| UAI of school   | credential (random)     | tag: CMAC over AID, UID, bytes 0-15 |
     +-------+-----------------+-------------------------+---------------------------------+

The format byte is written last and cleared first, alone: while it is zero, the rest counts for nothing.

The credential is the `CardNumber` that the canteen knows: random, so that it says nothing about a chip or a pupil, and
new whenever the card goes to somebody else, so that a blocked number stays blocked.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field

from canteen.credentials import CardNumber
from firmware_bridge.desfire_crypto import cmac
from firmware_bridge.devices import CardRefusal
from firmware_bridge.errors import CardKeysRefused, CardMisused
from firmware_bridge.key_diversification import diversified_key

FORMAT_VERSION = 1
NOT_WRITTEN = 0
"""The format byte of a new file, and of one that is being written."""
UID_BYTES = 7
CREDENTIAL_BYTES = 7
_UAI = re.compile(r"[0-9]{7}[A-Z]")
_UAI_BYTES = 8
_TAGGED_BYTES = 1 + _UAI_BYTES + CREDENTIAL_BYTES
_TAG_BYTES = 16
FILE_BYTES = _TAGGED_BYTES + _TAG_BYTES
FILE_NUMBER = 1
APPLICATION_KEY = 0
"""Number of the key that may change keys and write."""
READ_KEY = 1
"""Number of the key that may read; terminals hold its master."""
KEY_COUNT = 2
ENCODED_KEY_VERSION = 1
"""A key of ours says so in its version, which anyone may ask for; a fresh application's keys are zeros, version 0."""
DEFAULT_AID = bytes.fromhex("C0CA17")
_SYSTEM = b"canteen"
"""The system identifier of AN10922's input. The UAI is not in it: schools of one county may share keys, and a card of
another of them must be told from a card with a wrong key."""


@dataclass(frozen=True, slots=True)
class CardLayout:
    """Where the school's data is on a card.

    Attributes:
        uai: the school's national number (seven digits and a letter).
        aid: the application's identifier, three bytes, most significant first, as it is usually written.
    """

    uai: str
    aid: bytes = DEFAULT_AID

    def __post_init__(self) -> None:
        if not _UAI.fullmatch(self.uai):
            raise CardKeysRefused("a school's number (UAI) has seven digits and a capital letter")
        if len(self.aid) != 3 or self.aid == bytes(3):
            raise CardKeysRefused("an application has three bytes, not all zero")

    def card_key(self, master: bytes, uid: bytes, key_number: int) -> bytes:
        """The key of one card for this application."""
        return diversified_key(master, uid + self.aid + bytes([key_number]) + _SYSTEM)

    def content(self, tag_key: bytes, uid: bytes, credential: bytes) -> bytes:
        """The file's 32 bytes for the chip `uid`."""
        if len(credential) != CREDENTIAL_BYTES or len(set(credential)) == 1:
            raise CardMisused(f"a credential has {CREDENTIAL_BYTES} random bytes")
        tagged = bytes([FORMAT_VERSION]) + self.uai.encode("ascii") + credential
        return tagged + self._tag(tag_key, uid, tagged)

    def parse(self, tag_key: bytes, uid: bytes, untrusted_content: bytes) -> CardNumber | CardRefusal:
        """The card's number, or why the content is refused."""
        tagged, tag = untrusted_content[:_TAGGED_BYTES], untrusted_content[_TAGGED_BYTES:]
        if len(untrusted_content) != FILE_BYTES:
            return CardRefusal.UNREADABLE
        if tagged[0] == NOT_WRITTEN:
            return CardRefusal.HALF_WRITTEN
        if tagged[0] != FORMAT_VERSION:
            return CardRefusal.UNKNOWN_FORMAT
        if not hmac.compare_digest(self._tag(tag_key, uid, tagged), tag):
            return CardRefusal.NOT_GENUINE
        if tagged[1 : 1 + _UAI_BYTES] != self.uai.encode("ascii"):
            return CardRefusal.OTHER_SCHOOL
        return CardNumber.from_bytes(tagged[1 + _UAI_BYTES :])

    def _tag(self, tag_key: bytes, uid: bytes, tagged: bytes) -> bytes:
        return cmac(tag_key, b"card" + self.aid + uid + tagged)


@dataclass(frozen=True, slots=True)
class ChipKey:
    """The chip's own master key for one card; independent of any application."""

    master: bytes = field(repr=False)

    def of(self, uid: bytes) -> bytes:
        """The key of the chip `uid`."""
        return diversified_key(self.master, uid + bytes(4) + _SYSTEM)
