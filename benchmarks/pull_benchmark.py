"""The pull by cursor: a page from a large ledger beside a page from a small one, asked for in turns."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from sqlalchemy import text

from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Figure, median
from benchmarks.language import _
from billing_server import reading
from billing_server.database import Database

Progress = Callable[[str, int, int], None]

_SMALL = 10_000
_PAGE = 500


def pull_benchmark(database: Database, url: str, largest: int, pulls: int, progress: Progress) -> Figure:
    """A page from a ledger of `largest` passes (in `database`, at `url`), over one from ten thousand."""
    what = _("lecture")
    progress(what, 0, 2)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE small"))
    small = Database(url.replace("@/postgres?", "@/small?"))
    try:
        small.upgrade()
        _fill(small, _SMALL)
        _fill(database, largest)
        progress(what, 1, 2)
        chosen = random.Random(1)  # noqa: S311 - the same places each time
        samples: tuple[list[float], list[float]] = ([], [])
        for turn in range(pulls + 1):
            for asked, passes, took in zip((small, database), (_SMALL, largest), samples, strict=True):
                started_s = time.perf_counter()
                with asked.reading() as session:
                    if len(reading.passes_after(session, chosen.randrange(passes - _PAGE), _PAGE)) != _PAGE:
                        raise BenchmarkFailed(_("une page n'est pas entière"))
                if turn:  # the first of each prepares the statement
                    took.append(time.perf_counter() - started_s)
    finally:
        small.close()
    progress(what, 2, 2)
    small_s, large_s = map(median, samples)
    detail = _("{small:.1f} ms sur 10 000 passages, {large:.1f} ms sur {n}").format(
        small=1000 * small_s, large=1000 * large_s, n=largest
    )
    return Figure("sync.pull", _("lecture par curseur, grand / petit"), large_s / small_s, "ratio", 1.5, detail=detail)


def _fill(database: Database, passes: int) -> None:
    """Put this many passes into the ledger, nothing else; the planner knows them, and no write is left over.

    Indexes are made afterwards, which takes a third of the time and leaves the same ones.
    """
    with database.engine.begin() as connection:
        connection.execute(text("TRUNCATE passes"))
        indexes = connection.execute(_INDEXES).all()
        for drop, _make in indexes:
            connection.execute(text(drop))
        connection.execute(_FILL, {"last": passes})
        connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
        for _drop, make in indexes:
            connection.execute(text(make))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE passes"))
        connection.execute(text("CHECKPOINT"))
    os.sync()  # the log, and whatever else this machine has not yet written


_INDEXES = text(
    "SELECT 'ALTER TABLE passes DROP CONSTRAINT ' || conname,"
    " 'ALTER TABLE passes ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE conrelid = 'passes'::regclass AND contype IN ('p', 'u')"
    " UNION ALL SELECT 'DROP INDEX ' || indexname, indexdef FROM pg_indexes WHERE tablename = 'passes'"
    " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
)
"""How each index goes and comes back."""

_FILL = text(
    "INSERT INTO passes (device, pass_id, position, generation, sequence, pupil, method, day, period, charged_to,"
    " granted_at, clock_trust, forced_because, outcome, outcome_at, outcome_position)"
    " SELECT 'terminal-0', lpad(n::text, 26, '0'), n, '0123456789abcdef', n, 'p-' || lpad((n % 2000)::text, 16, '0'),"
    " 'hand', date '2026-01-05' + (n / 2000)::int, 'midi', 'forfait-4', now(), 'trusted', NULL, 'completed', now(), n"
    " FROM generate_series(1, CAST(:last AS bigint)) AS n"
)
