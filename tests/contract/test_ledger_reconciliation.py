"""Seen = received = billed, or a reason why not; a human's word is a new entry; prepaid meals are debited once."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.models import AccountEntry, Alarm, DayCertificate, MealPassRow, PassSettlement
from billing_server.reconciliation import DayReconciliation, Decision, Standing, reconcile
from billing_server.signed_statement import StatementPurpose, statement_holds
from billing_server.text import Text
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PupilId, new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod, PassUnresolved
from canteen.serving_periods import ServiceMoment
from sync.facts import JournalBegun, OrdersHeld
from sync.greeting import read_greeting
from sync.messages import topic_down, topic_up
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, SignedDevice, denied, granted, hours

pytest_plugins = ("tests.unit.billing_server.databases",)


def external(pupil: PupilId) -> PassGranted:
    return PassGranted(
        new_pass_id(), pupil, PassMethod.CARD, ServiceMoment(TODAY, "midi"), EntitlementKind.EXTERNAL_MEAL
    )


def reconciled(bench: LedgerBench) -> DayReconciliation:
    with bench.services.database.reading() as session:
        return reconcile(session, bench.services.school.calendar(session), TODAY)


def say_hello(bench: LedgerBench, device: SignedDevice, entries: int | None = None) -> None:
    bench.services.ingest.take_hello(topic_up(device.name, "hello"), device.hello(0, entries))


def greetings(bench: LedgerBench, device: SignedDevice) -> list[bool]:
    """Those to `device` so far: whether they ask."""
    topic = topic_down(device.name, "greeting")
    return [read_greeting(payload).asks for to, payload in bench.published.sent if to == topic]


def alarms(bench: LedgerBench) -> list[str]:
    with bench.services.database.reading() as session:
        return list(session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None)).order_by(Alarm.id)))


def balance(bench: LedgerBench, pupil: PupilId) -> int:
    with bench.services.database.reading() as session:
        return bench.services.accounts.balance_cents(session, pupil)


def settle(bench: LedgerBench, device: SignedDevice, pass_id: str, decision: Decision) -> None:
    with bench.services.database.writing() as session:
        bench.services.settlements.settle_pass(session, device.name, pass_id, decision, "vu", "Mme Roux")


def test_a_plain_day_is_seen_received_billed(bench: LedgerBench) -> None:
    """And final once each terminal has put on record, after the service, that it is there."""
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    for device in (one, two):
        for _ in range(3):
            grant = granted(bench.pupil())
            device.note(grant, PassCompleted(grant.pass_id), denied())
        bench.send(device)
    found = reconciled(bench)
    assert [("terminal-1", 3, 3, 3, 3), ("terminal-2", 3, 3, 3, 3)] == [
        (d.device, d.seen, d.received, d.billed, d.denied) for d in found.devices
    ]
    assert (True, False) == (found.holds, found.final)
    bench.clock.advance(3 * 3600)
    for device in (one, two):
        say_hello(bench, device)
        assert [True] == greetings(bench, device)
        bench.send(device, device.note(OrdersHeld(device.orders_done)))
    assert (True, True) == (reconciled(bench).holds, reconciled(bench).final)


def test_what_was_said_before_the_end_of_the_service_proves_nothing_after_it(bench: LedgerBench) -> None:
    """Whoever has a terminal's certificate can say its hello and its batches again, and hold back what followed."""
    terminal = bench.device("terminal-1")
    terminal.note(granted(bench.pupil()))
    hello = terminal.hello(0)
    bench.send(terminal)
    bench.clock.advance(3 * 3600)
    bench.services.ingest.take_hello(topic_up(terminal.name, "hello"), hello)
    bench.send(terminal)
    assert not reconciled(bench).final
    terminal.note(denied(), at=bench.clock.utc_now() - hours(3))
    bench.send(terminal)
    assert not reconciled(bench).final
    bench.send(terminal, terminal.note(denied()))
    assert reconciled(bench).final


def test_a_terminal_is_asked_after_the_service_once_and_not_before(bench: LedgerBench) -> None:
    """Nor where it has put anything on record since, nor a second time within a minute."""
    terminal = bench.device("terminal-1")
    bench.send(terminal, terminal.note(denied()))
    say_hello(bench, terminal)
    assert [] == greetings(bench, terminal)
    bench.clock.advance(3 * 3600)
    old = terminal.hello(0)
    for _ in range(2):
        bench.services.ingest.take_hello(topic_up(terminal.name, "hello"), old)
    assert [True] == greetings(bench, terminal)
    bench.clock.advance(120)
    bench.send(terminal, terminal.note(denied()))
    bench.services.ingest.take_hello(topic_up(terminal.name, "hello"), terminal.hello(0))
    assert [True] == greetings(bench, terminal)


