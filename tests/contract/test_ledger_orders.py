"""Orders: numbered without holes, sealed for one device, sent until answered, then forgotten; on both databases."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from billing_server.enrollment_advice import to_enroll_anew
from billing_server.errors import DeviceConflict
from billing_server.models import Alarm, Device, OrderRow, PurgeHolder, Refusal
from billing_server.roster import Identity, NewPupil
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId
from sync.errors import SealBroken
from sync.facts import EnrollmentAdvised, OrderApplied, OrderRefused, OrdersHeld, ReferenceEnrolled, ReferenceSealed
from sync.greeting import read_greeting
from sync.messages import read_orders, sign_order, topic_up
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
from sync.signing import SigningKey
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
    published = [payload for topic, payload in bench.published.sent if topic.endswith("orders")]
    sent = [order.number for payload in published for order in read_orders(payload)]
    assert [1, 2, 3, 4, 5] == sent


def test_many_orders_travel_in_several_messages(bench: LedgerBench) -> None:
    """At most 50 a message."""
    terminal = bench.device("terminal-1")
    for _ in range(70):
        bench.pupil()
    before = len(bench.published.sent)
    assert list(range(1, 75)) == [order.number for order in bench.hello(terminal, 0)]
    assert [50, 24] == [len(read_orders(payload)) for _, payload in bench.published.sent[before:]]


def asked(bench: LedgerBench, device: SignedDevice) -> list[bool]:
    """What the greetings to `device` ask, in order; each verified."""
    questions = []
    for topic, payload in bench.published.sent:
        if topic == f"canteen/{device.name}/down/greeting":
            greeting = read_greeting(payload)
            greeting.verify(bench.services.signing_key.verifying_key)
            questions.append(greeting.asks)
    return questions


def test_a_device_that_has_forgotten_is_started_afresh(bench: LedgerBench) -> None:
    """An old storage card was put back: asked, the device says so under its key; purges are said again in full, the
    present state follows, no hole between. What it says is on record once, however often it comes.
    """
    terminal = bench.device("terminal-1")
    pupil = bench.pupil()
    bench.answer_all(terminal)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    bench.answer_all(terminal)
    done = terminal.orders_done
    assert [] == bench.hello(terminal, 2)
    assert [True] == asked(bench, terminal)
    for _ in range(2):
        bench.send(terminal, terminal.note(OrdersHeld(2)) if len(terminal.journal) == done + 1 else terminal.journal)
    orders = [(order.number, order.open(terminal.opening)) for order in bench.hello(terminal, 2)]
    assert list(range(3, orders[-1][0] + 1)) == [number for number, _ in orders]
    assert orders[-1][0] > done
    purges = [order for _, order in orders if isinstance(order, PurgeOrder)]
    assert [pupil] == [order.pupil for order in purges]
    whole = [order for _, order in orders if isinstance(order, Roster) and order.whole]
    assert [()] == [order.pupils for order in whole]
    with bench.services.database.reading() as session:
        assert [("device-restored", 1)] == [(alarm.kind, alarm.times) for alarm in session.scalars(select(Alarm))]


def test_a_forged_hello_changes_nothing(bench: LedgerBench) -> None:
    """Whoever has the device's certificate, or the broker, may claim any number: orders are sent again, no more."""
    terminal, other = bench.device("terminal-1"), bench.device("terminal-2")
    bench.answer_all(terminal)
    bench.answer_all(other)
    theirs = bench.hello(terminal, 3) or bench.hello(other, 0)
    assert [] == theirs
    assert [] == bench.hello(terminal, 10_000)
    assert [] == bench.hello(terminal, 0)
    assert [] == bench.hello(terminal, 0)
    assert [True] == asked(bench, terminal), "asked once a minute at most"
    bench.send(terminal, terminal.note(OrdersHeld(terminal.orders_done)))
    bench.pupil()
    number = terminal.orders_done + 1
    (order,) = bench.hello(terminal, terminal.orders_done)
    assert number == order.number
    strangers = SigningKey(secrets.token_bytes(32))
    for forged in (
        sign_order(
            Roster((), whole=False), terminal.name, 500, order.issued_at, terminal.opening.sealing_key, strangers
        ),
        sign_order(
            Roster((), whole=False),
            other.name,
            500,
            order.issued_at,
            terminal.opening.sealing_key,
            bench.services.signing_key,
        ),
    ):
        assert [] == bench.hello(terminal, 0, newest=forged)
    forger = SignedDevice(terminal.name, DeviceRole.TERMINAL, bench.clock)
    topic = topic_up(terminal.name, "hello")
    assert bench.services.ingest.take_hello(topic, forger.hello(number, said=900)) is None
    with bench.services.database.reading() as session:
        device = session.get_one(Device, terminal.name)
        assert (number, len(terminal.journal)) == (device.last_order, device.said_entries)
        assert [] == list(session.scalars(select(Alarm.kind)))


