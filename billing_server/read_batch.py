"""A batch made ready for the ledger: all that can be worked out before the database is asked.

The thread that reads does this while the one that stores waits for the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from billing_server.batch_reading import ReadEntry
from billing_server.pass_rows import Passes, gathered
from canteen.identifiers import DeviceId


class ReadBatch(Struct, frozen=True, gc=False):
    """A message of journal entries, read and not yet verified; all of them say that they are of `device`.

    Attributes:
        follows: whether they are of one journal, each the one that follows the one before.
        kinds: of the facts in it.
        passes: what they say of passes.
    """

    device: DeviceId
    untrusted_entries: Sequence[ReadEntry]
    follows: bool
    kinds: frozenset[str]
    passes: Passes


def made_ready(device: DeviceId, untrusted_entries: Sequence[ReadEntry]) -> ReadBatch:
    """Entries of `device`, in the order in which they came."""
    return ReadBatch(
        device,
        untrusted_entries,
        _follow(untrusted_entries),
        frozenset([read.kind for read in untrusted_entries]),
        gathered(untrusted_entries),
    )


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
