"""The terminal's pen: every fact goes through here to the journal, and what is written feeds anti-passback."""

from __future__ import annotations

import logging
from datetime import datetime

from canteen.clock import Clock, ClockTrust, judge_clock
from canteen.errors import CanteenError
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassUnresolved
from sync.errors import JournalUnavailable
from sync.facts import Fact
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.standing import put_on_record
from templates_store.reserve import Reserve
from templates_store.store import TemplateStore
from terminal.answer_clock import AnswerClock
from terminal.prepaid import Prepaid
from terminal.served import Served

_log = logging.getLogger("canteen.terminal.pass_records")


class PassRecords:
    """Appends facts with the instant and how far it may be believed."""

    def __init__(
        self,
        journal: PassJournal,
        box: OrderBox,
        store: TemplateStore,
        clock: Clock,
        served: Served,
        prepaid: Prepaid,
        answers: AnswerClock,
        reserve: Reserve | None = None,
    ) -> None:
        self._answers = answers
        self._journal, self._box, self._store, self._clock = journal, box, store, clock
        self._served, self._prepaid, self._reserve = served, prepaid, reserve
        self._late: list[Fact] = []

    @property
    def waiting(self) -> int:
        """How many facts the journal has not taken yet."""
        return len(self._late)

    def clock_trust(self, now: datetime) -> ClockTrust:
        """How far `now` may be believed. Without the store's own mark it is not believed at all."""
        try:
            signed_time = self._box.link.signed_time
        except CanteenError as error:
            # The other process may write what it likes there, nothing included: no reason to stop lunch.
            _log.warning("the order box does not tell the signed time: %s", type(error).__name__)
            signed_time = None
        try:
            return judge_clock(now, self._store.high_water_mark, signed_time)
        except CanteenError as error:
            _log.warning("the clock cannot be judged: %s", type(error).__name__)
            return ClockTrust.UNTRUSTED

    def grant(self, fact: PassGranted, within_s: float | None = None) -> None:
        """Record a grant; on disk when this returns. `within_s` as at `write_late`.

        Raises:
            JournalUnavailable: it is not, and nothing may open.
        """
        self._append([*self._late, fact], within_s)
        self._late.clear()

    def outcome(self, fact: PassCompleted | PassAbandoned | PassUnresolved) -> None:
        """Record what became of a grant; if the journal fails just now, with the next fact that it takes.

        Until then, and at a start after a kill, the pass counts as open, hence as a meal.
        """
        self._late.append(fact)
        self.write_late()

    def denial(self, fact: PassDenied) -> None:
        """Record a denial. One that cannot be recorded is still a denial."""
        self._late.append(fact)
        self.write_late()

    def write_late(self, within_s: float | None = None) -> None:
        """Try again what the journal did not take; `within_s`: as long as the turn has, unless said otherwise."""
        if not self._late:
            return
        try:
            self._append(self._late, within_s)
        except JournalUnavailable:
            _log.warning("the journal takes nothing; %d facts wait in memory", len(self._late))
            del self._late[:-_LATE_MOST]
        else:
            self._late.clear()

    def write(self, facts: list[Fact]) -> None:
        """Record facts that are about no pass (orders, receipts): all or none. Raises JournalUnavailable."""
        self._append(facts)

    def put_on_record(self) -> None:
        """What the protocol asks of the holder of the key, while no pass is open (see `sync.standing`).

        Raises:
            JournalUnavailable, OrderBoxUnavailable: try again later.
        """
        now = self._clock.utc_now()
        put_on_record(self._journal, self._box, now, self.clock_trust(now))

    def _append(self, facts: list[Fact], within_s: float | None = None) -> None:
        now = self._clock.utc_now()
        trust = self.clock_trust(now)
        try:
            entries = self._journal.append_all(facts, now, trust, self._left_s(within_s))
        except JournalUnavailable:
            if self._reserve is None or not self._reserve.given_back():
                raise
            # Nothing of the first attempt is there: all or none.
            entries = self._journal.append_all(facts, now, trust, self._left_s(within_s))
        for entry, fact in zip(entries, facts, strict=True):
            self._served.note(fact)
            self._prepaid.note(entry, fact)

    def _left_s(self, within_s: float | None) -> float:
        return self._answers.left_s if within_s is None else within_s


_LATE_MOST = 500
"""A journal that is ill for a whole lunch must not eat the memory. A denial may be lost; an open pass is a meal."""
