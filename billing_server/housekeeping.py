"""What must happen without being asked: leases, deadlines, the year's end, holdings, balances, refusals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from billing_server.database import Database

_log = logging.getLogger("canteen.billing.housekeeping")

_ROUND_EVERY_S = 5.0
"""Fine enough for a clock that jumps (a machine that slept) and one cheap query each."""


class Housekeeping:
    """One thread; `round` may also be called by itself, as the tests do with a clock turned by hand."""

    def __init__(self, database: Database, chores: Sequence[Callable[[Session], object]]) -> None:
        """`chores` are done in this order, in one transaction."""
        self._database, self._chores = database, chores
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._guarded_round()

    def round(self) -> None:
        """Do what is due."""
        with self._database.writing() as session:
            for chore in self._chores:
                chore(session)
        self._database.tidy()

    def _run(self) -> None:
        self._guarded_round()
        while not self._stop.wait(_ROUND_EVERY_S):
            self._guarded_round()

    def _guarded_round(self) -> None:
        try:
            self.round()
        except SQLAlchemyError as error:
            _log.error("housekeeping waits: %s", type(error).__name__)
