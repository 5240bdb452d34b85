"""The station's audit log: nobody changes a line, none goes within its year, none stays beyond it."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from enrollment_station.audit_log import AuditedAction, AuditLog
from sync.orders import LeaseOrder
from tests.conftest import wait_until
from tests.unit.enrollment_station.bench import ADA, NOON, Bench


def days_of(log: AuditLog) -> list[int]:
    return [(entry.at - NOON).days for entry in log.entries()]


def test_a_line_is_kept_for_a_year(tmp_path: Path) -> None:
    """And no clock that only claims to be later shortens that: the latest line bounds it, too."""
    log = AuditLog(tmp_path / "audit.sqlite")
    for day in (0, 1, 200):
        log.note(NOON + timedelta(days=day), "Mme Delmas", AuditedAction.PUPIL_SEEN, ADA)
    log.keep(None)
    log.keep(NOON + timedelta(days=900))
    assert [200, 1, 0] == days_of(log)
    log.note(NOON + timedelta(days=365, hours=1), "Mme Delmas", AuditedAction.ROSTER_SEEN)
    log.keep(NOON + timedelta(days=365, hours=2))
    assert [365, 200, 1] == days_of(log)
    log.close()


def test_no_line_is_changed_or_taken_out(tmp_path: Path) -> None:
    """Not by a fault of ours either: the file itself refuses."""
    log = AuditLog(tmp_path / "audit.sqlite")
    for day in (0, 364):
        log.note(NOON + timedelta(days=day), "Mme Delmas", AuditedAction.PUPIL_SEEN, ADA)
    for statement in ("DELETE FROM audit", "UPDATE audit SET operator = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError):
            log._connection.execute(statement)
    assert [364, 0] == days_of(log)
    log.close()


def test_the_station_lets_its_old_lines_go(bench: Bench) -> None:
    """By itself, once the server's word has made the time certain."""
    bench.fill()
    bench.client.get("/", headers=bench.bearer)
    bench.clock.advance(366 * 86_400)
    bench.client.get("/", headers=bench.bearer)
    assert [366, 0] == days_of(bench.station.audit)
    bench.put_orders(LeaseOrder(bench.clock.utc_now() + timedelta(days=7)))
    stop = threading.Event()
    thread = threading.Thread(target=bench.station.applier.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: [366] == days_of(bench.station.audit), what="the old line")
    finally:
        stop.set()
        thread.join(10)
