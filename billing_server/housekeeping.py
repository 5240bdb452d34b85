"""What must happen without being asked: leases, deadlines, the year's end, holdings, balances, refusals."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from billing_server.balances import BalanceDesk
from billing_server.database import Database
from billing_server.devices import DeviceDesk
from billing_server.purge_deadlines import PurgeDesk
from billing_server.refusals import Refusals
from billing_server.resealing import ResealDesk
from billing_server.year_end import YearEnd

_log = logging.getLogger("canteen.billing.housekeeping")

_ROUND_EVERY_S = 5.0
"""Fine enough for a clock that jumps (a machine that slept) and one cheap query each."""


class Housekeeping:
    """One thread; `round` may also be called by itself, as the tests do with a clock turned by hand."""

    def __init__(
        self,
        database: Database,
        devices: DeviceDesk,
        purges: PurgeDesk,
        year_end: YearEnd,
        resealing: ResealDesk,
        balances: BalanceDesk,
        refusals: Refusals,
    ) -> None:
        self._database, self._devices, self._purges, self._refusals = database, devices, purges, refusals
        self._year_end, self._resealing, self._balances = year_end, resealing, balances
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
            self._refusals.write_down(session)
            self._year_end.watch(session)
            self._purges.watch(session)
            self._devices.renew_leases(session)
            self._resealing.watch(session)
            self._balances.tell_changes(session)
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