def test_an_older_backup_of_the_server_numbers_on_after_what_it_signed(
    bench: LedgerBench,
) -> None:
    """The device shows our own signature on an order that we do not know: its places are filled, all is said again."""
    terminal = bench.device("terminal-1")
    bench.answer_all(terminal)
    with bench.services.database.reading() as session:
        before = session.get_one(Device, terminal.name).last_order
    lost = [
        sign_order(
            Roster((), whole=False),
            terminal.name,
            number,
            bench.clock.utc_now(),
            terminal.opening.sealing_key,
            bench.services.signing_key,
        )
        for number in range(before + 1, before + 6)
    ]
    bench.clock.advance(60)
    pupil = bench.pupil()  # under a number that the device has used already
    terminal.orders_done = before + 3
    orders = [(order.number, order.open(terminal.opening)) for order in bench.hello(terminal, before + 3, lost[-1])]
    assert list(range(before + 4, orders[-1][0] + 1)) == [number for number, _ in orders]
    assert orders[-1][0] > before + 5
    (roster,) = [order for _, order in orders if isinstance(order, Roster) and order.whole]
    assert [pupil] == [row.pupil for row in roster.pupils]
    # What it had answered before comes again from its journal, each under the instant of the lost order.
    bench.send(terminal, terminal.note(*(OrderApplied(o.number, o.issued_at) for o in lost[:3])))
    bench.answer_all(terminal)
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(OrderRow.number).where(OrderRow.answered_at.is_(None))))
        assert [("server-restored", 1)] == [(alarm.kind, alarm.times) for alarm in session.scalars(select(Alarm))]


def test_an_order_whose_answer_was_forgotten_is_given_again(bench: LedgerBench) -> None:
    """Our backup is older than what the device's journal still tells: what it holds is done, and no answer will come.

    The purge among it comes again, under a number that the device has not used.
    """
    terminal = bench.device("terminal-1")
    pupil = bench.pupil()
    bench.answer_all(terminal)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    terminal.orders_done = 2 + max(number for number, _ in bench.orders(terminal))
    terminal.note(OrdersHeld(terminal.orders_done))
    for _ in range(2):
        bench.send(terminal)
    again = bench.answer_all(terminal)
    assert [pupil] == [order.pupil for order in again if isinstance(order, PurgeOrder)]
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(PurgeHolder.device).where(PurgeHolder.received_at.is_(None))))
        assert [("server-restored", 1)] == [(alarm.kind, alarm.times) for alarm in session.scalars(select(Alarm))]


def test_an_answer_to_a_lost_order_of_the_same_number_is_told_from_ours(bench: LedgerBench) -> None:
    """The journal may come before the hello: by the order's instant the server knows that another one was meant."""
    terminal = bench.device("terminal-1")
    bench.answer_all(terminal)
    long_ago = bench.clock.utc_now()
    bench.clock.advance(3600)
    first, second = terminal.orders_done + 1, terminal.orders_done + 2
    bench.pupil()  # numbered `first` by us, though the device has had another one under it
    bench.send(terminal, terminal.note(OrderApplied(first, long_ago), OrderApplied(second, long_ago)))
    terminal.orders_done = second
    rosters = [order for order in bench.answer_all(terminal) if isinstance(order, Roster) and order.whole]
    assert 1 == len(rosters[-1].pupils)
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(select(OrderRow.number).where(OrderRow.answered_at.is_(None))))
        assert ["server-restored"] == list(session.scalars(select(Alarm.kind)))


def test_the_server_greets_at_its_own_start(bench: LedgerBench) -> None:
    """Every device but those sent away; a device that hears it says hello."""
    bench.device("terminal-1")
    bench.device("terminal-2")
    with bench.services.database.writing() as session:
        assert bench.services.provisioning is not None
        bench.services.provisioning.revoke(session, "terminal-2")
    bench.services.downlink.send_all()
    greeted = [topic for topic, _ in bench.published.sent if topic.endswith("greeting")]
    assert ["canteen/terminal-1/down/greeting"] == greeted


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
