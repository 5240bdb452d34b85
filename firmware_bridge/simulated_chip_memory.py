"""What the simulated chip keeps and forgets: keys, files, applications, and the session from the card's side."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from firmware_bridge.desfire_commands import Status
from firmware_bridge.desfire_crypto import (
    BLOCK_BYTES,
    KEY_BYTES,
    MAC_BYTES,
    cmac,
    decrypt_cbc,
    encrypt_cbc,
    pad_with_zeros,
)
from firmware_bridge.desfire_factory_key import DES_BLOCK_BYTES, decrypt_des

_ANYONE = 14
_ZERO_BLOCK = bytes(BLOCK_BYTES)


class TearPhase(enum.StrEnum):
    """When the card leaves the field, as seen from one command."""

    BEFORE = "before"
    """The command never arrives."""
    DURING = "during"
    """Half of what it writes is written; a change of key is whole or not at all, here whole."""
    AFTER = "after"
    """Carried out; the answer is lost."""


class ChipRefusal(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True)
class ChipKeySlot:
    value: bytes = field(default=bytes(KEY_BYTES), repr=False)
    version: int = 0


@dataclass(slots=True)
class ChipFile:
    protection: int
    access: bytes
    data: bytearray = field(repr=False)

    def may(self, key_number: int | None, *positions: int) -> bool:
        """Whether a session under `key_number` has one of the rights: 0 read, 1 write, 2 both, 3 change."""
        low, high = self.access
        rights = (high >> 4, high & 15, low >> 4, low & 15)
        return any(rights[at] == _ANYONE or (key_number is not None and rights[at] == key_number) for at in positions)


@dataclass(slots=True)
class ChipApplication:
    settings: int
    keys: list[ChipKeySlot]
    files: dict[int, ChipFile] = field(default_factory=dict)


@dataclass(slots=True)
class ChipSession:
    key: bytes = field(repr=False)
    key_number: int
    iv: bytes = _ZERO_BLOCK
    des: bool = False

    def mac(self, message: bytes) -> bytes:
        self.iv = cmac(self.key, message, self.iv)
        return self.iv[:MAC_BYTES]

    def decipher(self, cipher: bytes) -> bytes:
        if not cipher or len(cipher) % (DES_BLOCK_BYTES if self.des else BLOCK_BYTES):
            raise ChipRefusal(Status.LENGTH_ERROR)
        if self.des:
            return decrypt_des(self.key, bytes(DES_BLOCK_BYTES), cipher)
        plain = decrypt_cbc(self.key, self.iv, cipher)
        self.iv = cipher[-BLOCK_BYTES:]
        return plain

    def encipher(self, plain: bytes) -> bytes:
        cipher = encrypt_cbc(self.key, self.iv, pad_with_zeros(plain))
        self.iv = cipher[-BLOCK_BYTES:]
        return cipher
