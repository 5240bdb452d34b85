"""The station's pen: judges the clock and writes facts into the journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from canteen.clock import Clock, ClockTrust, judge_clock
from sync.facts import Fact
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.standing import put_on_record
from templates_store.encrypted_store import EncryptedStore


@dataclass(frozen=True, slots=True)
class Recorder:
    """Appends facts with an instant and how far it may be believed."""

    journal: PassJournal
    store: EncryptedStore
    box: OrderBox
    clock: Clock

    def now(self) -> datetime:
        return self.clock.utc_now()

    def clock_trust(self) -> ClockTrust:
        """How far the clock may be believed just now."""
        return judge_clock(self.now(), self.store.high_water_mark, self.box.link.signed_time)

    def put_on_record(self) -> None:
        """What the protocol asks of the holder of the key (see `sync.standing`)."""
        put_on_record(self.journal, self.box, self.now(), self.clock_trust())

    def record(self, *facts: Fact) -> None:
        """All of `facts` on disk, or none.

        Raises:
            JournalUnavailable: none is.
            StoreUnavailable: the high-water mark cannot be raised.
        """
        now, trust = self.now(), self.clock_trust()
        self.journal.append_all(list(facts), now, trust)
        if trust is not ClockTrust.UNTRUSTED:
            self.store.note_instant(now)
