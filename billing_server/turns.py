"""Whose turn a batch is, when several workers share what comes in.

The broker deals messages out one by one, so that a worker may hold a batch whose predecessor another worker has. It
waits for that one to be in the ledger; only what has waited in vain is a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from billing_server.read_batch import ReadBatch
from canteen.clock import Clock

PATIENCE_S = 10.0
"""A killed worker takes batches with it; the device sends them again after 5 s, and what came after them still fits."""

LOOK_EVERY_S = 0.02

HELD_MOST = 400
"""100 MiB of messages at the very most, four times that as they are held here; more than that goes to the ledger as it
is, which says what it thinks of it."""


@dataclass(slots=True)
class _Held:
    batch: ReadBatch
    since_s: float


@dataclass(slots=True)
class Turns:
    """Not safe for several threads: it belongs to the one that stores."""

    reached: Callable[[str], dict[str, int]]
    """How far the ledger has the journals of a device, by generation."""
    clock: Clock
    patience_s: float = PATIENCE_S
    _held: dict[str, list[_Held]] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def hold(self, batch: ReadBatch) -> None:
        self._held.setdefault(batch.device, []).append(_Held(batch, self.clock.monotonic_s()))

    def due(self) -> list[list[ReadBatch]]:
        """What may be stored now, a list a device, in the order of the journals."""
        now_s = self.clock.monotonic_s()
        too_many = sum(map(len, self._held.values())) > HELD_MOST
        due = []
        for device, held in list(self._held.items()):
            reached = self.reached(device)
            ready, later = [], []
            for one in sorted(held, key=lambda one: _place(one.batch)):
                generation, first, last = _place(one.batch)
                if too_many or first <= reached.get(generation, 0) + 1 or now_s - one.since_s >= self.patience_s:
                    ready.append(one.batch)
                    reached[generation] = max(last, reached.get(generation, 0))
                else:
                    later.append(one)
            if later:
                self._held[device] = later
            else:
                del self._held[device]
            if ready:
                due.append(ready)
        return due


def _place(batch: ReadBatch) -> tuple[str, int, int]:
    """The generation, first and last sequence number of a batch; a mixed one is of no place and waits for nothing."""
    places = [(read.generation, read.sequence) for read in batch.untrusted_entries]
    if not places or len({generation for generation, _ in places}) > 1:
        return "", 0, 0
    return places[0][0], min(places)[1], max(places)[1]
