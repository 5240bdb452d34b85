"""The chip of the simulated card: DESFire under AES as the data sheet has it, with keys, rights, files and sessions.

It shares the ciphers with the client, which published examples hold in place, and nothing else: commands, chaining and
rights are written from the card's side.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import ClassVar

from firmware_bridge.desfire_commands import Command, FileProtection, Generation, Status
from firmware_bridge.desfire_crypto import (
    BLOCK_BYTES,
    CRC_BYTES,
    KEY_BYTES,
    aes_session_key,
    crc32,
    decrypt_cbc,
    encrypt_cbc,
    rotated,
)
from firmware_bridge.desfire_factory_key import (
    DES_BLOCK_BYTES,
    FACTORY_DES_KEY,
    decrypt_des,
    des_session_key,
    encrypt_des,
)
from firmware_bridge.simulated_chip_memory import (
    ChipApplication,
    ChipFile,
    ChipKeySlot,
    ChipRefusal,
    ChipSession,
    TearPhase,
)

PICC = bytes(3)
_HARDWARE = {Generation.EV1: 0x01, Generation.EV2: 0x12, Generation.EV3: 0x33}
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_Continuation = Callable[[bytes], tuple[int, bytes]]


class SimulatedDesfire:
    """One chip: what it keeps without power, and the session it forgets."""

    def __init__(
        self, uid: bytes, generation: Generation = Generation.EV1, *, memory_bytes: int = 4096, radio_uid: bytes = b""
    ) -> None:
        self.uid = uid
        self.radio_uid = radio_uid or uid
        """What anticollision shows; an emulator may show another chip's."""
        self.generation = generation
        self._memory_bytes = memory_bytes
        self._chip_key = ChipKeySlot()
        self._chip_key_is_des = True
        self._applications: dict[bytes, ChipApplication] = {}
        self._selected = PICC
        self._session: ChipSession | None = None
        self._continuation: _Continuation | None = None
        self._tear_at: int | None = None
        self._tear_phase = TearPhase.AFTER
        self._half_written = False

    def power_up(self) -> None:
        """The card enters the field, or is reset."""
        self._selected, self._session, self._continuation = PICC, None, None

    def tear(self, at: int | None, phase: TearPhase = TearPhase.AFTER) -> None:
        """Leave the field at this command, counted from now on (0 is the next one); None for staying."""
        self._tear_at, self._tear_phase = at, phase

    @property
    def tear_pending(self) -> bool:
        """Whether it still has to leave."""
        return self._tear_at is not None

    def apdu(self, command: bytes) -> bytes | None:
        """The answer to one APDU; None when the card left the field instead of answering."""
        if command[:2] == b"\xff\xca":  # answered by a reader for the card
            return self.radio_uid + b"\x90\x00"
        torn = self._tear_at == 0
        if self._tear_at is not None:
            self._tear_at = None if torn else self._tear_at - 1
        if torn and self._tear_phase is TearPhase.BEFORE:
            return None
        self._half_written = torn and self._tear_phase is TearPhase.DURING
        if len(command) < 5 or command[0] != 0x90 or command[2:4] != b"\x00\x00":
            return None if torn else b"\x6e\x00"
        data = command[5 : 5 + command[4]] if len(command) > 5 else b""
        status, answer = self._handle(command[1], data)
        return None if torn else answer + bytes([0x91, status])

    def _handle(self, command: int, data: bytes) -> tuple[int, bytes]:
        try:
            if command == Command.ADDITIONAL_FRAME:
                continuation, self._continuation = self._continuation, None
                if continuation is None:
                    raise ChipRefusal(Status.ILLEGAL_COMMAND)
                return continuation(data)
            self._continuation = None
            handler = self._HANDLERS.get(command)
            if handler is None:
                raise ChipRefusal(Status.ILLEGAL_COMMAND)
            return handler(self, data)
        except ChipRefusal as refused:
            self._session = None
            return refused.status, b""

    # Sessions

    def _key(self, number: int) -> ChipKeySlot:
        if self._selected == PICC:
            if number:
                raise ChipRefusal(Status.NO_SUCH_KEY)
            return self._chip_key
        keys = self._applications[self._selected].keys
        if number >= len(keys):
            raise ChipRefusal(Status.NO_SUCH_KEY)
        return keys[number]

    def _authenticate_aes(self, data: bytes) -> tuple[int, bytes]:
        self._session = None
        number = self._one(data)
        key = self._key(number)
        if self._selected == PICC and self._chip_key_is_des:
            raise ChipRefusal(Status.AUTHENTICATION_ERROR)
        rnd_b = secrets.token_bytes(BLOCK_BYTES)
        challenge = encrypt_cbc(key.value, _ZERO_BLOCK, rnd_b)

        def prove(proof: bytes) -> tuple[int, bytes]:
            if len(proof) != 2 * BLOCK_BYTES:
                raise ChipRefusal(Status.LENGTH_ERROR)
            plain = decrypt_cbc(key.value, challenge, proof)
            rnd_a = plain[:BLOCK_BYTES]
            if plain[BLOCK_BYTES:] != rotated(rnd_b):
                raise ChipRefusal(Status.AUTHENTICATION_ERROR)
            self._session = ChipSession(aes_session_key(rnd_a, rnd_b), number)
            return Status.OK, encrypt_cbc(key.value, proof[-BLOCK_BYTES:], rotated(rnd_a))

        self._continuation = prove
        return Status.ADDITIONAL_FRAME, challenge

    def _authenticate_des(self, data: bytes) -> tuple[int, bytes]:
        self._session = None
        if self._one(data) or self._selected != PICC or not self._chip_key_is_des:
            raise ChipRefusal(Status.AUTHENTICATION_ERROR)
        rnd_b = secrets.token_bytes(DES_BLOCK_BYTES)
        challenge = encrypt_des(FACTORY_DES_KEY, bytes(DES_BLOCK_BYTES), rnd_b)

        def prove(proof: bytes) -> tuple[int, bytes]:
            if len(proof) != 2 * DES_BLOCK_BYTES:
                raise ChipRefusal(Status.LENGTH_ERROR)
            plain = decrypt_des(FACTORY_DES_KEY, challenge, proof)
            rnd_a = plain[:DES_BLOCK_BYTES]
            if plain[DES_BLOCK_BYTES:] != rotated(rnd_b):
                raise ChipRefusal(Status.AUTHENTICATION_ERROR)
            self._session = ChipSession(des_session_key(rnd_a, rnd_b), 0, des=True)
            return Status.OK, encrypt_des(FACTORY_DES_KEY, proof[-DES_BLOCK_BYTES:], rotated(rnd_a))

        self._continuation = prove
        return Status.ADDITIONAL_FRAME, challenge

    def _clear(self, command: int, data: bytes) -> None:
        """A command that came in clear takes its place in the session's chain."""
        if self._session is not None and not self._session.des:
            self._session.mac(bytes([command]) + data)

    def _answer(self, data: bytes = b"") -> tuple[int, bytes]:
        if self._session is None or self._session.des:
            return Status.OK, data
        return Status.OK, data + self._session.mac(data + bytes([Status.OK]))

    def _under(self, key_number: int) -> ChipSession:
        if self._session is None or self._session.key_number != key_number:
            raise ChipRefusal(Status.AUTHENTICATION_ERROR)
        return self._session

    # Commands

    def _get_version(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_VERSION, data)
        part = bytes([0x04, 0x01, 0x01, _HARDWARE.get(self.generation, 0x42), 0x00, 0x18, 0x05])
        production = self.uid + bytes.fromhex("BA34567890") + bytes([0x47, 0x25])

        def second(_: bytes) -> tuple[int, bytes]:
            self._continuation = third
            return Status.ADDITIONAL_FRAME, part

        def third(_: bytes) -> tuple[int, bytes]:
            status, answer = self._answer(part + part + production)
            return status, answer[2 * len(part) :]

        self._continuation = second
        return Status.ADDITIONAL_FRAME, part

    def _select(self, data: bytes) -> tuple[int, bytes]:
        self._session = None
        if data != PICC and data not in self._applications:
            raise ChipRefusal(Status.APPLICATION_NOT_FOUND)
        self._selected = data
        return Status.OK, b""

    def _format(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.FORMAT_PICC, data)
        if self._selected != PICC:
            raise ChipRefusal(Status.PERMISSION_DENIED)
        self._under(0)
        self._applications.clear()
        return self._answer()

    def _application_ids(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_APPLICATION_IDS, data)
        return self._answer(b"".join(self._applications))

    def _create_application(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.CREATE_APPLICATION, data)
        if len(data) != 5 or self._selected != PICC:
            raise ChipRefusal(Status.LENGTH_ERROR)
        aid, settings, keys = data[:3], data[3], data[4]
        if aid in self._applications:
            raise ChipRefusal(Status.DUPLICATE)
        if keys & 0xF0 != 0x80 or not keys & 0x0F:
            raise ChipRefusal(Status.PARAMETER_ERROR)
        self._take_memory(128)
        self._applications[aid] = ChipApplication(settings, [ChipKeySlot() for _ in range(keys & 0x0F)])
        return self._answer()

    def _delete_application(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.DELETE_APPLICATION, data)
        if self._selected != PICC:
            raise ChipRefusal(Status.PERMISSION_DENIED)
        self._under(0)
        if self._applications.pop(data, None) is None:
            raise ChipRefusal(Status.APPLICATION_NOT_FOUND)
        return self._answer()

    def _key_version(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_KEY_VERSION, data)
        return self._answer(bytes([self._key(self._one(data)).version]))

    def _key_settings(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_KEY_SETTINGS, data)
        if self._selected == PICC:
            return self._answer(bytes([0x0F, 0x01 if self._chip_key_is_des else 0x81]))
        application = self._applications[self._selected]
        return self._answer(bytes([application.settings, 0x80 | len(application.keys)]))

    def _change_key(self, data: bytes) -> tuple[int, bytes]:
        session = self._under(0)
        number = data[0] & 0x3F if data else 0
        target = self._key(number)
        payload_bytes = KEY_BYTES + 1
        plain = session.decipher(data[1:])
        payload, check = plain[:payload_bytes], plain[payload_bytes : payload_bytes + CRC_BYTES]
        if check != crc32(bytes([Command.CHANGE_KEY]) + data[:1] + payload):
            raise ChipRefusal(Status.INTEGRITY_ERROR)
        new = payload[:KEY_BYTES]
        if number != session.key_number:
            new = bytes(a ^ b for a, b in zip(new, target.value, strict=True))
            if plain[payload_bytes + CRC_BYTES :][:CRC_BYTES] != crc32(new):
                raise ChipRefusal(Status.INTEGRITY_ERROR)
        elif self._selected == PICC:
            self._chip_key_is_des = False  # this card knows AES keys alone besides the factory's
        target.value, target.version = new, payload[KEY_BYTES]
        if number == session.key_number:
            self._session = None
            return Status.OK, b""
        return self._answer()

    def _files(self) -> dict[int, ChipFile]:
        if self._selected == PICC:
            raise ChipRefusal(Status.PERMISSION_DENIED)
        return self._applications[self._selected].files

    def _file_ids(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_FILE_IDS, data)
        return self._answer(bytes(self._files()))

    def _file(self, number: int) -> ChipFile:
        found = self._files().get(number)
        if found is None:
            raise ChipRefusal(Status.FILE_NOT_FOUND)
        return found

    def _file_settings(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.GET_FILE_SETTINGS, data)
        found = self._file(self._one(data))
        return self._answer(bytes([0, found.protection]) + found.access + len(found.data).to_bytes(3, "little"))

    def _create_file(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.CREATE_STD_DATA_FILE, data)
        if len(data) != 7:
            raise ChipRefusal(Status.LENGTH_ERROR)
        files = self._files()
        self._under(0)
        if data[0] in files:
            raise ChipRefusal(Status.DUPLICATE)
        size = int.from_bytes(data[4:7], "little")
        self._take_memory(size)
        files[data[0]] = ChipFile(data[1], data[2:4], bytearray(size))
        return self._answer()

    def _delete_file(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.DELETE_FILE, data)
        self._under(0)
        self._file(self._one(data))
        del self._files()[data[0]]
        return self._answer()

    def _read(self, data: bytes) -> tuple[int, bytes]:
        self._clear(Command.READ_DATA, data)
        found, offset, length = self._span(data)
        if self._session is None or not found.may(self._session.key_number, 0, 2):
            raise ChipRefusal(Status.AUTHENTICATION_ERROR)
        content = bytes(found.data[offset : offset + length])
        if found.protection != FileProtection.ENCIPHERED:
            return self._answer(content)
        return Status.OK, self._session.encipher(content + crc32(content + bytes([Status.OK])))

    def _write(self, data: bytes) -> tuple[int, bytes]:
        found, offset, length = self._span(data)
        session = self._session
        if session is None or not found.may(session.key_number, 1, 2):
            raise ChipRefusal(Status.AUTHENTICATION_ERROR)
        if found.protection == FileProtection.ENCIPHERED:
            plain = session.decipher(data[7:])
            content, check = plain[:length], plain[length : length + CRC_BYTES]
            if check != crc32(bytes([Command.WRITE_DATA]) + data[:7] + content):
                raise ChipRefusal(Status.INTEGRITY_ERROR)
        else:
            self._clear(Command.WRITE_DATA, data)
            content = data[7:]
        if len(content) != length:
            raise ChipRefusal(Status.LENGTH_ERROR)
        written = length // 2 if self._half_written else length
        found.data[offset : offset + written] = content[:written]
        return self._answer()

    def _span(self, data: bytes) -> tuple[ChipFile, int, int]:
        if len(data) < 7:
            raise ChipRefusal(Status.LENGTH_ERROR)
        found = self._file(data[0])
        offset, length = int.from_bytes(data[1:4], "little"), int.from_bytes(data[4:7], "little")
        if offset + length > len(found.data):
            raise ChipRefusal(Status.BOUNDARY_ERROR)
        return found, offset, length

    def _take_memory(self, size: int) -> None:
        if size > self._memory_bytes:
            raise ChipRefusal(Status.OUT_OF_MEMORY)
        self._memory_bytes -= size

    def _one(self, data: bytes) -> int:
        if len(data) != 1:
            raise ChipRefusal(Status.LENGTH_ERROR)
        return data[0]

    _HANDLERS: ClassVar[Mapping[int, Callable[[SimulatedDesfire, bytes], tuple[int, bytes]]]] = {
        Command.AUTHENTICATE_AES: _authenticate_aes,
        Command.AUTHENTICATE_ISO: _authenticate_des,
        Command.CHANGE_KEY: _change_key,
        Command.CREATE_APPLICATION: _create_application,
        Command.CREATE_STD_DATA_FILE: _create_file,
        Command.DELETE_APPLICATION: _delete_application,
        Command.DELETE_FILE: _delete_file,
        Command.FORMAT_PICC: _format,
        Command.GET_APPLICATION_IDS: _application_ids,
        Command.GET_FILE_IDS: _file_ids,
        Command.GET_FILE_SETTINGS: _file_settings,
        Command.GET_KEY_SETTINGS: _key_settings,
        Command.GET_KEY_VERSION: _key_version,
        Command.GET_VERSION: _get_version,
        Command.READ_DATA: _read,
        Command.SELECT_APPLICATION: _select,
        Command.WRITE_DATA: _write,
    }