def test_what_a_terminal_has_and_we_have_not_is_missing(bench: LedgerBench) -> None:
    """By its own word at its hello; of today only while nothing of a later day has come."""
    terminal = bench.device("terminal-1")
    terminal.note(*(granted(bench.pupil()) for _ in range(4)))
    bench.send(terminal, terminal.journal[:1])
    say_hello(bench, terminal)
    found = reconciled(bench)
    assert [(4, 1, 3)] == [(d.seen, d.received, d.missing) for d in found.devices]
    assert not found.holds
    bench.send(terminal)
    assert reconciled(bench).holds
    terminal.note(denied(), at=bench.clock.utc_now() + timedelta(days=1))
    bench.send(terminal)
    say_hello(bench, terminal, 9)
    assert reconciled(bench).holds


def test_of_two_services_at_two_terminals_the_earlier_is_billed(bench: LedgerBench) -> None:
    """Whichever journal comes first; the later one waits for a human and raises an alarm."""
    pupil = bench.pupil()
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    early, late = granted(pupil), granted(pupil)
    one.note(early, PassCompleted(early.pass_id))
    two.note(late, PassCompleted(late.pass_id), at=bench.clock.utc_now() + hours(0.1))
    bench.send(two)
    assert Standing.BILLED in reconciled(bench).devices[1].standings
    bench.send(one)
    found = reconciled(bench)
    assert [1, 0] == [d.billed for d in found.devices]
    assert [(late.pass_id, early.pass_id)] == [
        (o.row.pass_id, o.instead.pass_id) for o in found.to_settle if o.instead is not None
    ]
    assert ["double-service"] == alarms(bench)
    assert not found.holds
    settle(bench, two, late.pass_id, Decision.NOT_BILLED)
    found = reconciled(bench)
    assert (True, [], ["vu"]) == (
        found.holds,
        found.to_settle,
        [o.settlement.reason for o in found.settled if o.settlement],
    )
    assert [] == alarms(bench)


def test_the_last_word_counts_and_every_word_is_kept(bench: LedgerBench) -> None:
    """A settlement is a new entry; the passes themselves are untouched."""
    pupil = bench.pupil()
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    late = granted(pupil)
    bench.send(one, one.note(granted(pupil)))
    bench.send(two, two.note(late, at=bench.clock.utc_now() + hours(0.1)))
    for decision in (Decision.BILLED, Decision.NOT_BILLED, Decision.BILLED):
        settle(bench, two, late.pass_id, decision)
    assert [1, 1] == [d.billed for d in reconciled(bench).devices]
    with bench.services.database.reading() as session:
        words = list(session.scalars(select(PassSettlement.decision).order_by(PassSettlement.id)))
        assert 2 == session.scalar(select(func.count()).select_from(MealPassRow))
    assert ["billed", "not-billed", "billed"] == words


def test_an_abandoned_pass_is_no_double(bench: LedgerBench) -> None:
    """The child stepped back and came through the other lane."""
    pupil = bench.pupil()
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    first = granted(pupil)
    bench.send(one, one.note(first, PassAbandoned(first.pass_id)))
    bench.send(two, two.note(granted(pupil)))
    found = reconciled(bench)
    assert (True, [0, 1], [1, 0]) == (
        found.holds,
        [d.billed for d in found.devices],
        [d.explained for d in found.devices],
    )
    assert [] == alarms(bench)


