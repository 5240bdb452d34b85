"""The journal: gapless, chained, signed, and honest about what is on disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted
from sync.errors import BadSignature, JournalBroken, JournalUnavailable
from sync.fact_bodies import read_fact
from sync.facts import FactKind, JournalBegun, OrdersHeld
from sync.messages import GENESIS, JournalEntry
from sync.pass_journal import JournalReader, PassJournal
from sync.signing import SigningKey

TERMINAL = DeviceId("terminal-1")
NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "key")


def fill(journal: PassJournal, count: int) -> list[JournalEntry]:
    return [
        journal.append(PassCompleted(new_pass_id()), NOW + timedelta(seconds=number), ClockTrust.TRUSTED)
        for number in range(count)
    ]


def test_a_chain_from_the_first_entry(tmp_path: Path, key: SigningKey) -> None:
    """Each entry names the one before it and is signed; a reopened journal goes on."""
    path = tmp_path / "journal"
    fill(PassJournal(path, TERMINAL, key), 3)
    journal = PassJournal(path, TERMINAL, key)
    fill(journal, 2)
    entries = journal.entries_after(0)
    assert [1, 2, 3, 4, 5] == [entry.sequence for entry in entries]
    assert [GENESIS, *(entry.digest for entry in entries[:-1])] == [entry.previous for entry in entries]
    for entry in entries:
        entry.verify(key.verifying_key)
    assert 1 == len({entry.generation for entry in entries})
    assert entries[3:] == journal.entries_after(3)
    assert entries[:2] == journal.entries_after(0, 2)


def test_the_mark_moves_forward_and_only_for_this_journal(tmp_path: Path, key: SigningKey) -> None:
    """A late, foreign or wrong acknowledgement changes nothing."""
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    fill(journal, 4)
    one, two, three, four = journal.entries_after(0)
    assert journal.acknowledge(three.generation, 3, three.digest, NOW)
    assert journal.acknowledge(one.generation, 1, one.digest, NOW - timedelta(seconds=1))
    assert not journal.acknowledge("0" * 16, 4, four.digest, NOW)
    assert not journal.acknowledge(four.generation, 4, two.digest, NOW)
    assert not journal.acknowledge(four.generation, 9, four.digest, NOW)
    assert (3, 1) == (journal.acknowledged_up_to, journal.backlog)


def test_a_server_restored_from_its_backup_gets_again_what_it_lost(tmp_path: Path, key: SigningKey) -> None:
    """Its newest word counts, also when it has less than before; its older words do not come back to count."""
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    fill(journal, 4)
    one, _, _, four = journal.entries_after(0)
    journal.acknowledge(four.generation, 4, four.digest, NOW)
    journal.acknowledge(one.generation, 1, one.digest, NOW + timedelta(days=1))
    assert journal.acknowledged_up_to == 1
    journal.acknowledge(four.generation, 4, four.digest, NOW + timedelta(days=2))
    journal.acknowledge(one.generation, 1, one.digest, NOW + timedelta(days=1))
    assert journal.acknowledged_up_to == 4


def test_a_ledger_that_has_nothing_of_this_journal_gets_all_of_it(tmp_path: Path, key: SigningKey) -> None:
    """Restored from before this journal began: it acknowledges entry 0."""
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    last = fill(journal, 2)[-1]
    journal.acknowledge(last.generation, 2, last.digest, NOW)
    assert journal.acknowledge(last.generation, 0, GENESIS, NOW + timedelta(days=1))
    assert (0, 2) == (journal.acknowledged_up_to, journal.backlog)
    assert journal.begin_anew_if_contradicted(NOW, ClockTrust.TRUSTED, 0) is None


@pytest.mark.parametrize("theirs", [2, 9])
def test_a_journal_that_the_ledger_contradicts_begins_anew(tmp_path: Path, key: SigningKey, theirs: int) -> None:
    """Another entry in one of our places, or more than we have: a new generation; what the ledger lacks, told again.

    After it stands which orders are done. The old generation stays in the file, and a kill in the middle leaves all as
    it was.
    """
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    one, two, three = fill(journal, 3)
    journal.acknowledge(one.generation, 1, one.digest, NOW)
    assert not journal.acknowledge(one.generation, theirs, "ab" * 32, NOW)
    later = NOW + timedelta(hours=1)
    begun = journal.begin_anew_if_contradicted(later, ClockTrust.UNCONFIRMED, 7)
    assert JournalBegun(one.generation, theirs, "ab" * 32, 2) == begun
    first, *again, held = journal.entries_after(0)
    assert OrdersHeld(7) == read_fact(held.kind, held.body)
    assert (FactKind.JOURNAL_BEGUN, later, GENESIS) == (first.kind, first.recorded_at, first.previous)
    assert [(e.kind, e.body["pass"], e.recorded_at, e.clock_trust) for e in (two, three)] == [
        (e.kind, e.body["pass"], e.recorded_at, e.clock_trust) for e in again
    ]
    assert {first.generation} == {entry.generation for entry in again} != {one.generation}
    for entry in (first, *again, held):
        entry.verify(key.verifying_key)
    assert 4 == journal.backlog
    assert [one, two, three] == journal.past_entries_since(NOW - timedelta(days=1))
    assert journal.begin_anew_if_contradicted(later, ClockTrust.TRUSTED, 7) is None
    journal.close()
    reopened = PassJournal(tmp_path / "journal", TERMINAL, key)
    assert [5, 6] == [entry.sequence for entry in fill(reopened, 2)]


def test_a_changed_body_is_noticed(tmp_path: Path, key: SigningKey) -> None:
    """Whoever edits the file breaks the signature of that entry, and a reopening refuses a changed last one."""
    path = tmp_path / "journal"
    fill(PassJournal(path, TERMINAL, key), 2)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE entry SET body = replace(body, 'm-', 'n-')")
    with pytest.raises(JournalBroken):
        PassJournal(path, TERMINAL, key)
    with pytest.raises(BadSignature):
        JournalReader(path).entries_after(0)[0].verify(key.verifying_key)


def test_another_devices_journal_is_refused(tmp_path: Path, key: SigningKey) -> None:
    """A card put into another terminal does not go on under its name."""
    PassJournal(tmp_path / "journal", TERMINAL, key)
    with pytest.raises(JournalBroken):
        PassJournal(tmp_path / "journal", DeviceId("terminal-2"), key)


def test_a_file_that_is_no_journal_is_a_clear_error(tmp_path: Path, key: SigningKey) -> None:
    """Garbage where the journal should be."""
    path = tmp_path / "journal"
    path.write_bytes(b"not a database, " * 500)
    with pytest.raises(JournalUnavailable):
        PassJournal(path, TERMINAL, key)


def test_a_full_disk_is_an_error_not_a_lost_entry(tmp_path: Path, key: SigningKey) -> None:
    """The pass that cannot be written raises; what was there stays, and room brings it back."""
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    fill(journal, 1)
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailable):
        fill(journal, 500)
    kept = journal.last_sequence
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    fill(journal, 1)
    assert kept + 1 == journal.last_sequence
    assert list(range(1, kept + 2)) == [entry.sequence for entry in journal.entries_after(0, 1000)]


WRITER = """
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
folder = Path(sys.argv[1])
journal = PassJournal(folder / "journal", DeviceId("terminal-1"), SigningKey.load_or_create(folder / "key"))
while True:
    entry = journal.append(PassCompleted(new_pass_id()), datetime.now(UTC), ClockTrust.TRUSTED)
    print(entry.sequence, entry.digest, flush=True)
