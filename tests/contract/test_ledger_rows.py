"""Rows put in by the thousand are what was meant, whatever is in them; on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from billing_server.bulk import NOTHING, day_field, insert_rows, instant_field, text_field, whole_field, word_field
from billing_server.models import Denial
from tests.unit.billing_server.ledger_bench import LedgerBench

pytest_plugins = ("tests.unit.billing_server.databases",)

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
_instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
_rows = st.tuples(_texts, st.none() | st.just("p-0123456789abcdef"), st.integers(0, 2**53), st.dates(), _instants)
_each_place_once = st.lists(_rows, max_size=8, unique_by=lambda row: row[2])


@given(_each_place_once)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_put_in_is_read_again(
    bench: LedgerBench, rows: list[tuple[str, str | None, int, date, datetime]]
) -> None:
    """Tabs, line ends, backslashes, every letter; the first and the last day there are; nothing."""
    octets = [
        b"".join(
            (
                whole_field(position),
                word_field("terminal-1"),
                word_field("0" * 16),
                whole_field(sequence),
                text_field("m-" + "0" * 24),
                NOTHING if pupil is None else text_field(pupil),
                word_field("hand"),
                text_field(reason),
                day_field(day),
                instant_field(at),
                word_field("trusted"),
            )
        )
        for position, (reason, pupil, sequence, day, at) in enumerate(rows)
    ]
    with bench.services.database.writing() as session:
        session.execute(delete(Denial))
        insert_rows(session, Denial, octets)
    with bench.services.database.reading() as session:
        found = session.scalars(select(Denial).order_by(Denial.position)).all()
        assert rows == [(row.reason, row.pupil, row.sequence, row.day, row.denied_at) for row in found]
