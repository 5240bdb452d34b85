"""Externals' prepaid meals at the lane: by the server's last word, less what was eaten here and next door since.

So that a terminal without a line still knows when none is left. The word says up to which entry of each journal it has
counted; what lies beyond is taken off here, an abandoned pass not. Weeks of the own journal are read again where
needed; of neighbours the last two days are known (see `neighbours`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from canteen.access_decision import MissingEntitlement
from canteen.entitlements import EntitlementKind
from canteen.errors import CanteenError
from canteen.identifiers import DeviceId, PassId, PupilId
from canteen.meal_pass import PassAbandoned, PassGranted
from sync.errors import MalformedMessage
from sync.fact_bodies import read_fact
from sync.facts import Fact
from sync.messages import JournalEntry
from sync.order_bodies import read_order, write_order
from sync.orders import BalancesOrder
from sync.pass_journal import JournalReader
from templates_store.store import TemplateStore

_log = logging.getLogger("canteen.terminal.prepaid")

BALANCES_DOCUMENT = "balances"
"""Under this name the store keeps the last balances order, as the order's own JSON."""


@dataclass(slots=True)
class _Use:
    pupil: PupilId
    place: tuple[str, int]
    counts: bool = True


class Prepaid:
    """What is left, pupil by pupil."""

    def __init__(self, device: DeviceId, store: TemplateStore, journal: JournalReader) -> None:
        self._device, self._store, self._journal = device, store, journal
        self._order: BalancesOrder | None = None
        self._left: dict[PupilId, int] = {}
        self._counted: dict[tuple[DeviceId, str], int] = {}
        self._uses: dict[tuple[DeviceId, PassId], _Use] = {}
        self._own_from: tuple[str | None, int] | None = None
        """Generation and sequence beyond which every own pass is in `_uses`; None: nothing was read yet."""

    @property
    def without_meals(self) -> MissingEntitlement:
        """The school's choice where none is left."""
        return MissingEntitlement.SERVE_AND_BILL if self._order is None else self._order.without_meals

    def left(self, pupil: PupilId) -> int | None:
        """How many meals `pupil` still has; None where nobody counts them."""
        stated = self._left.get(pupil)
        if stated is None:
            return None
        return stated - sum(use.pupil == pupil and use.counts for use in self._uses.values())

    def read(self) -> None:
        """Take the last order out of the store, and from the journal what it does not know of.

        Raises:
            StoreUnavailable, JournalUnavailable: they cannot be read.
        """
        document = self._store.document(BALANCES_DOCUMENT)
        try:
            order = None if document is None else read_order(document)
        except MalformedMessage:
            _log.warning("the balances in the store cannot be read: nobody is counted")
            order = None
        self._order = order if isinstance(order, BalancesOrder) else None
        self._left = dict(() if self._order is None else self._order.meals_left)
        counted = () if self._order is None else self._order.counted
        self._counted = {(one.device, one.generation): one.sequence for one in counted}
        if self._order is None:
            self._uses.clear()
            self._own_from = None
            return
        self._uses = {key: use for key, use in self._uses.items() if not self._is_counted(key[0], use.place)}
        self._read_own()

    def take(self, order: BalancesOrder) -> bool:
        """The server's new word; whether it is the first one, so that neighbours' news are to be heard again."""
        first = self._order is None
        self._store.put_document(BALANCES_DOCUMENT, write_order(order))
        self.read()
        return first

    def note(self, entry: JournalEntry, fact: Fact) -> None:
        """Take in a fact of this journal or, verified, of a neighbour's. Twice is as once."""
        if self._order is None:
            return
        if isinstance(fact, PassGranted):
            place = (entry.generation, entry.sequence)
            key = (entry.device, fact.pass_id)
            prepaid = fact.charged_to is EntitlementKind.EXTERNAL_MEAL
            if prepaid and key not in self._uses and not self._is_counted(entry.device, place):
                self._uses[key] = _Use(fact.pupil, place)
        elif isinstance(fact, PassAbandoned) and (entry.device, fact.pass_id) in self._uses:
            self._uses[entry.device, fact.pass_id].counts = False

    def forget(self, pupil: PupilId) -> None:
        """A purge of everything: no balance of `pupil` stays."""
        self._uses = {key: use for key, use in self._uses.items() if use.pupil != pupil}
        if self._order is not None and pupil in self._left:
            left = tuple(item for item in self._order.meals_left if item[0] != pupil)
            self._order = replace(self._order, meals_left=left)
            self._left = dict(left)
            self._store.put_document(BALANCES_DOCUMENT, write_order(self._order))

    def _is_counted(self, device: DeviceId, place: tuple[str, int]) -> bool:
        generation, sequence = place
        return sequence <= self._counted.get((device, generation), 0)

    def _read_own(self) -> None:
        """Own passes beyond what is counted, unless they are known already."""
        generation = self._journal.generation
        mark = self._counted.get((self._device, generation or ""), 0)
        known, self._own_from = self._own_from, (generation, mark)
        if known is not None and known[0] == generation and known[1] <= mark:
            return
        sequence = mark
        while entries := self._journal.entries_after(sequence):
            for entry in entries:
                try:
                    self.note(entry, read_fact(entry.kind, entry.body))
                except CanteenError as error:
                    _log.warning("entry %d is of no kind known here: %s", entry.sequence, type(error).__name__)
            sequence = entries[-1].sequence
