"""What is sealed with which key. Pure: no file, no table.

    secret (KeySource)
      └─ HKDF, one label a purpose ──► code lookup, card lookup, record digest, tombstone, mark, root
    root + epoch secret (EpochKeeper; another one after every purge, the old one destroyed)
      └─ HKDF ──► file key (SQLCipher), epoch key
                    epoch key ─ AES-256-GCM ─► pupil key (random; destroyed at the pupil's purge)
                                  pupil key ─ AES-256-GCM ─► reference, personal code

Every seal binds, as associated data, what it is, whose, of which format version and which revision: a record that is
moved to another pupil, swapped with another or put back in place of a newer one does not open.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from templates_store.errors import StoreUnavailable

FORMAT_VERSION = 2
"""Of the sealed records; bound into each of them."""

KEY_BYTES = 32
NONCE_BYTES = 12
_LABEL = b"canteen templates_store v1: "
"""Of the keys that are the same since the first format: a card is found by its hash alone, which must not change."""
_EPOCH_LABEL = b"canteen templates_store v2: "


class SealedKind(StrEnum):
    """What a seal holds; bound into it."""

    PUPIL_KEY = "pupil-key"
    REFERENCE = "reference"
    CODE = "code"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """The keys derived from a store's secret, each for one purpose; the same in every epoch."""

    code_lookup: bytes = field(repr=False)
    card_lookup: bytes = field(repr=False)
    record_digest: bytes = field(repr=False)
    tombstone: bytes = field(repr=False)
    mark: bytes = field(repr=False)
    root: bytes = field(repr=False)
    format_1_file: bytes = field(repr=False)
    """Of a file of the first format, which had one key for ever; a migration alone asks for it."""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The keys of one epoch. They rest on the store's secret and on the epoch's: neither alone opens anything."""

    number: int
    file: bytes = field(repr=False)
    wrapping: AESGCM = field(repr=False, compare=False)
    """Under this one key every reference is opened: it is set up once."""

    def wrap(self, pupil: str, pupil_key: bytes) -> bytes:
        """A pupil's key as it is kept in this epoch."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self.wrapping.encrypt(nonce, pupil_key, _key_bound(pupil, self.number))

    def open_reference(self, pupil: str, wrapped_key: bytes, sealed: bytes, bound: bytes) -> bytes:
        """`unwrap` and `unseal` in one: they stand on the way of every pass. Raises StoreUnavailable."""
        key_bound = f"{FORMAT_VERSION}|pupil-key|{len(pupil)}:{pupil}|{self.number}".encode()
        try:
            key = self.wrapping.decrypt(wrapped_key[:NONCE_BYTES], wrapped_key[NONCE_BYTES:], key_bound)
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable("a sealed record does not open: it was moved, put back or damaged") from error

    def unwrap(self, pupil: str, wrapped_key: bytes) -> bytes:
        """Raises StoreUnavailable: a key of another pupil or another epoch."""
        try:
            bound = _key_bound(pupil, self.number)
            return self.wrapping.decrypt(wrapped_key[:NONCE_BYTES], wrapped_key[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable("a wrapped key does not open: it was moved, put back or damaged") from error


def derive_keys(secret: bytes) -> StoreKeys:
    """The keys of the store whose secret this is (HKDF-SHA256, RFC 5869)."""
    return StoreKeys(
        code_lookup=derive(secret, _LABEL + b"code lookup"),
        card_lookup=derive(secret, _LABEL + b"card lookup"),
        record_digest=derive(secret, _LABEL + b"record digest"),
        tombstone=derive(secret, _LABEL + b"tombstone"),
        mark=derive(secret, _EPOCH_LABEL + b"change mark"),
        root=derive(secret, _LABEL + b"root wrapping key"),
        format_1_file=derive(secret, _LABEL + b"sqlcipher file key"),
    )


def derive_epoch(keys: StoreKeys, number: int, epoch_secret: bytes) -> EpochKeys:
    """The keys of epoch `number`."""
    bound = b"epoch %d: " % number
    return EpochKeys(
        number=number,
        file=derive(keys.root, _EPOCH_LABEL + bound + b"sqlcipher file key", epoch_secret),
        wrapping=AESGCM(derive(keys.root, _EPOCH_LABEL + bound + b"pupil key wrapping", epoch_secret)),
    )


def derive(secret: bytes, label: bytes, salt: bytes | None = None) -> bytes:
    """HKDF-SHA256 (RFC 5869) of `secret`, 32 bytes."""
    return HKDF(SHA256(), KEY_BYTES, salt=salt, info=label).derive(secret)


def keyed_digest(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256: finds the same content again, tells nothing of it without the key.

    All 10,000 codes of four digits can be tried in a moment, so a plain hash of a code would be the code itself.
    """
    return hmac.digest(key, content, "sha256")


def keyed_digests(key: bytes) -> Callable[[bytes], bytes]:
    """`keyed_digest` under one key that is set up once, for what stands on the way of every pass."""
    set_up = HMAC(key, SHA256())

    def digest(content: bytes) -> bytes:
        one = set_up.copy()
        one.update(content)
        return one.finalize()

    return digest


def associated_data(kind: SealedKind, whose: str, revision: int, *more: str) -> bytes:
    """What is bound into a seal: kind, format version, pupil, revision (of a key: its epoch), and what goes along.

    Each part with its length, so that no two lists of parts give the same bytes.
    """
    ends = "".join([f"|{len(part)}:{part}" for part in more])
    return f"{FORMAT_VERSION}|{kind.value}|{len(whose)}:{whose}|{revision}{ends}".encode()


def code_bound(pupil: str) -> bytes:
    """What is bound into the seal of a pupil's code."""
    return associated_data(SealedKind.CODE, pupil, 0)


def reference_bound(
    pupil: str, revision: int, notice_version: str, given_by: str, given_at: str, adaptation: int = 0
) -> bytes:
    """What is bound into the seal of a reference: also the consent it rests on, which cannot be exchanged then.

    An adapted reference is bound to its count, so that an earlier one does not open in its place.
    """
    # `associated_data` written out: it stands on the way of every pass, and a loop costs as much as the seal itself.
    adapted = f"|adapted {adaptation}" if adaptation else ""
    return (
        f"{FORMAT_VERSION}|reference|{len(pupil)}:{pupil}|{revision}|{len(notice_version)}:{notice_version}"
        f"|{len(given_by)}:{given_by}|{len(given_at)}:{given_at}{adapted}"
    ).encode()


def history_bound(pupil: str, revision: int, adaptation: int) -> bytes:
    """What is bound into the seal of what is remembered of a reference's adaptations."""
    return associated_data(SealedKind.HISTORY, pupil, revision, str(adaptation))


def _key_bound(pupil: str, epoch: int) -> bytes:
    return f"{FORMAT_VERSION}|pupil-key|{len(pupil)}:{pupil}|{epoch}".encode()


def new_key() -> bytes:
    """A random AES-256 key."""
    return secrets.token_bytes(KEY_BYTES)


def seal(key: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Nonce and ciphertext. A pupil's key seals a handful of records, an epoch's some thousands: random nonces do."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plaintext.

    Raises:
        StoreUnavailable: another key, another place, or changed bytes; the record is not to be believed.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise StoreUnavailable("a sealed record does not open: it was moved, put back or damaged") from error
