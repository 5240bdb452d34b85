"""Taking over a new chip: its first key is DES, all zeros, and must give way to an AES key before anything else.

The only use of DES in this project, under a key that everyone knows: it protects nothing and is not meant to.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from firmware_bridge.desfire import PICC_AES_KEY_NUMBER, DesfireCard
from firmware_bridge.desfire_commands import Command, Status
from firmware_bridge.desfire_crypto import crc32, pad_with_zeros, rotated
from firmware_bridge.errors import CardKeyWrong, CardProofWrong, CardStatusError, CardUnreadable

DES_BLOCK_BYTES = 8
FACTORY_DES_KEY = bytes(DES_BLOCK_BYTES)
_ZERO_BLOCK = bytes(DES_BLOCK_BYTES)


def encrypt_des(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """Single DES in CBC over whole blocks, as triple DES with one key."""
    encryptor = Cipher(TripleDES(key * 3), modes.CBC(iv)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def decrypt_des(key: bytes, iv: bytes, cipher: bytes) -> bytes:
    """The reverse of `encrypt_des`."""
    decryptor = Cipher(TripleDES(key * 3), modes.CBC(iv)).decryptor()
    return decryptor.update(cipher) + decryptor.finalize()


def des_session_key(rnd_a: bytes, rnd_b: bytes) -> bytes:
    """The session's key from both sides' eight random bytes, where the key's two halves are alike."""
    return rnd_a[:4] + rnd_b[:4]


def authenticate_factory_key(card: DesfireCard, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Prove to each other that both know the factory's key; the session's key. At the chip's level.

    Raises:
        CardKeyWrong: the chip has another key.
        CardError: anything else that goes wrong.
    """
    status, untrusted_challenge = card.exchange(Command.AUTHENTICATE_ISO, b"\x00")
    if status == Status.AUTHENTICATION_ERROR:
        raise CardKeyWrong("the chip's key is no DES key")
    if status != Status.ADDITIONAL_FRAME:
        raise CardStatusError(status)
    if len(untrusted_challenge) != DES_BLOCK_BYTES:
        raise CardKeyWrong("the chip's key is not of the factory's kind")
    rnd_a = random_bytes(DES_BLOCK_BYTES)
    rnd_b = decrypt_des(FACTORY_DES_KEY, _ZERO_BLOCK, untrusted_challenge)
    ours = encrypt_des(FACTORY_DES_KEY, untrusted_challenge, rnd_a + rotated(rnd_b))
    status, untrusted_proof = card.exchange(Command.ADDITIONAL_FRAME, ours)
    if status == Status.AUTHENTICATION_ERROR:
        raise CardKeyWrong("the chip has another DES key")
    if status != Status.OK:
        raise CardStatusError(status)
    if len(untrusted_proof) != DES_BLOCK_BYTES:
        raise CardUnreadable("a DES proof has 8 bytes")
    if decrypt_des(FACTORY_DES_KEY, ours[-DES_BLOCK_BYTES:], untrusted_proof) != rotated(rnd_a):
        raise CardProofWrong("the card's proof is wrong")
    return des_session_key(rnd_a, rnd_b)


def replace_factory_key(
    card: DesfireCard, new_key: bytes, new_version: int, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> None:
    """Make `new_key` (AES) the chip's key in place of the factory's. Ends without a session.

    Raises:
        CardKeyWrong: the chip has another key than the factory's.
        CardError: anything else that goes wrong.
    """
    session_key = authenticate_factory_key(card, random_bytes)
    header = bytes([PICC_AES_KEY_NUMBER])
    payload = new_key + bytes([new_version])
    plain = pad_with_zeros(payload + crc32(bytes([Command.CHANGE_KEY]) + header + payload), DES_BLOCK_BYTES)
    status, _ = card.exchange(Command.CHANGE_KEY, header + encrypt_des(session_key, _ZERO_BLOCK, plain))
    if status != Status.OK:
        raise CardStatusError(status)
