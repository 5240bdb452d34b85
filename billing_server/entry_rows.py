"""Journal entries as rows of `entries`."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from billing_server.bulk import NOTHING, octets_field, word_field
from sync.facts import FactKind

FORGOTTEN_BODIES = frozenset({FactKind.REFERENCE_SEALED.value, FactKind.CARD_ISSUED.value, FactKind.CARD_RETIRED.value})
"""Bodies that are acted on in the same transaction and not kept: a copy of a sealed reference in the ledger would
outlive its purge, and a card number would stay readable to us. The chain and the signature hold without them."""

ROW_COLUMNS = (
    *("device", "generation", "received_at"),
    *("clock_trust", "kind", "sequence", "previous", "digest", "recorded_at", "body_digest", "signature", "body"),
)
"""In this order the rows of `entries` come; the first three are the same in all of them."""

_OF_ONE = Struct(">iqi64si64s12si64si").pack


def entry_row(
    clock_trust: str,
    kind: str,
    sequence: int,
    previous: bytes,
    digest: bytes,
    recorded_at: bytes,
    body_digest: bytes,
    signature: bytes,
    body: bytes,
) -> bytes:
    """A row from `clock_trust` on. Digests are hexadecimal, `recorded_at` is a field already."""
    of_one = _OF_ONE(8, sequence, 64, previous, 64, digest, recorded_at, 64, body_digest, len(signature))
    kept = NOTHING if kind in FORGOTTEN_BODIES else octets_field(body)
    return b"%b%b%b%b" % (_words(clock_trust, kind), of_one, signature, kept)


def shared_fields(device: str, generation: str, received_at: bytes) -> bytes:
    """What all rows of a journal begin with."""
    return word_field(device) + word_field(generation) + received_at


@lru_cache(1000)
def _words(clock_trust: str, kind: str) -> bytes:
    return word_field(clock_trust) + word_field(kind)
