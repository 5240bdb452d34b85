"""Today's passes counted while the journal is still on its way: never twice, never billed; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from billing_server import reading
from billing_server.early_passes import KEPT
from billing_server.models import Alarm, EarlyPass, Entry, MealPassRow
from canteen.meal_pass import PassAbandoned, PassCompleted
from sync.messages import JournalEntry, topic_lane, topic_up, write_batch
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, SignedDevice, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)

BACKLOG = 300


@pytest.fixture
def terminal(bench: LedgerBench) -> SignedDevice:
    """Weeks of a journal that the ledger has not, and three passes of today, one abandoned."""
    terminal = bench.device("terminal-1")
    terminal.note(*(denied() for _ in range(BACKLOG)))
    for outcome in (PassCompleted, PassAbandoned, PassCompleted):
        grant = granted(bench.pupil())
        terminal.note(grant, outcome(grant.pass_id))
    return terminal


def tell(bench: LedgerBench, terminal: SignedDevice, entries: list[JournalEntry]) -> None:
    bench.services.ingest.take_news(topic_lane(terminal.name), write_batch(entries))


def today(bench: LedgerBench) -> tuple[int, int]:
    """(in the ledger, announced)"""
    with bench.services.database.reading() as session:
        counts = reading.counts_of(session, TODAY)
    return sum(period.served for period in counts.periods), sum(period.early for period in counts.periods)


def rows(bench: LedgerBench, table: type[EarlyPass | MealPassRow | Entry | Alarm]) -> int:
    with bench.services.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_newest_count_early_and_once(bench: LedgerBench, terminal: SignedDevice) -> None:
    """Told twice, then reached by the journal in two parts: the sum is right at every moment."""
    news = terminal.journal[BACKLOG:]
    tell(bench, terminal, news)
    tell(bench, terminal, news)
    assert (0, 2) == today(bench)
    assert (0, 0) == (rows(bench, Entry), rows(bench, MealPassRow))
    bench.send(terminal, terminal.journal[: BACKLOG + 2])
    assert (1, 1) == today(bench)
    bench.send(terminal)
    assert (2, 0) == today(bench)
    assert 0 == rows(bench, Alarm)
    bench.services.housekeeping.round()
    assert 0 == rows(bench, EarlyPass)


def test_what_the_journal_has_brought_is_left_to_it(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A quiet lunch writes no row here."""
    bench.send(terminal)
    tell(bench, terminal, terminal.journal[BACKLOG:])
    assert (2, 0) == today(bench)
    assert 0 == rows(bench, EarlyPass)


def test_only_what_its_terminal_signed_is_counted(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A neighbour's name, a stranger, a station and a changed signature count nothing."""
    stranger = SignedDevice(terminal.name, DeviceRole.TERMINAL, bench.clock, generation=terminal.generation)
    forged = stranger.sign(granted(bench.pupil()), BACKLOG + 7, terminal.journal[-1].digest)
    tell(bench, terminal, [forged])
    tell(bench, bench.device("terminal-2"), terminal.journal[BACKLOG:])
    station = bench.device("station-1", DeviceRole.STATION)
    tell(bench, station, [station.sign(granted(bench.pupil()), 500, "ab" * 32)])
    bench.services.ingest.take_news("canteen/nobody/lane/passes", write_batch(terminal.journal[:1]))
    bench.services.ingest.take_news(topic_up(terminal.name, "journal"), write_batch(terminal.journal))
    bench.services.ingest.take_news(topic_lane(terminal.name), b"garbage")
    assert (0, 0) == today(bench)
    assert 0 == rows(bench, EarlyPass)


def test_what_never_comes_is_forgotten(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A terminal that burned down after it had told: its passes are no bill, and no count for ever."""
    tell(bench, terminal, terminal.journal[BACKLOG:])
    bench.clock.advance(KEPT / timedelta(seconds=1) + 1)
    bench.services.housekeeping.round()
    assert 0 == rows(bench, EarlyPass)


def test_the_page_says_so(bench: LedgerBench, terminal: SignedDevice) -> None:
    """In words of its own, beside the ledger's number; and how much is still to come."""
    from starlette.testclient import TestClient

    from billing_server.app import make_app

    tell(bench, terminal, terminal.journal[BACKLOG:])
    bench.services.ingest.take_hello(topic_up(terminal.name, "hello"), terminal.hello(0))
    bench.send(terminal, terminal.journal[:4])
    bench.services.housekeeping.round()
    bench.clock.advance(10)
    bench.send(terminal, terminal.journal[4:64])
    bench.services.housekeeping.round()
    token = bench.services.operators.add("gestionnaire")
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        page = client.get("/").text
        assert "+ 2 annoncés, pas encore au registre" in page
        assert "242 entrées à venir · encore moins d’une minute" in page
        assert 2 == client.get("/api/counts").json()["early"]
