"""Orders: numbered without holes, sealed for one device, sent until answered, then forgotten; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from billing_server.enrollment_advice import to_enroll_anew
from billing_server.errors import DeviceConflict
from billing_server.models import Alarm, Device, OrderRow, Refusal
from billing_server.roster import Identity, NewPupil
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId
from sync.errors import SealBroken
from sync.facts import EnrollmentAdvised, OrderApplied, OrderRefused, ReferenceEnrolled, ReferenceSealed
from sync.messages import read_orders
from sync.orders import (
    CalendarOrder,
    DeviceRole,
    DevicesOrder,
    EnrollmentAdvice,
    LeaseOrder,
    PurgeCause,
    PurgeOrder,
    Roster,
)
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, consent

pytest_plugins = ("tests.unit.billing_server.databases",)


def test_a_new_device_is_told_everything_and_the_others_of_it(bench: LedgerBench) -> None:
    """Directory, calendar, roster, lease, in this order."""
    pupil = bench.pupil()
    first = bench.device("terminal-1")
    told = [order for _, order in bench.orders(first)]
    assert [DevicesOrder, CalendarOrder, Roster, LeaseOrder] == [type(order) for order in told]
    roster = told[2]
    assert isinstance(roster, Roster)
    assert [(pupil, "Léa", "", "5eB")] == [(p.pupil, p.first_name, p.last_name, p.class_name) for p in roster.pupils]
    station = bench.device("station-1", DeviceRole.STATION)
    directory = [order for _, order in bench.orders(first)][-1]
    assert DevicesOrder((station.entry, first.entry)) == directory


def test_a_station_is_told_last_names(bench: LedgerBench) -> None:
    """The intendance looks pupils up by them."""
    bench.pupil()
    station = bench.device("station-1", DeviceRole.STATION)
    rosters = [order for _, order in bench.orders(station) if isinstance(order, Roster)]
    assert ["Martin"] == [pupil.last_name for pupil in rosters[0].pupils]


def test_registering_again_changes_nothing(bench: LedgerBench) -> None:
    """With the same keys it is a repeat, with others a conflict that a human settles."""
    terminal = bench.device("terminal-1")
    before = len(bench.orders(terminal))
    with bench.services.database.writing() as session:
        assert not bench.services.devices.register(session, terminal.entry)
    assert before == len(bench.orders(terminal))
    impostor = SignedDevice(terminal.name, DeviceRole.TERMINAL, bench.clock)
    with pytest.raises(DeviceConflict), bench.services.database.writing() as session:
        bench.services.devices.register(session, impostor.entry)


def test_an_order_opens_for_its_device_alone(bench: LedgerBench) -> None:
    first, second = bench.device("terminal-1"), bench.device("terminal-2")
    order = bench.hello(first, 0)[0]
    with pytest.raises(SealBroken):
        order.open(second.opening)


def test_hello_brings_what_is_missing(bench: LedgerBench) -> None:
    """Nothing that the device has, everything after it, in order."""
    terminal = bench.device("terminal-1")
    assert [3, 4] == [order.number for order in bench.hello(terminal, 2)]
    assert [] == bench.hello(terminal, 4)


def test_an_answered_order_is_forgotten_but_remembered_to_have_been(bench: LedgerBench) -> None:
    """Its wire goes, its number, kind and instants stay."""
    terminal = bench.device("terminal-1")
    bench.send(terminal, terminal.note(OrderApplied(1), OrderRefused(2, "unknown-order")))
    with bench.services.database.reading() as session:
        rows = list(session.scalars(select(OrderRow).order_by(OrderRow.number)))
        assert [True, True, False, False] == [row.wire is None for row in rows]
        assert (None, "unknown-order") == (rows[0].refused_why, rows[1].refused_why)
        assert ["order-refused"] == list(session.scalars(select(Alarm.kind)))


def test_new_orders_are_published_without_being_asked(bench: LedgerBench) -> None:
    """And only the new ones, once the device has been sent the earlier."""
    terminal = bench.device("terminal-1")
    bench.hello(terminal, 0)
    bench.pupil()
    before = len(bench.published.sent)
    bench.services.downlink.send_new(terminal.name)
    ((topic, payload),) = bench.published.sent[before:]
    assert "canteen/terminal-1/down/orders" == topic
    assert [5] == [order.number for order in read_orders(payload)]


def test_what_could_not_be_sent_goes_out_at_the_next_connection(bench: LedgerBench) -> None:
    terminal = bench.device("terminal-1")
    bench.published.connected = False
    bench.pupil()
    bench.services.downlink.send_new(terminal.name)
    bench.published.connected = True
    bench.services.downlink.send_all()
    sent = [order.number for _, payload in bench.published.sent for order in read_orders(payload)]
    assert [1, 2, 3, 4, 5] == sent


def test_many_orders_travel_in_several_messages(bench: LedgerBench) -> None:
    """At most 50 a message."""
    terminal = bench.device("terminal-1")
    for _ in range(70):
        bench.pupil()
    before = len(bench.published.sent)
    assert list(range(1, 75)) == [order.number for order in bench.hello(terminal, 0)]
    assert [50, 24] == [len(read_orders(payload)) for _, payload in bench.published.sent[before:]]


def test_a_device_that_has_forgotten_is_started_afresh(bench: LedgerBench) -> None:
    """An old storage card was put back: purges are said again in full, the present state follows, no hole between."""
    terminal = bench.device("terminal-1")
    pupil = bench.pupil()
    bench.answer_all(terminal)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    bench.answer_all(terminal)
    done = terminal.orders_done
    assert [] == bench.hello(terminal, 2)  # said once, it may be an old message of the broker's
    orders = [(order.number, order.open(terminal.opening)) for order in bench.hello(terminal, 2)]
    assert list(range(3, done + 5)) == [number for number, _ in orders]
    purges = [order for _, order in orders if isinstance(order, PurgeOrder)]
    assert [pupil] == [order.pupil for order in purges]
    whole = [order for _, order in orders if isinstance(order, Roster) and order.whole]
    assert [()] == [order.pupils for order in whole]


def test_a_hello_that_was_delivered_again_late_is_harmless(bench: LedgerBench) -> None:
    """One old hello is no sign of an old storage card."""
    terminal = bench.device("terminal-1")
    bench.answer_all(terminal)
    assert [] == bench.hello(terminal, 0)
    assert [] == bench.hello(terminal, terminal.orders_done)
    assert [] == bench.hello(terminal, 0)
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(Alarm.kind)))


def test_what_orders_to_all_never_waits_in_a_ring(bench: LedgerBench) -> None:
    """Stations withdraw consents and give cards while staff departs pupils and blocks cards: nobody is turned away."""
    terminals = [bench.device(f"terminal-{n}") for n in range(3)]
    stations = [bench.device(f"station-{n}", DeviceRole.STATION) for n in range(2)]
    pupils = [bench.pupil(str(n)) for n in range(8)]
    for pupil in pupils:
        bench.card_issued(stations[0], pupil)
    bench.send(stations[0])
    faults: list[Exception] = []

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told to the test below
                faults.append(error)

        return threading.Thread(target=run)

    def record(station: SignedDevice, turn: int) -> None:
        for step, pupil in enumerate(pupils if turn else reversed(pupils)):
            at = bench.clock.utc_now() + timedelta(minutes=2 * step + turn)
            station.note(consent(pupil, ConsentState.GIVEN, at))
            for terminal in terminals if turn else reversed(terminals):
                station.note(ReferenceSealed(pupil, terminal.name, 1, b"sealed"))
            station.note(consent(pupil, ConsentState.WITHDRAWN, at + timedelta(seconds=30)))
            bench.card_issued(station, pupil)
            bench.send(station, station.journal[-6:])

    def depart() -> None:
        for pupil in pupils[::2]:
            with bench.services.database.writing() as session:
                bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")

    def block() -> None:
        for card in range(1, 9):
            with bench.services.database.writing() as session:
                bench.services.cards.block(session, card)

    def answer() -> None:
        for terminal in terminals:
            bench.answer_all(terminal)

    threads = [guarded(depart), guarded(block), guarded(lambda: record(stations[0], 0))]
    threads.append(guarded(lambda: record(stations[1], 1)))
    threads.append(guarded(answer))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == faults
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(Refusal.why)))
        for device in (*terminals, *stations):
            numbers = session.scalars(select(OrderRow.number).where(OrderRow.device == device.name))
            assert sorted(numbers) == list(range(1, session.get_one(Device, device.name).last_order + 1))


def test_numbers_have_no_holes_when_several_write_at_once(bench: LedgerBench) -> None:
    """Eight threads add pupils while the device's journal comes in: one number each, none missing, none twice."""
    terminal = bench.device("terminal-1")
    terminal.note(*(OrderApplied(number) for number in (1, 2, 3, 4)))
    faults: list[Exception] = []

    def add(name: str) -> None:
        try:
            for turn in range(4):
                with bench.services.database.writing() as session:
                    new = NewPupil(Identity(name, str(turn), "5eB"), ())
                    bench.services.pupils.add(session, [new])
        except Exception as error:  # noqa: BLE001 - told to the test below
            faults.append(error)

    threads = [threading.Thread(target=add, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for entry in terminal.journal:
        bench.send(terminal, [entry])
    for thread in threads:
        thread.join()
    assert [] == faults
    with bench.services.database.reading() as session:
        numbers = list(session.scalars(select(OrderRow.number).where(OrderRow.device == DeviceId("terminal-1"))))
    assert list(range(1, 37)) == sorted(numbers)


def test_an_advice_reaches_the_station_once(bench: LedgerBench) -> None:
    """Two terminals find the same; the station hears it once, the list has it until the hand is taken anew."""
    pupil = bench.pupil()
    station = bench.device("station-1", DeviceRole.STATION)
    terminals = [bench.device("terminal-1"), bench.device("terminal-2")]
    bench.send(
        station,
        station.note(consent(pupil, ConsentState.GIVEN, bench.clock.utc_now()), ReferenceEnrolled(pupil, 7, "2026-1")),
    )
    for terminal in terminals:
        bench.send(terminal, terminal.note(EnrollmentAdvised(pupil, 7)))
    advices = [order for _, order in bench.orders(station) if isinstance(order, EnrollmentAdvice)]
    assert [EnrollmentAdvice(pupil, 7)] == advices
    with bench.services.database.reading() as session:
        assert {pupil} == to_enroll_anew(session)
    bench.send(station, station.note(ReferenceEnrolled(pupil, 8, "2026-1")))
    bench.send(terminals[0], terminals[0].note(EnrollmentAdvised(pupil, 7)))
    with bench.services.database.reading() as session:
        assert set() == to_enroll_anew(session)
    assert 1 == sum(isinstance(order, EnrollmentAdvice) for _, order in bench.orders(station))


def test_an_advice_of_a_station_or_without_consent_goes_nowhere(bench: LedgerBench) -> None:
    """Only a terminal sees hands pass; and of whom no hand may be held, none is asked for."""
    pupil = bench.pupil()
    station, terminal = bench.device("station-1", DeviceRole.STATION), bench.device("terminal-1")
    bench.send(station, station.note(EnrollmentAdvised(pupil, 7)))
    bench.send(terminal, terminal.note(EnrollmentAdvised(pupil, 7)))
    assert not [order for _, order in bench.orders(station) if isinstance(order, EnrollmentAdvice)]
