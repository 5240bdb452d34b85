"""Known answers: whether signatures, encryption and sealing give the published results on this machine."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sync.sealing import OpeningKey

_RFC8032_TEST2_KEY = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_RFC8032_TEST2_MESSAGE = bytes.fromhex("72")
_RFC8032_TEST2_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
_GCM_ALL_ZERO = bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
"""AES-256-GCM, key, nonce and 16 bytes of plaintext all zero (McGrew and Viega, test case 14)."""


def known_answers() -> bool:
    """Whether each gives what is published."""
    try:
        Ed25519PublicKey.from_public_bytes(_RFC8032_TEST2_KEY).verify(_RFC8032_TEST2_SIGNATURE, _RFC8032_TEST2_MESSAGE)
    except InvalidSignature:
        return False
    if AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), None) != _GCM_ALL_ZERO:
        return False
    ours = OpeningKey(bytes(range(32)))
    context = {"what": "self-test"}
    return ours.open(ours.sealing_key.seal(b"known", context), context) == b"known"
