"""Balances told to terminals: what is paid less what is eaten, marked with what was counted, on both databases."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from billing_server.configuration import SchoolSettings
from billing_server.models import Alarm, OrderRow
from canteen.access_decision import MissingEntitlement
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PupilId, new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted
from sync.orders import BalancesOrder, PurgeCause
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, granted, hours

pytest_plugins = ("tests.unit.billing_server.databases",)


def external(pupil: PupilId) -> PassGranted:
    return replace(granted(pupil, new_pass_id()), charged_to=EntitlementKind.EXTERNAL_MEAL)


def credit(bench: LedgerBench, pupil: PupilId, cents: int) -> None:
    with bench.services.database.writing() as session:
        bench.services.accounts.credit(session, pupil, cents, "Mme Roux")


def told(bench: LedgerBench, device: SignedDevice) -> list[BalancesOrder]:
    """What the device is told by the next round, an hour later."""
    bench.clock.advance(3600)
    bench.services.housekeeping.round()
    return [order for order in bench.answer_all(device) if isinstance(order, BalancesOrder)]


def test_a_balance_is_told_with_its_mark_and_again_only_when_it_changes(bench: LedgerBench) -> None:
    """Ten meals paid, one eaten; a meal on its way is set aside; an abandoned one comes back."""
    pupil, other = bench.pupil(), bench.pupil()
    terminal = bench.device("terminal-1")
    told(bench, terminal)
    credit(bench, pupil, 4200)
    (order,) = told(bench, terminal)
    assert (((pupil, 10),), MissingEntitlement.SERVE_AND_BILL) == (order.meals_left, order.without_meals)
    assert [] == told(bench, terminal)
    meal, left = external(pupil), external(pupil)
    bench.send(terminal, terminal.note(meal, PassCompleted(meal.pass_id), granted(other)))
    (order,) = told(bench, terminal)
    assert ((pupil, 9),) == order.meals_left
    # All that the ledger had when it counted, and not the answers that came after.
    assert [terminal.generation] == [one.generation for one in order.counted]
    assert [len(terminal.journal) - 1] == [one.sequence for one in order.counted]
    bench.send(terminal, terminal.note(left, at=bench.clock.utc_now() + hours(30)))
    assert [((pupil, 8),)] == [one.meals_left for one in told(bench, terminal)]
    bench.send(terminal, terminal.note(PassAbandoned(left.pass_id)))
    assert [((pupil, 9),)] == [one.meals_left for one in told(bench, terminal)]


def test_a_new_terminal_is_told_and_a_departed_pupil_is_not_in_it(bench: LedgerBench) -> None:
    """At registration; and after a departure everybody gets a word without the pupil."""
    pupil, stays = bench.pupil(), bench.pupil()
    credit(bench, pupil, 840)
    credit(bench, stays, 419)
    terminal = bench.device("terminal-1")
    (order,) = [order for _, order in bench.orders(terminal) if isinstance(order, BalancesOrder)]
    assert {pupil: 2, stays: 0} == dict(order.meals_left)
    told(bench, terminal)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    assert [((stays, 0),)] == [order.meals_left for order in told(bench, terminal)]


def test_a_terminal_that_is_away_finds_one_word_not_a_hundred(bench: LedgerBench) -> None:
    """A newer balance takes the place of one that was not answered; numbers keep no hole."""
    pupil, terminal = bench.pupil(), bench.device("terminal-1")
    bench.answer_all(terminal)
    for _ in range(5):
        credit(bench, pupil, 420)
        bench.clock.advance(3600)
        bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        waiting = select(OrderRow.kind).where(OrderRow.answered_at.is_(None), OrderRow.kind == "balances")
        assert ["balances"] == list(session.scalars(waiting))
    orders = bench.orders(terminal)
    assert list(range(orders[0][0], orders[0][0] + len(orders))) == [number for number, _ in orders]
    assert [((pupil, 5),)] == [order.meals_left for _, order in orders if isinstance(order, BalancesOrder)]


def test_two_terminals_that_did_not_hear_each_other_leave_a_debt_that_is_listed(bench: LedgerBench) -> None:
    """One meal paid, one eaten at noon here and one in the evening there: both debited once, an alarm until paid."""
    pupil = bench.pupil()
    credit(bench, pupil, 420)
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    noon = external(pupil)
    evening = replace(external(pupil), moment=replace(noon.moment, period="soir"))
    for device, meal in ((one, noon), (two, evening), (one, noon)):
        entries = device.note(meal, PassCompleted(meal.pass_id)) if not device.journal else device.journal
        bench.send(device, entries)
    with bench.services.database.reading() as session:
        assert -420 == bench.services.accounts.balance_cents(session, pupil)
        open_alarms = select(Alarm.about).where(Alarm.kind == "prepaid-overdrawn", Alarm.closed_at.is_(None))
        assert [pupil] == list(session.scalars(open_alarms))
    assert [((pupil, -1),)] == [order.meals_left for order in told(bench, one)]
    credit(bench, pupil, 420)
    with bench.services.database.reading() as session:
        assert [] == list(session.scalars(open_alarms))


def test_a_school_without_a_price_tells_nothing(bench: LedgerBench) -> None:
    """Nobody's meals are counted there."""
    bench.close()
    bench.settings = replace(bench.settings, school=SchoolSettings("0751234X", 0))
    bench.restart()
    credit(bench, bench.pupil(), 4200)
    assert [] == told(bench, bench.device("terminal-1"))