"""


def test_kill_9_loses_nothing_that_was_recorded(tmp_path: Path, key: SigningKey) -> None:
    """What `append` returned for is there after the kill, in an unbroken chain."""
    told: dict[int, str] = {}
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(20):
            sequence, digest = process.stdout.readline().split()
            told[int(sequence)] = digest
        process.kill()
        process.communicate()
    entries = PassJournal(tmp_path / "journal", TERMINAL, key).entries_after(0, 100_000)
    assert list(range(1, len(entries) + 1)) == [entry.sequence for entry in entries]
    assert told.items() <= {entry.sequence: entry.digest for entry in entries}.items()
    assert [GENESIS, *(entry.digest for entry in entries[:-1])] == [entry.previous for entry in entries]


def test_one_bound_for_both_waits(tmp_path: Path, key: SigningKey) -> None:
    """A reader of this program has the connection, and another program the file: not one bound after the other."""
    journal = PassJournal(tmp_path / "journal", TERMINAL, key)
    with closing(sqlite3.connect(tmp_path / "journal", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal._lock.acquire()
        threading.Timer(1.5, journal._lock.release).start()
        began_s = time.monotonic()
        with pytest.raises(JournalUnavailable):
            journal.append_all([PassCompleted(new_pass_id())], NOW, ClockTrust.TRUSTED, 2.0)
        assert time.monotonic() - began_s < 3.0
        other.execute("ROLLBACK")
    journal.append_all([PassCompleted(new_pass_id())], NOW, ClockTrust.TRUSTED, 2.0)
