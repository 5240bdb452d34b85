"""What DESFire calls things: command codes, status codes, version answers. Numbers as in NXP's EV1 data sheet."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from firmware_bridge.errors import CardUnreadable


class Command(enum.IntEnum):
    """The commands that this client sends."""

    AUTHENTICATE_ISO = 0x1A
    AUTHENTICATE_AES = 0xAA
    ADDITIONAL_FRAME = 0xAF
    CHANGE_KEY = 0xC4
    CREATE_APPLICATION = 0xCA
    CREATE_STD_DATA_FILE = 0xCD
    DELETE_APPLICATION = 0xDA
    DELETE_FILE = 0xDF
    FORMAT_PICC = 0xFC
    GET_APPLICATION_IDS = 0x6A
    GET_FILE_IDS = 0x6F
    GET_FILE_SETTINGS = 0xF5
    GET_KEY_SETTINGS = 0x45
    GET_KEY_VERSION = 0x64
    GET_VERSION = 0x60
    READ_DATA = 0xBD
    SELECT_APPLICATION = 0x5A
    WRITE_DATA = 0x3D


class Status(enum.IntEnum):
    """The status byte of an answer."""

    OK = 0x00
    NO_CHANGES = 0x0C
    OUT_OF_MEMORY = 0x0E
    ILLEGAL_COMMAND = 0x1C
    INTEGRITY_ERROR = 0x1E
    NO_SUCH_KEY = 0x40
    LENGTH_ERROR = 0x7E
    PERMISSION_DENIED = 0x9D
    PARAMETER_ERROR = 0x9E
    APPLICATION_NOT_FOUND = 0xA0
    APPLICATION_INTEGRITY_ERROR = 0xA1
    AUTHENTICATION_ERROR = 0xAE
    ADDITIONAL_FRAME = 0xAF
    BOUNDARY_ERROR = 0xBE
    CARD_INTEGRITY_ERROR = 0xC1
    COMMAND_ABORTED = 0xCA
    CARD_DISABLED = 0xCD
    COUNT_ERROR = 0xCE
    DUPLICATE = 0xDE
    MEMORY_ERROR = 0xEE
    FILE_NOT_FOUND = 0xF0
    FILE_INTEGRITY_ERROR = 0xF1


class FileProtection(enum.IntEnum):
    """How a file's bytes travel."""

    PLAIN = 0
    MACED = 1
    ENCIPHERED = 3


class Generation(enum.StrEnum):
    """The chip's generation, by the major number of its hardware."""

    EV0 = "ev0"
    EV1 = "ev1"
    EV2 = "ev2"
    EV3 = "ev3"
    OTHER = "other"


_GENERATIONS = {0x00: Generation.EV0, 0x01: Generation.EV1, 0x12: Generation.EV2, 0x33: Generation.EV3}
_NXP = 0x04
_DESFIRE_TYPES = (0x01, 0x81)
"""The second byte of a version: a chip, or a chip's application in a telephone or a wearable."""


@dataclass(frozen=True, slots=True)
class CardVersion:
    """What a chip says of itself, unauthenticated.

    Attributes:
        uid: its serial number; zeros when it shows a random one on the air.
        storage_bytes: size of its memory, rounded down to a power of two.
    """

    generation: Generation
    uid: bytes
    storage_bytes: int


def parse_version(untrusted_frames: list[bytes]) -> CardVersion:
    """The three frames of a version answer: hardware, software, production.

    Raises:
        CardUnreadable: not as a DESFire chip says it.
    """
    if [len(frame) for frame in untrusted_frames] != [7, 7, 14]:
        raise CardUnreadable("a version has 7, 7 and 14 bytes")
    hardware, _, production = untrusted_frames
    if hardware[0] != _NXP or hardware[1] not in _DESFIRE_TYPES:
        raise CardUnreadable("not a DESFire chip")
    return CardVersion(_GENERATIONS.get(hardware[3], Generation.OTHER), production[:7], 1 << (hardware[5] >> 1))
