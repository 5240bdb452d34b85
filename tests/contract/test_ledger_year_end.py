"""The end of the school year: every hand goes on one day a year, where the school says so, and not by surprise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from billing_server.configuration import Policy
from billing_server.models import Holding, PupilRow, Purge
from canteen.consent import ConsentState
from sync.facts import ReferenceEnrolled
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, consent

pytest_plugins = ("tests.unit.billing_server.databases",)


@pytest.fixture
def school(bench: LedgerBench) -> tuple[LedgerBench, SignedDevice]:
    """One pupil with a consent and a hand, one without; the school erases on 31 July. It is November."""
    bench.close()
    bench.settings = replace(bench.settings, policy=Policy(erase_hands_on=(7, 31)))
    bench.restart()
    station = bench.device("station-1", DeviceRole.STATION)
    with_hand, _ = bench.pupil(), bench.pupil("Adam")
    station.note(consent(with_hand, ConsentState.GIVEN, bench.clock.utc_now()), ReferenceEnrolled(with_hand, 1, "1"))
    bench.send(station)
    bench.answer_all(station)
    return bench, station


def purges(bench: LedgerBench) -> list[tuple[str, str]]:
    with bench.services.database.reading() as session:
        return [(row.scope, row.cause) for row in session.scalars(select(Purge).order_by(Purge.asked_at))]


def goes_by(bench: LedgerBench, day: datetime) -> None:
    bench.clock.set_wall(day)
    bench.services.housekeeping.round()


def test_every_hand_goes_once_a_year(school: tuple[LedgerBench, SignedDevice]) -> None:
    """Not when the server first hears of the rule in November; on the day, or as soon as it is on again; once."""
    bench, station = school
    goes_by(bench, bench.clock.utc_now())
    goes_by(bench, datetime(2027, 7, 30, 21, 0, tzinfo=UTC))
    assert [] == purges(bench)
    goes_by(bench, datetime(2027, 8, 4, 9, 0, tzinfo=UTC))
    goes_by(bench, datetime(2027, 8, 5, 9, 0, tzinfo=UTC))
    assert [("reference", "end-of-year")] == purges(bench)
    bench.answer_all(station)
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(Holding.pupil)))
        assert session.scalars(select(Purge.completed_at)).one() is not None
        assert 2 == len(session.scalars(select(PupilRow).where(PupilRow.departed_at.is_(None))).all())
    goes_by(bench, datetime(2028, 7, 31, 9, 0, tzinfo=UTC))
    assert [("reference", "end-of-year")] * 2 == purges(bench)  # the consent stands: a hand may be on its way


def test_a_school_that_says_nothing_keeps_its_hands(bench: LedgerBench) -> None:
    """No day, no purge."""
    goes_by(bench, bench.clock.utc_now())
    goes_by(bench, datetime(2028, 9, 1, 9, 0, tzinfo=UTC))
    assert [] == purges(bench)
