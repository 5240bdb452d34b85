"""Known answers of every primitive the store rests on, asked at every start and counted; one wrong: nothing is served.

Sources: AES-256-GCM, McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 14 and 16; HMAC-SHA256,
RFC 4231, test cases 1 and 2; HKDF-SHA256, RFC 5869, test cases 1 and 3; SHA-256, FIPS 180-4. SQLCipher's AES and
HMAC are asked by every opening of the file: each page has a code of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from templates_store.errors import SelfTestFailed
from templates_store.sealing import keyed_digest, keyed_digests, seal, unseal

_hex = bytes.fromhex

_GCM_KEY = _hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
_GCM_NONCE = _hex("cafebabefacedbaddecaf888")
_GCM_PLAIN = _hex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_GCM_BOUND = _hex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_SEALED = _hex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"
)
_GCM_ZERO = _hex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
_HMAC_1 = _hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
_HMAC_2 = _hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
_HKDF_1 = _hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
_HKDF_3 = _hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
_SHA_ABC = _hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def _hkdf(salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), 42, salt=salt, info=info).derive(b"\x0b" * 22)


def _gcm_refuses_what_was_changed() -> bool:
    try:
        AESGCM(_GCM_KEY).decrypt(_GCM_NONCE, _GCM_SEALED[:-1] + b"\x00", _GCM_BOUND)
    except InvalidTag:
        return True
    return False


KNOWN_ANSWERS: dict[str, Callable[[], bool]] = {
    "AES-256-GCM, case 14": lambda: AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), None) == _GCM_ZERO,
    "AES-256-GCM, case 16": lambda: AESGCM(_GCM_KEY).encrypt(_GCM_NONCE, _GCM_PLAIN, _GCM_BOUND) == _GCM_SEALED,
    "AES-256-GCM refuses": _gcm_refuses_what_was_changed,
    "HMAC-SHA256, case 1": lambda: keyed_digest(b"\x0b" * 20, b"Hi There") == _HMAC_1,
    "HMAC-SHA256 with a key set up once": lambda: keyed_digests(b"Jefe")(b"what do ya want for nothing?") == _HMAC_2,
    "HMAC-SHA256, case 2": lambda: keyed_digest(b"Jefe", b"what do ya want for nothing?") == _HMAC_2,
    "HKDF-SHA256, case 1": lambda: _hkdf(bytes(range(13)), _hex("f0f1f2f3f4f5f6f7f8f9")) == _HKDF_1,
    "HKDF-SHA256, case 3": lambda: _hkdf(None, b"") == _HKDF_3,
    "SHA-256, abc": lambda: hashlib.sha256(b"abc").digest() == _SHA_ABC,
    "our seal opens": lambda: unseal(_GCM_KEY, seal(_GCM_KEY, b"known", b"bound"), b"bound") == b"known",
}

EXPECTED = 10
"""Counted by hand: a table that was emptied by mistake is a failure, not a pass."""


def run_self_test(answers: dict[str, Callable[[], bool]] | None = None) -> int:
    """How many answers were right, when all were.

    Raises:
        SelfTestFailed: one was wrong or could not be had, or not all were asked.
    """
    asked = KNOWN_ANSWERS if answers is None else answers
    right = 0
    for name, answer in asked.items():
        try:
            is_right = answer()
        except Exception as error:
            raise SelfTestFailed(f"{name}: {type(error).__name__}") from error
        if not is_right:
            raise SelfTestFailed(name)
        right += 1
    if right != EXPECTED:
        raise SelfTestFailed(f"{right} known answers were asked for instead of {EXPECTED}")
    return right
