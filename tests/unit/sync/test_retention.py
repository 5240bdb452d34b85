"""What the ledger has acknowledged goes after its legal time; the chain that is left still verifies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId, PupilId, new_pass_id
from canteen.meal_pass import PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.facts import OrderApplied
from sync.pass_journal import PassJournal
from sync.retention import PASSES_KEPT, Retention
from sync.signing import SigningKey

START = datetime(2026, 9, 1, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = SigningKey(b"k" * 32)
TERMINAL = DeviceId("terminal-1")


def _open(folder: Path) -> PassJournal:
    return PassJournal(folder / "journal.sqlite", TERMINAL, KEY)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[PassJournal]:
    """One entry a day for 200 days."""
    opened = _open(tmp_path)
    for day in range(200):
        opened.append(OrderApplied(day + 1), START + day * DAY, ClockTrust.TRUSTED)
    yield opened
    opened.close()


def _acknowledge(journal: PassJournal, sequence: int, at: datetime = START + 200 * DAY) -> bool:
    digest = journal.digest_of(sequence)
    assert journal.generation is not None
    return digest is not None and journal.acknowledge(journal.generation, sequence, digest, at)


def _retention(journal: PassJournal, certain: datetime | None) -> Retention:
    return Retention(journal, lambda: certain, lambda: 0.0)


def _chain_holds(journal: PassJournal) -> int:
    """Every entry that is left, from the digest kept at the cut; how many."""
    number, previous = journal.anchor
    entries = journal.entries_after(0, 10_000)
    for entry in entries:
        number += 1
        assert (number, previous) == (entry.sequence, entry.previous)
        entry.verify(KEY.verifying_key)
        previous = entry.digest
    return len(entries)


def test_three_months_stay_and_the_chain_holds(journal: PassJournal, tmp_path: Path) -> None:
    """All is acknowledged, the last day is day 199: what is older than 92 days is gone, also after a restart."""
    _acknowledge(journal, 200)
    _retention(journal, START + 199 * DAY).keep()
    assert 93 == _chain_holds(journal)
    journal.close()
    again = _open(tmp_path)
    again.append(OrderApplied(201), START + 200 * DAY, ClockTrust.TRUSTED)
    assert 94 == _chain_holds(again)
    assert (201, 1) == (again.last_sequence, again.backlog)
    again.close()


@pytest.mark.parametrize("acknowledged", [0, 1, 40])
def test_what_the_ledger_does_not_have_stays(journal: PassJournal, acknowledged: int) -> None:
    """However old it is: it is a meal that nobody else knows of."""
    if acknowledged:
        _acknowledge(journal, acknowledged)
    _retention(journal, START + 1000 * DAY).keep()
    assert 200 - acknowledged == _chain_holds(journal)


def test_nothing_goes_by_a_clock_that_nobody_confirms(journal: PassJournal) -> None:
    """A wall clock set a year ahead is no reason; only the signed time and the running time since are."""
    _acknowledge(journal, 200)
    _retention(journal, None).keep()
    assert 200 == _chain_holds(journal)


def test_entries_under_a_wrong_clock(tmp_path: Path) -> None:
    """One of 1970 among today's takes nothing along; one of next year among old ones holds nothing back."""
    journal = _open(tmp_path)
    for day in range(10):
        recorded_at = START + (day + (400 if day == 3 else 0)) * DAY
        journal.append(OrderApplied(day + 1), recorded_at, ClockTrust.UNCONFIRMED)
    now = START + PASSES_KEPT + 6 * DAY
    journal.append(OrderApplied(11), datetime(1970, 1, 1, tzinfo=UTC), ClockTrust.UNTRUSTED)
    _acknowledge(journal, 11, now)
    _retention(journal, now).keep()
    assert [7, 8, 9, 10, 11] == [entry.sequence for entry in journal.entries_after(0)]
    _chain_holds(journal)
    journal.close()


