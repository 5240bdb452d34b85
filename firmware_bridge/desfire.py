"""A DESFire EV1 client under AES: commands, mutual authentication, and the session that protects what follows.

EV2 and EV3 chips speak the same when asked with command 0xAA. Everything that a card answers is checked before it is
believed; whatever is wrong with it ends the session and is one of `errors.CardError`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from firmware_bridge.desfire_commands import CardVersion, Command, FileProtection, Status, parse_version
from firmware_bridge.desfire_crypto import (
    BLOCK_BYTES,
    CRC_BYTES,
    KEY_BYTES,
    MAC_BYTES,
    SecureSession,
    aes_session_key,
    crc32,
    decrypt_cbc,
    encrypt_cbc,
    rotated,
)
from firmware_bridge.errors import (
    CardKeyWrong,
    CardMisused,
    CardProofWrong,
    CardSessionSpoiled,
    CardStatusError,
    CardUnreadable,
)

PICC_AID = bytes(3)
"""The chip itself, where its master key and the list of applications are."""
FACTORY_AES_KEY = bytes(KEY_BYTES)
PICC_AES_KEY_NUMBER = 0x80
"""Key 0 of the chip, with the bit that makes it an AES key."""
_CLASS = 0x90
_STATUS_WORD = 0x91
_ISO_OVERHEAD = 6
_FRAME_MAX = 60
"""What fits in one ISO/IEC 14443-4 block of 64 bytes; EV1 chips do not put wrapped commands together from several."""
_WRITE_MAX = 28
"""With its CRC two AES blocks, with its header 39 bytes: fits in one frame."""
_ANSWER_MAX = 2048
_FRAMES_MAX = 64
"""A card that goes on for ever is no card: real answers here have three frames at most."""
_AES_KEYS = 0x80


class CardChannel(Protocol):
    """The way to one card that is in the field now."""

    def transmit(self, apdu: bytes) -> bytes:
        """Send one command and wait for its answer.

        Raises:
            CardLost: the card or the reader is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How a standard data file is kept.

    Attributes:
        access: the numbers of the keys that may read, write, do both, and change this; 14 is anyone, 15 nobody.
    """

    protection: FileProtection
    access: tuple[int, int, int, int]
    size: int


class DesfireCard:
    """One card in the field, and the session with it if there is one."""

    def __init__(self, channel: CardChannel, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._channel = channel
        self._random_bytes = random_bytes
        self._session: SecureSession | None = None
        self._session_key_number: int | None = None

    # The card itself

    def get_version(self) -> CardVersion:
        """Generation, chip number, memory. Goes to the chip's level first: a session of before would add a MAC.

        Raises:
            CardError: see errors.
        """
        self.select_application(PICC_AID)
        frames: list[bytes] = []
        status, untrusted = self.exchange(Command.GET_VERSION)
        while status == Status.ADDITIONAL_FRAME and len(frames) < 3:
            frames.append(untrusted)
            status, untrusted = self.exchange(Command.ADDITIONAL_FRAME)
        if status != Status.OK:
            raise CardStatusError(status)
        return parse_version([*frames, untrusted])

    def select_application(self, aid: bytes) -> None:
        """Go to an application (identifier as written, most significant byte first); ends the session."""
        self._end_session()
        status, untrusted = self.exchange(Command.SELECT_APPLICATION, _aid_on_card(aid))
        if status != Status.OK:
            raise CardStatusError(status)
        if untrusted:
            raise CardUnreadable("selecting answers nothing")

    def authenticate(self, key_number: int, key: bytes) -> None:
        """Prove to each other that both hold `key`, and begin a session.

        Raises:
            CardKeyWrong: the card does not accept our proof.
            CardProofWrong: we do not accept the card's.
            CardError: anything else that goes wrong.
        """
        if len(key) != KEY_BYTES:
            raise CardMisused("an AES key has 16 bytes")
        self._end_session()
        status, untrusted_challenge = self.exchange(Command.AUTHENTICATE_AES, bytes([key_number]))
        if status == Status.AUTHENTICATION_ERROR:
            raise CardKeyWrong("the card's key is of another kind")
        if status != Status.ADDITIONAL_FRAME:
            raise CardStatusError(status)
        if len(untrusted_challenge) != BLOCK_BYTES:
            raise CardUnreadable("a challenge has 16 bytes")
        rnd_a, rnd_b = self._random_bytes(BLOCK_BYTES), decrypt_cbc(key, bytes(BLOCK_BYTES), untrusted_challenge)
        ours = encrypt_cbc(key, untrusted_challenge, rnd_a + rotated(rnd_b))
        status, untrusted_proof = self.exchange(Command.ADDITIONAL_FRAME, ours)
        if status == Status.AUTHENTICATION_ERROR:
            raise CardKeyWrong("the card refused our proof")
        if status != Status.OK:
            raise CardStatusError(status)
        if len(untrusted_proof) != BLOCK_BYTES:
            raise CardUnreadable("a proof has 16 bytes")
        if not secrets.compare_digest(decrypt_cbc(key, ours[-BLOCK_BYTES:], untrusted_proof), rotated(rnd_a)):
            raise CardProofWrong("the card's proof is wrong")
        self._session = SecureSession(aes_session_key(rnd_a, rnd_b))
        self._session_key_number = key_number

    def format_picc(self) -> None:
        """Delete every application; the chip's key stays. Under the chip's key."""
        self._command(Command.FORMAT_PICC)

    # Applications and keys

    def get_application_ids(self) -> list[bytes]:
        """Identifiers of the applications on the card, as written."""
        untrusted = self._command(Command.GET_APPLICATION_IDS)
        if len(untrusted) % 3:
            raise CardUnreadable("application identifiers have three bytes")
        return [untrusted[at : at + 3][::-1] for at in range(0, len(untrusted), 3)]

    def create_application(self, aid: bytes, key_settings: int, key_count: int) -> None:
        """A new application with `key_count` AES keys of zeros."""
        if not 1 <= key_count <= 14:
            raise CardMisused("an application has 1 to 14 keys")
        self._command(Command.CREATE_APPLICATION, _aid_on_card(aid) + bytes([key_settings, _AES_KEYS | key_count]))

    def delete_application(self, aid: bytes) -> None:
        """Delete an application with all its files; from the chip's level, under the chip's key."""
        self._command(Command.DELETE_APPLICATION, _aid_on_card(aid))

    def get_key_settings(self) -> tuple[int, int]:
        """The settings byte, and the number of keys with their kind in its upper bits."""
        untrusted = self._command(Command.GET_KEY_SETTINGS)
        if len(untrusted) != 2:
            raise CardUnreadable("key settings have two bytes")
        return untrusted[0], untrusted[1]

    def get_key_version(self, key_number: int) -> int:
        """The version of a key; anyone may ask."""
        untrusted = self._command(Command.GET_KEY_VERSION, bytes([key_number]))
        if len(untrusted) != 1:
            raise CardUnreadable("a key's version is one byte")
        return untrusted[0]

    def change_key(self, key_number: int, new_key: bytes, new_version: int, old_key: bytes | None = None) -> None:
        """Replace a key by another AES key.

        Args:
            key_number: `PICC_AES_KEY_NUMBER` for the chip's own.
            new_key: 16 bytes.
            new_version: 0 to 255, told to anyone who asks.
            old_key: the key now, where it is not the one of this session; None for the session's own, which ends it.
        """
        session = self._open_session()
        own = key_number & 0x3F == self._session_key_number
        if len(new_key) != KEY_BYTES or not 0 <= new_version <= 255 or own == (old_key is not None):
            raise CardMisused("an AES key has 16 bytes; an old key goes with every key but the session's own")
        header = bytes([key_number])
        payload = new_key if old_key is None else bytes(a ^ b for a, b in zip(new_key, old_key, strict=True))
        payload += bytes([new_version])
        checks = crc32(bytes([Command.CHANGE_KEY]) + header + payload) + (b"" if old_key is None else crc32(new_key))
        untrusted = self._checked(Command.CHANGE_KEY, header + session.encipher(payload + checks))
        if own:
            self._end_session()
            if untrusted:
                raise CardUnreadable("changing the session's own key answers nothing")
        else:
            self._take_apart(session, untrusted)

    # Files

    def get_file_ids(self) -> list[int]:
        """Numbers of the application's files."""
        return list(self._command(Command.GET_FILE_IDS))

    def get_file_settings(self, file_number: int) -> FileSettings | None:
        """Settings of a standard data file; None for a file of another kind."""
        untrusted = self._command(Command.GET_FILE_SETTINGS, bytes([file_number]))
        if len(untrusted) < 7:
            raise CardUnreadable("a file's settings have seven bytes at least")
        protections = {protection.value: protection for protection in FileProtection}
        if untrusted[0] != 0 or len(untrusted) != 7 or untrusted[1] not in protections:
            return None
        low, high = untrusted[2], untrusted[3]
        access = (high >> 4, high & 15, low >> 4, low & 15)
        return FileSettings(protections[untrusted[1]], access, int.from_bytes(untrusted[4:7], "little"))

    def create_std_data_file(self, file_number: int, settings: FileSettings) -> None:
        """A new file of zeros."""
        read, write, both, change = settings.access
        access = bytes([both << 4 | change, read << 4 | write])
        header = bytes([file_number, settings.protection])
        self._command(Command.CREATE_STD_DATA_FILE, header + access + settings.size.to_bytes(3, "little"))

    def delete_file(self, file_number: int) -> None:
        """Delete a file."""
        self._command(Command.DELETE_FILE, bytes([file_number]))

    def read_data(self, file_number: int, offset: int, length: int) -> bytes:
        """Part of an enciphered file, at least one byte."""
        session = self._open_session()
        if length < 1:
            raise CardMisused("a length of zero would mean the whole file")
        header = bytes([file_number]) + offset.to_bytes(3, "little") + length.to_bytes(3, "little")
        session.authenticate(bytes([Command.READ_DATA]) + header)
        untrusted_cipher = self._checked(Command.READ_DATA, header)
        try:
            untrusted = session.decipher(untrusted_cipher)
        except CardSessionSpoiled:
            self._end_session()
            raise
        data, check, padding = untrusted[:length], untrusted[length:][:CRC_BYTES], untrusted[length + CRC_BYTES :]
        if len(data) != length or check != crc32(data + bytes([Status.OK])) or any(padding):
            self._end_session()
            raise CardSessionSpoiled("the file's checksum is wrong")
        return data

    def write_data(self, file_number: int, offset: int, data: bytes) -> None:
        """Write to an enciphered file, in pieces of at most 28 bytes, each whole or not at all at the card's mercy."""
        for at in range(0, len(data), _WRITE_MAX):
            piece = data[at : at + _WRITE_MAX]
            session = self._open_session()
            header = bytes([file_number]) + (offset + at).to_bytes(3, "little") + len(piece).to_bytes(3, "little")
            check = crc32(bytes([Command.WRITE_DATA]) + header + piece)
            self._take_apart(session, self._checked(Command.WRITE_DATA, header + session.encipher(piece + check)))

    # Frames

    def exchange(self, command: int, data: bytes = b"") -> tuple[int, bytes]:
        """One frame each way, in ISO 7816-4 wrapping, outside any session: the status byte and what came with it.

        Raises:
            CardLost: the card or the reader is gone.
            CardUnreadable: the answer is no DESFire answer.
        """
        if len(data) + _ISO_OVERHEAD > _FRAME_MAX:
            raise CardMisused("too long for one frame")
        body = bytes([len(data)]) + data if data else b""
        untrusted = self._channel.transmit(bytes([_CLASS, command, 0, 0]) + body + b"\x00")
        if len(untrusted) < 2 or untrusted[-2] != _STATUS_WORD:
            self._end_session()
            raise CardUnreadable("no DESFire status")
        return untrusted[-1], untrusted[:-2]

    def _command(self, command: Command, data: bytes = b"") -> bytes:
        """A command that travels in clear, with its answer's MAC checked where there is a session."""
        if self._session is not None:
            self._session.authenticate(bytes([command]) + data)
        session = self._session
        untrusted = self._checked(command, data)
        return untrusted if session is None else self._take_apart(session, untrusted)

    def _checked(self, command: Command, data: bytes) -> bytes:
        """Send, collect the answer's frames, refuse any status but OK, which ends the session on the card too."""
        status, untrusted = self.exchange(command, data)
        collected = untrusted
        frames = 1
        while status == Status.ADDITIONAL_FRAME:
            frames += 1
            if frames > _FRAMES_MAX or len(collected) > _ANSWER_MAX:
                self._end_session()
                raise CardUnreadable("an answer without an end")
            status, untrusted = self.exchange(Command.ADDITIONAL_FRAME)
            collected += untrusted
        if status != Status.OK:
            self._end_session()
            raise CardStatusError(status)
        return collected

    def _take_apart(self, session: SecureSession, untrusted: bytes) -> bytes:
        """The answer without its MAC, which is checked."""
        try:
            session.check(untrusted[:-MAC_BYTES] + bytes([Status.OK]), untrusted[-MAC_BYTES:])
        except CardSessionSpoiled:
            self._end_session()
            raise
        return untrusted[:-MAC_BYTES]

    def _open_session(self) -> SecureSession:
        if self._session is None:
            raise CardMisused("authenticate first")
        return self._session

    def _end_session(self) -> None:
        self._session = None
        self._session_key_number = None


def _aid_on_card(aid: bytes) -> bytes:
    if len(aid) != 3:
        raise CardMisused("an application's identifier has three bytes")
    return aid[::-1]
