"""The school's card keys: what a terminal holds to read cards, and what the station holds to make them.

Everything comes from one secret of 32 bytes at the station. A terminal gets two keys derived from it: with these one
can read cards and, AES being symmetric, imitate one whose chip number is known; one cannot write to a card.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firmware_bridge.desfire_crypto import KEY_BYTES
from firmware_bridge.errors import CardKeysRefused

MASTER_SECRET_BYTES = 32
READING_KEYS_BYTES = 2 * KEY_BYTES


@dataclass(frozen=True, slots=True)
class ReadingKeys:
    """What a terminal holds.

    Attributes:
        read: master of the key that opens a card's file for reading; diversified per card.
        tag: checks that the file's content was made by this school for this chip.
    """

    read: bytes = field(repr=False)
    tag: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for key in (self.read, self.tag):
            _check(key, KEY_BYTES)
        if self.read == self.tag:
            raise CardKeysRefused("the two reading keys must differ")

    @classmethod
    def from_bytes(cls, reading_keys: bytes) -> ReadingKeys:
        """The keys as `to_bytes` wrote them, for a terminal's private file.

        Raises:
            CardKeysRefused: not 32 bytes, or no secret.
        """
        _check(reading_keys, READING_KEYS_BYTES)
        return cls(reading_keys[:KEY_BYTES], reading_keys[KEY_BYTES:])

    def to_bytes(self) -> bytes:
        """32 secret bytes."""
        return self.read + self.tag


@dataclass(frozen=True, slots=True)
class EncodingKeys:
    """What the station holds.

    Attributes:
        reading: what the terminals get.
        application: master of the key that may change the school's application on a card; diversified per card.
        chip: master of the key that may format the chip; diversified per card.
    """

    reading: ReadingKeys
    application: bytes = field(repr=False)
    chip: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for key in (self.application, self.chip):
            _check(key, KEY_BYTES)

    @classmethod
    def from_master_secret(cls, master_secret: bytes) -> EncodingKeys:
        """All four keys; each says nothing about the others.

        Raises:
            CardKeysRefused: not 32 bytes, or no secret.
        """
        _check(master_secret, MASTER_SECRET_BYTES)
        read, tag, application, chip = (_derived(master_secret, use) for use in ("read", "tag", "application", "chip"))
        return cls(ReadingKeys(read, tag), application, chip)


def new_master_secret() -> bytes:
    """32 random bytes. Losing them means that no card can be changed or read any more: keep a copy in a safe."""
    return secrets.token_bytes(MASTER_SECRET_BYTES)


def _derived(master_secret: bytes, use: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"canteen card key: " + use.encode()).derive(master_secret)


def _check(key: bytes, length: int) -> None:
    if len(key) != length:
        raise CardKeysRefused(f"a key of {length} bytes is wanted here")
    if len(set(key)) == 1:
        raise CardKeysRefused("a publicly known key is no key")
