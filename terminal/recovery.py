"""What a power cut left: grants without an outcome, an order half taken from the box, nobody known to be served."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain

from canteen.clock import Clock
from canteen.errors import CanteenError
from canteen.identifiers import PassId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassUnresolved
from sync.errors import JournalUnavailable
from sync.fact_bodies import read_fact
from sync.facts import Fact, OrderApplied, OrderRefused
from sync.messages import JournalEntry
from sync.pass_journal import JournalReader
from templates_store.store import TemplateStore
from terminal.orders import OrderDesk
from terminal.pass_records import PassRecords
from terminal.prepaid import Prepaid
from terminal.served import Served

_log = logging.getLogger("canteen.terminal.recovery")

SETTLED_DOCUMENT = "settled"
"""Under this name the store keeps up to where the journal was settled at the last start."""
_BACK = timedelta(hours=36)
"""Meals of today and of last evening: what anti-passback can still ask about."""


@dataclass
class _Findings:
    """What the unsettled end of the journal says."""

    open_passes: dict[PassId, None] = field(default_factory=dict)
    last_order: int | None = None


def recover(
    journal: JournalReader,
    store: TemplateStore,
    records: PassRecords,
    served: Served,
    prepaid: Prepaid,
    desk: OrderDesk,
    clock: Clock,
) -> int:
    """Settle what is open and fill `served` and `prepaid`; how many passes were left unresolved.

    A kill in the middle of it is settled by the next start. A journal that cannot be written leaves all as it is: the
    passes stay open, hence count as meals, and the terminal denies until it can write.

    Raises:
        StoreUnavailable, JournalUnavailable: they cannot even be read.
    """
    since = clock.utc_now() - _BACK
    for fact in _facts(chain(journal.past_entries_since(since), journal.entries_since(since))):
        served.note(fact)
    prepaid.read()
    settled, is_first_start = _settled_up_to(journal, store)
    findings = _read_on(journal, settled)
    if not is_first_start:
        desk.finish_interrupted(findings.last_order)
    if findings.open_passes:
        _log.warning("%d passes were open when the power went", len(findings.open_passes))
        try:
            records.write([PassUnresolved(pass_id) for pass_id in findings.open_passes])
        except JournalUnavailable as error:
            _log.warning("open passes stay open: %s", error)
            return len(findings.open_passes)
    store.put_document(SETTLED_DOCUMENT, {"generation": journal.generation, "sequence": journal.last_sequence})
    return len(findings.open_passes)


def _settled_up_to(journal: JournalReader, store: TemplateStore) -> tuple[int, bool]:
    """The entry up to which all is settled, and whether this store has never seen this journal."""
    document = store.document(SETTLED_DOCUMENT)
    if document is None or document.get("generation") != journal.generation:
        return 0, True
    return int(document["sequence"]), False


def _read_on(journal: JournalReader, sequence: int) -> _Findings:
    findings = _Findings()
    for fact in _facts(_entries_after(journal, sequence)):
        if isinstance(fact, PassGranted):
            findings.open_passes[fact.pass_id] = None
        elif isinstance(fact, PassCompleted | PassAbandoned | PassUnresolved):
            findings.open_passes.pop(fact.pass_id, None)
        elif isinstance(fact, OrderApplied | OrderRefused):
            findings.last_order = fact.number
    return findings


def _entries_after(journal: JournalReader, sequence: int) -> Iterator[JournalEntry]:
    while entries := journal.entries_after(sequence):
        yield from entries
        sequence = entries[-1].sequence


def _facts(entries: Iterator[JournalEntry]) -> Iterator[Fact]:
    """The facts of `entries`; one that a later version wrote is passed over."""
    for entry in entries:
        try:
            yield read_fact(entry.kind, entry.body)
        except CanteenError as error:
            _log.warning("entry %d is of no kind known here: %s", entry.sequence, type(error).__name__)