def test_a_prepaid_meal_is_debited_once(bench: LedgerBench) -> None:
    """At the completed passage; not again for the same entries, nor for a second pass at the same moment."""
    pupil = bench.pupil()
    with bench.services.database.writing() as session:
        bench.services.accounts.credit(session, pupil, 4200, "Mme Roux")
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    meal, again = external(pupil), external(pupil)
    bench.send(one, one.note(meal))
    assert 4200 == balance(bench, pupil)
    bench.send(one, one.note(PassCompleted(meal.pass_id)))
    bench.send(one)
    assert 3780 == balance(bench, pupil)
    bench.send(two, two.note(again, PassCompleted(again.pass_id), at=bench.clock.utc_now() + hours(0.1)))
    assert 3780 == balance(bench, pupil)
    settle(bench, two, again.pass_id, Decision.BILLED)
    settle(bench, two, again.pass_id, Decision.BILLED)
    assert 3360 == balance(bench, pupil)
    settle(bench, two, again.pass_id, Decision.NOT_BILLED)
    assert 3780 == balance(bench, pupil)
    with bench.services.database.reading() as session:
        cents = list(session.scalars(select(AccountEntry.cents).order_by(AccountEntry.id)))
    assert [4200, -420, -420, 420] == cents


def test_an_unresolved_prepaid_meal_waits_for_a_human(bench: LedgerBench) -> None:
    """A forfait counts at the grant all the same."""
    terminal, pupil = bench.device("terminal-1"), bench.pupil()
    meal, forfait = external(pupil), granted(bench.pupil())
    terminal.note(meal, PassUnresolved(meal.pass_id), forfait, PassUnresolved(forfait.pass_id))
    bench.send(terminal)
    found = reconciled(bench)
    assert [(1, 1)] == [(d.billed, d.waiting) for d in found.devices]
    assert [Standing.UNRESOLVED] == [o.standing for o in found.to_settle]
    settle(bench, terminal, meal.pass_id, Decision.BILLED)
    assert (True, -420) == (reconciled(bench).holds, balance(bench, pupil))


def test_a_certificate_is_signed_kept_and_printed(bench: LedgerBench) -> None:
    """JSON whose signature holds; a PDF that carries it; a later one does not replace it."""
    terminal = bench.device("terminal-1")
    bench.send(terminal, terminal.note(granted(bench.pupil())))
    desk = bench.services.certificates
    with bench.services.database.writing() as session:
        first = desk.certify(session, TODAY, "Mme Roux")
        document = json.loads(json.dumps(desk.document(first)))
        pdf = desk.pdf(first, Text("fr", "Europe/Paris"))
        desk.certify(session, TODAY, "Mme Roux")
        assert 2 == session.scalar(select(func.count()).select_from(DayCertificate))
    key, signature = b64decode(document["verifying_key"]), b64decode(document["signature"])
    said = document["statement"]
    assert (1, 1, 1, True) == (said["seen"], said["received"], said["billed"], said["holds"])
    assert {"uai": "0751234X", "name": "Collège des Tilleuls"} == said["school"]
    assert statement_holds(key, StatementPurpose.DAY, said, signature)
    assert not statement_holds(key, StatementPurpose.DAY, {**said, "billed": 2}, signature)
    assert not statement_holds(key, StatementPurpose.PURGE, said, signature)
    assert pdf.startswith(b"%PDF-")
    assert b"certificat-2026-11-23" in pdf


def test_a_fork_is_compared_and_settled(bench: LedgerBench) -> None:
    """An old card was put back and meals went on: both versions stay, the other's passes count if a human says so."""
    terminal = bench.device("terminal-1")
    bench.send(terminal, terminal.note(granted(bench.pupil()), granted(bench.pupil())))
    other = terminal.sign(granted(bench.pupil()), 2, terminal.journal[0].digest)
    bench.send(terminal, [other])
    found = reconciled(bench)
    assert ([1], False) == ([d.forks for d in found.devices], found.holds)
    token = bench.services.operators.add("Mme Roux")
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        address = f"/journaux/terminal-1/{terminal.generation}"
        shown = client.get(address).text
        assert other.digest[:16] in shown
        assert terminal.journal[1].digest[:16] in shown
        assert 200 == client.post(f"{address}/regler", data={"decision": "both-happened"}).status_code
        assert 404 == client.post(f"{address}/regler", data={"decision": "both-happened"}).status_code
        assert 404 == client.get(address).status_code
    found = reconciled(bench)
    assert ([0], [3], True) == ([d.forks for d in found.devices], [d.billed for d in found.devices], found.holds)
    assert [] == alarms(bench)
    bench.send(terminal, [other])
    assert reconciled(bench).holds


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_page_shows_settles_and_certifies(small_bench: LedgerBench, language: str) -> None:
    bench = small_bench
    pupil = bench.pupil("Zoé", "Garcia", "4eC")
    one, two = bench.device("terminal-1"), bench.device("terminal-2")
    late = granted(pupil)
    bench.send(one, one.note(granted(pupil)))
    bench.send(two, two.note(late, at=bench.clock.utc_now() + hours(0.1)))
    token = bench.services.operators.add("Mme Roux")
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        shown = client.get(f"/rapprochement?lang={language}").text
        assert "Garcia" in shown
        assert ("Ne pas facturer" if language == "fr" else "Do not bill") in shown
        body = {"device": "terminal-2", "passage": late.pass_id, "decision": "not-billed"}
        assert "Garcia" in client.post("/rapprochement/regler", data=body).text
        assert 404 == client.post("/rapprochement/regler", data={**body, "passage": "x"}).status_code
        assert 422 == client.post("/rapprochement/regler", data={**body, "decision": "perhaps"}).status_code
        assert 200 == client.post("/rapprochement/certifier", data={"jour": "2026-11-23"}).status_code
        assert "application/pdf" == client.get("/certificats/1.pdf").headers["Content-Type"]
        assert client.get("/certificats/1.json").json()["statement"]["holds"]
        assert 404 == client.get("/certificats/9.json").status_code
        assert 2 == client.get("/api/reconciliation").json()["received"]
        answer = client.post(f"/api/pupils/{pupil}/credit", json={"cents": 840})
        assert {"balance_cents": 840} == answer.json()


