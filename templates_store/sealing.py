"""What is sealed with which key. Pure: no file, no table.

    secret (KeySource)
      └─ HKDF, one label a purpose ──► file key (SQLCipher), code lookup, card lookup, record digest, tombstone, root
           root ─ AES-256-GCM ─► epoch key (random; a new one at every purge)
                    epoch key ─ AES-256-GCM ─► pupil key (random; destroyed at the pupil's purge)
                                  pupil key ─ AES-256-GCM ─► reference, personal code

Every seal binds, as associated data, what it is, whose, of which format version and which revision: a record that is
moved to another pupil, swapped with another or put back in place of a newer one does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from templates_store.errors import StoreUnavailable

FORMAT_VERSION = 1
"""Of the sealed records; bound into each of them."""

KEY_BYTES = 32
_NONCE_BYTES = 12
_LABEL = b"canteen templates_store v1: "


class SealedKind(StrEnum):
    """What a seal holds; bound into it."""

    EPOCH_KEY = "epoch-key"
    PUPIL_KEY = "pupil-key"
    REFERENCE = "reference"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """The keys derived from a store's secret, each for one purpose."""

    file: bytes = field(repr=False)
    code_lookup: bytes = field(repr=False)
    card_lookup: bytes = field(repr=False)
    record_digest: bytes = field(repr=False)
    tombstone: bytes = field(repr=False)
    root: bytes = field(repr=False)


def derive_keys(secret: bytes) -> StoreKeys:
    """The keys of the store whose secret this is (HKDF-SHA256, RFC 5869)."""
    return StoreKeys(
        file=_derive(secret, b"sqlcipher file key"),
        code_lookup=_derive(secret, b"code lookup"),
        card_lookup=_derive(secret, b"card lookup"),
        record_digest=_derive(secret, b"record digest"),
        tombstone=_derive(secret, b"tombstone"),
        root=_derive(secret, b"root wrapping key"),
    )


def _derive(secret: bytes, label: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=_LABEL + label).derive(secret)


def keyed_digest(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256: finds the same content again, tells nothing of it without the key.

    All 10,000 codes of four digits can be tried in a moment, so a plain hash of a code would be the code itself.
    """
    return hmac.new(key, content, hashlib.sha256).digest()


def associated_data(kind: SealedKind, whose: str, revision: int, *more: str) -> bytes:
    """What is bound into a seal: kind, format version, pupil, revision (of a key: its epoch), and what goes along."""
    return json.dumps([FORMAT_VERSION, kind.value, whose, revision, *more], separators=(",", ":")).encode()


def code_bound(pupil: str) -> bytes:
    """What is bound into the seal of a pupil's code."""
    return associated_data(SealedKind.CODE, pupil, 0)


def reference_bound(pupil: str, revision: int, notice_version: str, given_by: str, given_at: str) -> bytes:
    """What is bound into the seal of a reference: also the consent it rests on, which cannot be exchanged then."""
    return associated_data(SealedKind.REFERENCE, pupil, revision, notice_version, given_by, given_at)


def new_key() -> bytes:
    """A random AES-256 key."""
    return secrets.token_bytes(KEY_BYTES)


def seal(key: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Nonce and ciphertext. A pupil's key seals a handful of records, an epoch's some thousands: random nonces do."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plaintext.

    Raises:
        StoreUnavailable: another key, another place, or changed bytes; the record is not to be believed.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise StoreUnavailable("a sealed record does not open: it was moved, put back or damaged") from error