def test_a_new_journal_under_a_clock_that_ran_ahead_is_young(tmp_path: Path) -> None:
    """Its first entries bear next year's date, with nothing before them: they go when what follows them is old."""
    journal = _open(tmp_path)
    for day in (400, 401, 402, 3, 4):
        journal.append(OrderApplied(day), START + day * DAY, ClockTrust.UNCONFIRMED)
    _acknowledge(journal, 3)
    _retention(journal, START + 2 * DAY).keep()
    _acknowledge(journal, 5)
    _retention(journal, START + 4 * DAY).keep()
    assert 5 == _chain_holds(journal)
    _retention(journal, START + PASSES_KEPT + 4 * DAY).keep()
    assert [5] == [entry.sequence for entry in journal.entries_after(0)]
    journal.close()


def test_the_last_entry_stays_after_any_summer(journal: PassJournal) -> None:
    """A journal never begins anew by itself."""
    _acknowledge(journal, 200)
    _retention(journal, START + 2000 * DAY).keep()
    assert (1, 200) == (_chain_holds(journal), journal.last_sequence)


def test_a_server_restored_from_last_weeks_backup_gets_everything_again(journal: PassJournal) -> None:
    """Its mark lies among what is kept. One at the cut itself is still known; one before it is not believed."""
    _acknowledge(journal, 200)
    _retention(journal, START + 199 * DAY).keep()
    later = START + 201 * DAY
    assert _acknowledge(journal, 150, later)
    assert list(range(151, 201)) == [entry.sequence for entry in journal.entries_after(journal.acknowledged_up_to)]
    cut, _ = journal.anchor
    assert _acknowledge(journal, cut, later + DAY)
    assert cut == journal.acknowledged_up_to
    assert not _acknowledge(journal, cut - 1, later + 2 * DAY)


def test_a_server_restored_from_before_what_is_kept_gets_what_is_left_in_a_new_journal(journal: PassJournal) -> None:
    """It stands where nothing can be told any more, and says so later than anything else it said."""
    _acknowledge(journal, 200)
    digest, generation = journal.digest_of(40), journal.generation
    assert digest is not None
    assert generation is not None
    _retention(journal, START + 199 * DAY).keep()
    late, early = START + 300 * DAY, START + 40 * DAY
    assert not journal.acknowledge(generation, 40, digest, early), "a word of long ago, played again"
    assert journal.begin_anew_if_contradicted(late, ClockTrust.TRUSTED, 3) is None
    assert not journal.acknowledge(generation, 40, digest, late)
    begun = journal.begin_anew_if_contradicted(late, ClockTrust.TRUSTED, 3)
    assert begun is not None
    assert (93, 95) == (begun.told_again, _chain_holds(journal))
    _acknowledge(journal, 95, late)
    _retention(journal, START + 2000 * DAY).keep()
    assert [] == journal.past_entries_since(START)


def test_the_file_does_not_grow_with_the_years(tmp_path: Path) -> None:
    """A hundred passes a week: after the first three months the file stays as large as it is."""
    journal = _open(tmp_path)
    sizes = []
    for week in range(40):
        now = START + week * 7 * DAY
        meal = ServiceMoment(now.date(), "midi")
        facts = [PassGranted(new_pass_id(), PupilId("p-" + "0" * 16), PassMethod.HAND, meal, None) for _ in range(100)]
        journal.append_all([*facts], now, ClockTrust.TRUSTED)
        _acknowledge(journal, journal.last_sequence, now)
        _retention(journal, now).keep()
        sizes.append(journal._connection.execute("PRAGMA page_count").fetchone()[0])
    assert sizes[-1] <= sizes[20] * 1.02
    assert _chain_holds(journal) <= 1500
    journal.close()


def test_forgotten_bytes_are_overwritten(tmp_path: Path) -> None:
    """Not only unlinked: a pseudonym is not found in the file any more, nor in its log once that is folded."""
    journal = _open(tmp_path)
    for number, day in ((1, 0), (2, 120)):
        meal = ServiceMoment((START + day * DAY).date(), "midi")
        granted = PassGranted(new_pass_id(), PupilId(f"p-{number:016x}"), PassMethod.HAND, meal, None)
        journal.append(granted, START + day * DAY, ClockTrust.TRUSTED)
    _acknowledge(journal, 2)
    _retention(journal, START + 120 * DAY).keep()
    journal.close()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("journal.sqlite*"))
    assert b"p-0000000000000002" in content
    assert b"p-0000000000000001" not in content