def test_what_a_journal_said_is_missing_after_another_follows(bench: LedgerBench) -> None:
    """A card dies with meals on it, and the terminal begins anew: the day does not add up until a human says so."""
    terminal = bench.device("terminal-1")
    meals = [granted(bench.pupil(f"P{n}")) for n in range(10)]
    terminal.note(*meals)
    bench.send(terminal, terminal.journal[:4])
    say_hello(bench, terminal)

    def day() -> tuple[int, int, int, bool]:
        found = reconciled(bench)
        (one,) = found.devices
        return one.seen, one.received, one.missing, found.holds

    assert (10, 4, 6, False) == day()
    terminal.journal.clear()
    terminal.generation = "00000000000000aa"
    terminal.note(denied(), at=bench.clock.utc_now() + hours(1))
    bench.clock.advance(3600)
    bench.send(terminal)
    say_hello(bench, terminal)
    say_hello(bench, terminal)
    assert (10, 4, 6, False) == day()
    with bench.services.database.writing() as session:
        gap = session.scalars(select(Alarm).where(Alarm.kind == "gap")).one()
        assert "5-10" == gap.detail
        gap.closed_at = bench.clock.utc_now()
    assert (4, 4, 0, True) == day()


@pytest.mark.parametrize("hello_first", [True, False])
def test_a_journal_that_tells_the_rest_leaves_no_gap(bench: LedgerBench, hello_first: bool) -> None:
    """The server asked for it, or the program noticed: what was missing of the old journal comes in the new one."""
    terminal = bench.device("terminal-1")
    meals = [granted(bench.pupil(f"P{n}")) for n in range(3)]
    terminal.note(*meals)
    bench.send(terminal, terminal.journal[:1])
    say_hello(bench, terminal)
    before, at = terminal.generation, bench.clock.utc_now()
    bench.clock.advance(60)
    terminal.journal.clear()
    terminal.generation = "00000000000000aa"
    terminal.note(JournalBegun(before, 1, "ab" * 32, 3), *meals, at=at)
    if hello_first:
        say_hello(bench, terminal)
        bench.send(terminal)
    else:
        bench.send(terminal)
        say_hello(bench, terminal)
    found = reconciled(bench)
    assert [(3, 3, 0)] == [(one.seen, one.received, one.missing) for one in found.devices]
    assert "gap" not in alarms(bench)


def test_a_double_is_open_until_each_pass_has_its_word(bench: LedgerBench) -> None:
    """Three lanes, cut from each other, served one pupil three times."""
    lea, devices = bench.pupil(), [bench.device(f"terminal-{n}") for n in range(1, 4)]
    meals = [granted(lea) for _ in devices]
    for device, meal in zip(devices, meals, strict=True):
        device.note(meal, PassCompleted(meal.pass_id))
        bench.send(device)
        bench.clock.advance(60)
    settle(bench, devices[1], meals[1].pass_id, Decision.NOT_BILLED)
    assert ["double-service"] == alarms(bench)
    settle(bench, devices[2], meals[2].pass_id, Decision.NOT_BILLED)
    assert [] == alarms(bench)
