"""Terminals get back what they should hold, without anybody asking for it; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from billing_server.models import Alarm, Holding
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId, PupilId
from sync.facts import OrderApplied, OrderRefused, OrdersHeld, ReferenceEnrolled, ReferencesDestroyed, ReferenceSealed
from sync.orders import DeviceRole, LeaseOrder, PurgeCause, PurgeOrder, PurgeScope, ReferenceOrder, SealAgainOrder
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, consent

pytest_plugins = ("tests.unit.billing_server.databases",)


class School:
    """Two terminals and a station; a pupil whose hand all three hold."""

    def __init__(self, bench: LedgerBench) -> None:
        self.bench = bench
        self.first, self.second = bench.device("terminal-1"), bench.device("terminal-2")
        self.station = bench.device("station-1", DeviceRole.STATION)
        self.pupil = bench.pupil()
        self.settle()
        self.say(self.station, consent(self.pupil, ConsentState.GIVEN, bench.clock.utc_now()))
        self.enroll(self.pupil)
        bench.clock.advance(timedelta(hours=1).total_seconds())
        self.settle()

    def say(self, device: SignedDevice, *facts: object) -> None:
        self.bench.send(device, device.note(*facts))  # type: ignore[arg-type]  # facts, all of them

    def enroll(self, pupil: PupilId) -> None:
        seals = [ReferenceSealed(pupil, one.name, 7, b"sealed") for one in (self.first, self.second)]
        self.say(self.station, ReferenceEnrolled(pupil, 7, "2026-1"), *seals)

    def settle(self) -> None:
        for device in (self.first, self.second, self.station):
            self.bench.answer_all(device)

    def asked(self) -> list[SealAgainOrder]:
        """A round, and what the station is then asked to seal again."""
        self.bench.services.housekeeping.round()
        return [order for _, order in self.bench.orders(self.station) if isinstance(order, SealAgainOrder)]

    def lose_lease(self) -> None:
        now = self.bench.clock.utc_now()
        self.say(self.first, ReferencesDestroyed("running-time", 1, now, 3, 4))


@pytest.fixture
def school(bench: LedgerBench) -> School:
    return School(bench)


def test_all_held_nothing_asked(school: School) -> None:
    """The usual day."""
    assert [] == school.asked()


def test_a_lease_ended_alone_and_everything_comes_back(school: School) -> None:
    """The terminal says what it destroyed; the station is asked for just that, once, and its seal goes on."""
    school.lose_lease()
    assert [SealAgainOrder(DeviceId("terminal-1"), (school.pupil,))] == school.asked()
    assert 1 == len(school.asked())
    school.bench.answer_all(school.first)
    seal_again = [number for number, order in school.bench.orders(school.station) if isinstance(order, SealAgainOrder)]
    school.say(
        school.station,
        ReferenceSealed(school.pupil, school.first.name, 7, b"sealed anew"),
        OrderApplied(seal_again[0]),
    )
    school.station.orders_done = seal_again[0]
    assert [] == school.asked()
    orders = [order for _, order in school.bench.orders(school.first) if not isinstance(order, LeaseOrder)]
    assert [ReferenceOrder(school.pupil, school.station.name, 7, b"sealed anew")] == orders
    school.settle()
    assert [] == school.asked()


def test_a_terminal_whose_files_are_lost_is_asked_for(school: School) -> None:
    """It puts on record that it holds no order: what it held is not held any more."""
    school.say(school.first, OrdersHeld(0))
    assert [SealAgainOrder(DeviceId("terminal-1"), (school.pupil,))] == school.asked()


def test_a_reference_that_came_too_late_is_asked_for_again(school: School) -> None:
    """Held back longer than its lease, on a stick or in a queue: no alarm, another seal."""
    other = school.bench.pupil("Noé")
    school.settle()
    school.say(school.station, consent(other, ConsentState.GIVEN, school.bench.clock.utc_now()))
    school.enroll(other)
    assert [] == school.asked()
    for number, order in school.bench.orders(school.first):
        late = isinstance(order, ReferenceOrder)
        answer = OrderRefused(number, "reference-expired") if late else OrderApplied(number)
        school.say(school.first, answer)
        school.first.orders_done = number
    assert [SealAgainOrder(DeviceId("terminal-1"), (other,))] == school.asked()
    with school.bench.services.database.reading() as session:
        assert [] == session.scalars(select(Alarm.kind).where(Alarm.kind == "order-refused")).all()


def test_who_may_not_be_held_is_not_asked_for(school: School) -> None:
    """A withdrawal or a departure after the loss; a revoked terminal gets nothing at all."""
    with school.bench.services.database.writing() as session:
        session.execute(delete(Holding).where(Holding.device != "station-1"))
        from billing_server.orders import locked_device

        second = locked_device(session, "terminal-2")
        assert second is not None
        second.revoked_at = school.bench.clock.utc_now()
    later = school.bench.clock.utc_now() + timedelta(hours=1)
    school.say(school.station, consent(school.pupil, ConsentState.WITHDRAWN, later))
    assert [] == school.asked()
    school.say(school.station, consent(school.pupil, ConsentState.GIVEN, later + timedelta(hours=1)))
    assert [SealAgainOrder(DeviceId("terminal-1"), (school.pupil,))] == school.asked()


def test_the_departed_are_not_asked_for(school: School) -> None:
    """Nor while the purge is still on its way to the station."""
    school.lose_lease()
    with school.bench.services.database.writing() as session:
        school.bench.services.purges.depart(session, school.pupil, PurgeCause.END_OF_SCHOOLING, "Mme Roux")
    assert [] == school.asked()


def test_a_station_that_could_not_is_asked_again_later(school: School) -> None:
    """Its own lease was over: an hour later, not every five seconds."""
    school.lose_lease()
    assert 1 == len(school.asked())
    for number, order in school.bench.orders(school.station):
        refused = isinstance(order, SealAgainOrder)
        school.say(school.station, OrderRefused(number, "lease-over") if refused else OrderApplied(number))
        school.station.orders_done = number
    assert [] == school.asked()
    school.bench.clock.advance(timedelta(hours=2).total_seconds())
    assert 1 == len(school.asked())


def test_the_end_of_a_school_year(school: School) -> None:
    """Where the school takes every hand anew: purged with whoever asked, consents given later are spared."""
    with school.bench.services.database.writing() as session:
        purge = school.bench.services.purges.start(
            session, school.pupil, PurgeScope.REFERENCE, PurgeCause.END_OF_YEAR, "Mme Roux"
        )
    for device in (school.first, school.second, school.station):
        (order,) = [order for _, order in school.bench.orders(device) if isinstance(order, PurgeOrder)]
        assert (purge, PurgeCause.END_OF_YEAR, "Mme Roux") == (order.purge, order.cause, order.asked_by)
        assert school.bench.clock.utc_now() == order.consents_until
    school.settle()
    assert [] == school.asked()


def test_a_seal_of_before_the_end_of_the_year_goes_no_further(school: School) -> None:
    """A station that was cut off all summer: what it sealed in June must not reach a terminal in September."""
    june = school.bench.clock.utc_now()
    late = school.station.note(ReferenceSealed(school.pupil, school.first.name, 9, b"sealed in June"), at=june)
    school.bench.clock.advance(timedelta(hours=1).total_seconds())
    with school.bench.services.database.writing() as session:
        school.bench.services.purges.start(
            session, school.pupil, PurgeScope.REFERENCE, PurgeCause.END_OF_YEAR, "Mme Roux"
        )
    school.bench.send(school.station, late)
    assert not [order for _, order in school.bench.orders(school.first) if isinstance(order, ReferenceOrder)]
    school.settle()
    school.bench.clock.advance(timedelta(hours=1).total_seconds())
    school.enroll(school.pupil)
    assert [ReferenceOrder] == [
        type(order) for _, order in school.bench.orders(school.first) if not isinstance(order, LeaseOrder)
    ]
