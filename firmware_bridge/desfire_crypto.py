"""The cryptography of DESFire EV1 sessions under AES: chained CBC, chained CMAC, CRC32.

One initialisation vector runs through a whole session, over commands and answers, enciphered or only authenticated.
That is what ties every answer to its place in the session. Published examples are in `tests/unit/firmware_bridge`.
"""

from __future__ import annotations

import hmac
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from firmware_bridge.errors import CardSessionSpoiled

BLOCK_BYTES = 16
KEY_BYTES = 16
MAC_BYTES = 8
"""A session's CMAC travels as its first half."""
CRC_BYTES = 4
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_RB = 0x87
"""The constant of NIST SP 800-38B for 128-bit blocks."""


def encrypt_cbc(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """AES-128-CBC over whole blocks, without padding."""
    encryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def decrypt_cbc(key: bytes, iv: bytes, cipher: bytes) -> bytes:
    """The reverse of `encrypt_cbc`."""
    decryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).decryptor()
    return decryptor.update(cipher) + decryptor.finalize()


def cmac_subkeys(key: bytes) -> tuple[bytes, bytes]:
    """K1 and K2 of NIST SP 800-38B."""
    first = _doubled(encrypt_cbc(key, _ZERO_BLOCK, _ZERO_BLOCK))
    return first, _doubled(first)


def cmac(key: bytes, message: bytes, iv: bytes = _ZERO_BLOCK) -> bytes:
    """The 16-byte CMAC of `message`, begun from `iv`; the library's own always begins from zero."""
    k1, k2 = cmac_subkeys(key)
    whole = bool(message) and len(message) % BLOCK_BYTES == 0
    padded = message if whole else pad_with_mark(message, BLOCK_BYTES)
    last = _xor(padded[-BLOCK_BYTES:], k1 if whole else k2)
    return encrypt_cbc(key, iv, padded[:-BLOCK_BYTES] + last)[-BLOCK_BYTES:]


def crc32(message: bytes) -> bytes:
    """DESFire's CRC32, low byte first: the usual polynomial without the final inversion."""
    return (zlib.crc32(message) ^ 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")


def pad_with_zeros(message: bytes, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Up to whole blocks, as enciphered commands are."""
    return message + bytes(-len(message) % block_bytes)


def pad_with_mark(message: bytes, length: int) -> bytes:
    """0x80 and zeros up to a multiple of `length`: ISO/IEC 9797-1 method 2."""
    marked = message + b"\x80"
    return marked + bytes(-len(marked) % length)


def rotated(number: bytes) -> bytes:
    """The first byte at the end: how each side shows the other that it read its random number."""
    return number[1:] + number[:1]


def aes_session_key(rnd_a: bytes, rnd_b: bytes) -> bytes:
    """The session's key from both sides' 16 random bytes."""
    return rnd_a[:4] + rnd_b[:4] + rnd_a[12:] + rnd_b[12:]


class SecureSession:
    """One authenticated session: its key, and the vector that everything said in it has moved on."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._iv = _ZERO_BLOCK

    def authenticate(self, message: bytes) -> bytes:
        """Take `message` into the chain; the eight bytes that prove it."""
        self._iv = cmac(self._key, message, self._iv)
        return self._iv[:MAC_BYTES]

    def check(self, message: bytes, untrusted_mac: bytes) -> None:
        """Take an answer into the chain.

        Raises:
            CardSessionSpoiled: `untrusted_mac` does not prove it.
        """
        if not hmac.compare_digest(self.authenticate(message), untrusted_mac):
            raise CardSessionSpoiled("the answer's MAC is wrong")

    def encipher(self, plain: bytes) -> bytes:
        """Zero-pad and encrypt."""
        cipher = encrypt_cbc(self._key, self._iv, pad_with_zeros(plain))
        self._iv = cipher[-BLOCK_BYTES:]
        return cipher

    def decipher(self, untrusted_cipher: bytes) -> bytes:
        """Decrypt, padding included.

        Raises:
            CardSessionSpoiled: not whole blocks.
        """
        if not untrusted_cipher or len(untrusted_cipher) % BLOCK_BYTES:
            raise CardSessionSpoiled("an enciphered answer has whole blocks")
        plain = decrypt_cbc(self._key, self._iv, untrusted_cipher)
        self._iv = untrusted_cipher[-BLOCK_BYTES:]
        return plain


def _doubled(block: bytes) -> bytes:
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = (number & ((1 << 128) - 1)) ^ _RB
    return number.to_bytes(BLOCK_BYTES, "big")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
