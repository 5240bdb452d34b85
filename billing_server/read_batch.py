"""A batch made ready for the ledger: all that can be worked out before the database is asked.

The thread that reads does this while the one that stores waits for the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct as Layout

from msgspec import Struct

from billing_server.batch_reading import ReadEntry
from billing_server.bulk import NOTHING, octets_field, word_field
from billing_server.pass_rows import Passes, gathered
from canteen.identifiers import DeviceId
from sync.facts import FactKind

FORGOTTEN_BODIES = frozenset({FactKind.REFERENCE_SEALED.value, FactKind.CARD_ISSUED.value, FactKind.CARD_RETIRED.value})
"""Bodies that are acted on in the same transaction and not kept: a copy of a sealed reference in the ledger would
outlive its purge, and a card number would stay readable to us. The chain and the signature hold without them."""

ROW_COLUMNS = (
    *("device", "generation", "received_at"),
    *("clock_trust", "kind", "sequence", "previous", "digest", "recorded_at", "body_digest", "signature", "body"),
)
"""In this order the rows of `entries` come; the first three are the same in all of them."""

_OF_ONE = Layout(">iqi64si64s12si64s").pack


class ReadBatch(Struct, frozen=True, gc=False):
    """A message of journal entries, read and not yet verified; all of them say that they are of `device`.

    Attributes:
        follows: whether they are of one journal, each the one that follows the one before.
        kinds: of the facts in it.
        rows: of `entries`, in `ROW_COLUMNS`, without those that all rows share.
        passes: what they say of passes.
    """

    device: DeviceId
    untrusted_entries: Sequence[ReadEntry]
    follows: bool
    kinds: frozenset[str]
    rows: list[bytes]
    passes: Passes


def made_ready(device: DeviceId, untrusted_entries: Sequence[ReadEntry]) -> ReadBatch:
    """Entries of `device`, in the order in which they came."""
    return ReadBatch(
        device,
        untrusted_entries,
        _follow(untrusted_entries),
        frozenset([read.kind for read in untrusted_entries]),
        [_row(read) for read in untrusted_entries],
        gathered(untrusted_entries),
    )


def shared_fields(device: str, generation: str, received_at: bytes) -> bytes:
    """What all rows of a journal begin with."""
    return word_field(device) + word_field(generation) + received_at


def _follow(entries: Sequence[ReadEntry]) -> bool:
    if not entries:
        return False
    first = entries[0]
    generation, place, previous = first.generation, first.sequence, first.previous
    for read in entries:
        if read.sequence != place or read.previous != previous or read.generation != generation:
            return False
        place, previous = place + 1, read.digest
    return True


@lru_cache(1000)
def _words(clock_trust: str, kind: str) -> bytes:
    return word_field(clock_trust) + word_field(kind)


def _row(read: ReadEntry) -> bytes:
    digests = (read.previous.encode(), 64, read.digest.encode(), read.instant, 64, read.body_digest.encode())
    return b"".join(
        (
            _words(read.clock_trust, read.kind),
            _OF_ONE(8, read.sequence, 64, *digests),
            octets_field(read.signature),
            NOTHING if read.kind in FORGOTTEN_BODIES else octets_field(read.body),
        )
    )
