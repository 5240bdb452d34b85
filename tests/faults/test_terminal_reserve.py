"""A disk that is really full, on a small file system of its own: the reserve is given back, and passes go on."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from canteen.meal_pass import PassGranted
from sync.facts import OrderApplied, PurgeReceipt, ReferencesDestroyed
from templates_store.errors import StoreUnavailable
from templates_store.reserve import Reserve
from terminal.findings import Verdict
from terminal.pass_machine import State
from tests.unit.enrollment_station.bench import ADA, Bench, placements
from tests.unit.enrollment_station.test_orders import _purge as purge_at_station
from tests.unit.terminal.lane import TERMINAL_KEY, School, card, filled_school, pupil_id
from tests.unit.terminal.test_orders import purge_order

DISK_BYTES = 12 * 1024 * 1024
RESERVE_BYTES = 2 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Twelve megabytes in memory, mounted for this test alone."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a file system can only be mounted as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_up(folder: Path) -> None:
    """To the last byte."""
    with (folder / "rubbish").open("ab", buffering=0) as rubbish:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    rubbish.write(b"x" * size)
            except OSError:
                continue


def test_full_disk_and_the_reserve(disk: Path) -> None:
    """The pass at the full disk is written and opened; an erasure is carried out; the doctor says it is serious."""
    reserve = Reserve(disk / "reserve", RESERVE_BYTES)
    filled_school(disk).close()
    school = School(disk, reserve=reserve).begin()
    assert reserve.held
    fill_up(disk)
    assert 0 == shutil.disk_usage(disk).free
    school.present(card(2))
    assert school.is_in(State.PASSAGE_OPEN)
    assert not Path(disk / "reserve").exists()
    assert school.push()

    purge = purge_order(1)
    number = school.order(purge)
    school.settle(10)
    assert OrderApplied(number) in school.facts
    assert 1 == len(school.facts_of(PurgeReceipt))
    (found,) = [check for check in school.lane.checkup.run_now().checks if check.name == "disk"]
    assert Verdict.RISK is found.verdict

    (disk / "rubbish").unlink()
    school.settle(1)
    assert reserve.held
    assert 1 == len(school.facts_of(PassGranted))
    for entry in school.journal.entries_after(0):
        entry.verify(TERMINAL_KEY.verifying_key)
    school.close()


def test_a_lease_ends_on_a_full_disk(disk: Path) -> None:
    """Without the reserve even a deletion has no room: the hands would lie there for as long as the disk is full."""
    reserve = Reserve(disk / "reserve", RESERVE_BYTES)
    filled_school(disk).close()
    school = School(disk, reserve=reserve).begin()
    fill_up(disk)
    now = school.clock.utc_now() + timedelta(days=8)
    with pytest.raises(StoreUnavailable):
        school.store.note_signed_time(now, now)
    school.clock.advance(timedelta(days=8).total_seconds())
    school.settle(1)  # housekeeping sees the full disk and gives the reserve back
    school.store.note_signed_time(now, now)
    school.settle(130)
    assert 0 == school.store.reference_revision(pupil_id(1))
    assert 1 == len(school.facts_of(ReferencesDestroyed))
    school.close()


def test_a_station_erases_on_a_full_disk(disk: Path) -> None:
    """A withdrawal while the disk is full: refused at first, done once the reserve is given back."""
    station = Bench(disk)
    station.fill()
    station.consent(ADA)
    station.enroll(ADA, placements(1))
    reserve = Reserve(disk / "reserve", RESERVE_BYTES)
    reserve.keep()
    applier = replace(station.station.applier, reserve=reserve)
    station.put_orders(purge_at_station())
    fill_up(disk)
    with pytest.raises(StoreUnavailable):
        applier.apply_next()
    stop = threading.Event()
    worker = threading.Thread(target=applier.run, args=(stop,))
    worker.start()
    for _ in range(200):
        if not station.station.store.reference_revision(ADA):
            break
        time.sleep(0.05)
    stop.set()
    worker.join(10)
    assert 0 == station.station.store.reference_revision(ADA)
    station.close()


def test_a_reserve_is_no_secret_and_no_must(tmp_path: Path) -> None:
    """Mode 0600, blocks really taken, put by once; where it cannot be, the lane goes on without."""
    reserve = Reserve(tmp_path / "reserve", 1 << 16)
    assert not reserve.held
    reserve.keep()
    status = (tmp_path / "reserve").stat()
    assert (0o600, True) == (status.st_mode & 0o777, status.st_blocks * 512 >= 1 << 16)
    assert Reserve(tmp_path / "reserve", 1 << 16).held
    assert not reserve.given_back()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "other")
    linked = Reserve(tmp_path / "elsewhere", 1 << 16)
    linked.keep()
    assert not linked.held
    Reserve(tmp_path / "no" / "folder").keep()
