"""How long a device's own journal keeps what the ledger has: its legal time, and no entry longer.

What goes is the beginning of the chain, never a piece out of it. The digest of the last entry that went is kept, so
that what follows can still be verified; the ledger acknowledged all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sync.errors import JournalUnavailable
from sync.pass_journal import PassJournal

PASSES_KEPT = timedelta(days=92)
"""Three months: what CNIL's texts on access control give movements (AU-008, art. 4), and canteens keep to."""

SHORTEST = timedelta(days=8)
"""Anti-passback looks back two days, a lane's neighbours one; a server is restored from last week's backup at worst."""

_EVERY_S = 3600.0
_AHEAD = timedelta(days=1)
"""An entry later than the certain time by more than this was written under a clock that ran ahead."""

_log = logging.getLogger("canteen.sync.retention")


class Retention:
    """Forgets in small pieces, whenever asked; seldom has anything to do."""

    def __init__(
        self,
        journal: PassJournal,
        certain_time: Callable[[], datetime | None],
        monotonic_s: Callable[[], float],
        kept: timedelta = PASSES_KEPT,
    ) -> None:
        """Args:
        journal: the device's own.
        certain_time: an instant no later than the true time: a clock set forward must not empty a journal.
        monotonic_s: when to look again.
        kept: how long.
        """
        self._journal, self._certain_time, self._monotonic_s = journal, certain_time, monotonic_s
        self._kept = max(kept, SHORTEST)
        self._not_before_s = 0.0

    def keep(self) -> None:
        """Forget a piece of what is due. Cheap when nothing is; never raises."""
        now_s = self._monotonic_s()
        if now_s < self._not_before_s:
            return
        self._not_before_s = now_s + _EVERY_S
        try:
            certain = self._certain_time()
            if certain is not None and self._journal.forget_before(certain - self._kept, certain + _AHEAD):
                self._not_before_s = now_s  # there may be more
        except JournalUnavailable as error:
            _log.warning("the journal forgets nothing now: %s", error)
