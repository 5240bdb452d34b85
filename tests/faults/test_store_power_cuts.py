"""A power cut after every write and every sync of all that changes a store: before or after, never half, and finished.

Between the syncs the disk keeps what it likes (see `recorded_files.py`). After every cut the store opens without a
word, holds what it held before or what it was to hold, keeps one epoch's secret, and goes on working.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource, epochs_beside
from templates_store.store import PupilRecord, StoredReference
from tests.faults.recorded_files import Disk, cuts, record

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
LATER = NOW + timedelta(days=8)
ADA, ALAN = PupilId("p-00000000000000aa"), PupilId("p-00000000000000bb")
ROSTER = [
    (PupilRecord(ADA, "Ada", "", "6e A", ()), PersonalCode("0013")),
    (PupilRecord(ALAN, "Alan", "", "6e A", ()), PersonalCode("0021")),
]

_SCRIPT = """
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from templates_store.store import Erasure
from tests.faults.test_store_power_cuts import *
store = open_store(Path(sys.argv[1]))
{change}
store.close()
"""

CHANGES = {
    "enrol": "store.put_reference(ADA, 2, CONSENT, b'a second hand')",
    "update": "store.put_pupils([(PupilRecord(ADA, 'Augusta', '', '5e B', ()), PersonalCode('0037'))], whole=False)",
    "purge the reference": "store.purge(ADA, Erasure.REFERENCE)",
    "purge everything": "store.purge(ADA, Erasure.EVERYTHING)",
    "a roster without her": "store.put_pupils(ROSTER[1:], whole=True)",
    "a hand that has grown": "store.adapt_reference(replace(store.reference(ADA, NOW), reference=b'+'), b'then', NOW)",
    "end of the lease": "store.note_signed_time(LATER, LATER); store.tend(LATER)",
}


def open_store(folder: Path) -> EncryptedStore:
    """The store in `folder`; running time stands still."""
    return EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"), lambda: 0.0)


def _fill(folder: Path) -> None:
    folder.mkdir()
    store = open_store(folder)
    store.put_pupils(ROSTER, whole=True)
    for pupil in (ADA, ALAN):
        store.put_consent(pupil, ConsentState.GIVEN, CONSENT)
        store.put_reference(pupil, 1, CONSENT, b"hand of " + pupil.encode())
    store.renew_lease(NOW + timedelta(days=7))
    store.close()


def _held(folder: Path, change: str) -> object:
    """All that can be asked of a store; whatever does not open raises."""
    store = open_store(folder)
    try:
        if change == "end of the lease":
            store.tend(LATER)  # as a terminal does after its start
        assert not store.rolled_back
        return [
            (
                store.pupil(pupil),
                store.code_of(pupil),
                store.consent_of(pupil),
                store.reference(pupil, NOW),
                store.revision_floor(pupil),
                store.last_erasure(pupil),
            )
            for pupil in (ADA, ALAN)
        ] + [store.epoch, store.lease]
    finally:
        store.close()


def _lay_out(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_before_or_after_but_never_half(tmp_path: Path, change: str) -> None:
    """Every cut of this change."""
    before, working, cut_folder = tmp_path / "before", tmp_path / "working", tmp_path / "cut"
    _fill(before)
    shutil.copytree(before, working)
    # Inodes are how the record names files: what lay there before is read from the folder that is worked in.
    disk = Disk(working)
    operations = record(working, _SCRIPT.format(change=CHANGES[change]))
    assert sum(done.kind == "S" for done in operations) >= 2
    was, is_now = _held(before, change), _held(working, change)
    assert was != is_now
    tried = changed = 0
    for done, cut, left in cuts(disk, operations, seed=4):
        _lay_out(cut_folder, left)
        held = _held(cut_folder, change)
        assert held in (was, is_now), (done, cut)
        if changed:
            assert cut != "all" or held == is_now, (done, cut)
        changed += cut == "all" and held == is_now
        if done == len(operations):
            assert held == is_now, cut
        assert 1 == len(epochs_beside(cut_folder / "store.db").kept())
        assert held == _held(cut_folder, change)
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_migrating(tmp_path: Path, version: str) -> None:
    """Cut while an earlier format is brought up to the present one: the next start does it, or finds it done."""
    working, cut_folder = tmp_path / "working", tmp_path / "cut"
    vector = Path(__file__).parents[1] / "vectors" / "store" / version
    _lay_out(working, {path.name: path.read_bytes() for path in vector.iterdir()})
    disk = Disk(working)
    operations = record(working, _SCRIPT.format(change=""))
    tried = 0
    for done, cut, left in cuts(disk, operations, seed=4):
        _lay_out(cut_folder, left)
        for _ in range(2):
            store = open_store(cut_folder)
            held = [store.reference_revision(PupilId(f"p-{n:016x}")) for n in range(1, 5)]
            assert [3, 4, 0, 0] == held, (done, cut)
            assert isinstance(store.reference(PupilId(f"p-{1:016x}"), NOW), StoredReference)
            assert not store.rolled_back
            store.close()
        tried += 1
    assert tried >= 5


def test_making_a_store(tmp_path: Path) -> None:
    """Cut while it is made for the first time: the next start makes it, or finds it made."""
    working, cut_folder = tmp_path / "working", tmp_path / "cut"
    working.mkdir()
    disk = Disk(working)
    operations = record(working, _SCRIPT.format(change="store.put_pupils(ROSTER, whole=True)"))
    for done, cut, left in cuts(disk, operations, seed=4):
        _lay_out(cut_folder, left)
        store = open_store(cut_folder)
        assert len(list(store.pupils())) in {0, 2}, (done, cut)
        if done == len(operations):
            assert 2 == len(list(store.pupils()))
        store.put_pupils(ROSTER, whole=True)
        store.put_reference(ADA, 1, CONSENT, b"hand")
        store.renew_lease(NOW + timedelta(days=7))
        assert isinstance(store.reference(ADA, NOW), StoredReference)
        store.close()
