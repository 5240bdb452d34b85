"""After three months a pass is still a meal, and nobody's; the day counts as it counted, and the chain still holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, select
from starlette.testclient import TestClient

from billing_server import audit
from billing_server.app import make_app
from billing_server.audit import Action
from billing_server.configuration import Policy
from billing_server.ledger import stored_entry
from billing_server.models import Alarm, Audit, Denial, Entry, ForkedEntry, MealPassRow
from billing_server.reading import passes_after
from billing_server.reconciliation import Decision, reconcile
from billing_server.settlements import ForkDecision
from canteen.clock import ClockTrust
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PupilId, new_pass_id
from canteen.meal_pass import PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.encoding import canonical, digest
from sync.fact_bodies import read_fact
from sync.messages import GENESIS
from sync.signing import Purpose
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, SignedDevice, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


def external(pupil: PupilId) -> PassGranted:
    moment = ServiceMoment(TODAY, "midi")
    return PassGranted(new_pass_id(), pupil, PassMethod.CARD, moment, EntitlementKind.EXTERNAL_MEAL)


def pupils_of_passes(bench: LedgerBench) -> list[str]:
    with bench.services.database.reading() as session:
        return [row.pupil for row in passes_after(session, 0, 100)]


def bodies(bench: LedgerBench, kind: str) -> list[str | None]:
    with bench.services.database.reading() as session:
        return list(session.scalars(select(Entry.body).where(Entry.kind == kind).order_by(Entry.sequence)))


def days_go_by(bench: LedgerBench, device: SignedDevice, days: int) -> None:
    """The device still speaks; the server tidies up, as often as it takes."""
    bench.clock.advance(days * 86_400)
    device.note(denied())
    bench.send(device)
    tidy(bench)


def tidy(bench: LedgerBench) -> None:
    for _ in range(5):
        bench.services.housekeeping.round()


def chain_holds(bench: LedgerBench, device: SignedDevice) -> bool:
    """From the headers alone, as an auditor would: each entry names the one before it, and the last is signed."""
    previous, header = GENESIS, {}
    with bench.services.database.reading() as session:
        rows = session.scalars(select(Entry).where(Entry.device == device.name).order_by(Entry.sequence)).all()
    for row in rows:
        header = {**stored_entry(row).header, "body_digest": row.body_digest}
        if row.previous != previous or digest(canonical(header)) != row.digest:
            return False
        previous = row.digest
    device.signing.verifying_key.verify(Purpose.JOURNAL_ENTRY, header, rows[-1].signature)
    return True


def denied_pupils(bench: LedgerBench) -> list[str | None]:
    with bench.services.database.reading() as session:
        return list(session.scalars(select(Denial.pupil).order_by(Denial.position)))


def test_a_pass_lets_go_of_its_pupil(bench: LedgerBench) -> None:
    """Of one pupil on one day it is the same nobody; what became of the pass, and the signed chain, stay."""
    terminal, lea, adam = bench.device("terminal-1"), bench.pupil(), bench.pupil("Adam")
    first, second, other = granted(lea), granted(lea), granted(adam)
    terminal.note(first, PassCompleted(first.pass_id), second, other, denied(lea))
    bench.send(terminal)
    days_go_by(bench, terminal, 92)  # the last day of three months
    assert [lea, lea, adam] == pupils_of_passes(bench)
    assert [lea, None] == denied_pupils(bench)
    days_go_by(bench, terminal, 1)
    one, again, another = pupils_of_passes(bench)
    assert one == again != another
    assert {"x-"} == {pupil[:2] for pupil in (one, another)}
    assert [None] * 3 == denied_pupils(bench)
    assert [None] * 3 == bodies(bench, "pass-granted")
    assert None is bodies(bench, "pass-denied")[0]
    assert None not in bodies(bench, "pass-completed")
    assert chain_holds(bench, terminal)
    before = pupils_of_passes(bench)
    days_go_by(bench, terminal, 30)
    assert before == pupils_of_passes(bench)


def test_the_day_counts_as_it_counted(bench: LedgerBench) -> None:
    """A meal served twice is still a double of the first, its alarm speaks of it, and a human's word on it counts."""
    one, two, lea = bench.device("terminal-1"), bench.device("terminal-2"), bench.pupil()
    for device in (one, two):
        grant = granted(lea)
        device.note(grant, PassCompleted(grant.pass_id))
        bench.send(device)
        bench.clock.advance(60)

    def counted() -> list[tuple[str, int, int, int]]:
        with bench.services.database.reading() as session:
            found = reconcile(session, bench.services.school.calendar(session), TODAY)
        return [(d.device, d.received, d.billed, d.explained) for d in found.devices]

    before = counted()
    for device in (one, two):
        days_go_by(bench, device, 50)
    assert before == counted()
    with bench.services.database.reading() as session:
        double = session.scalars(select(Alarm).where(Alarm.kind == "double-service")).one()
        assert double.about.startswith("x-")
        assert double.closed_at is None
    token = bench.services.operators.add("Mme Roux")
    with TestClient(make_app(bench.services)) as page:
        shown = page.get(f"/rapprochement?jour={TODAY}", headers={"Authorization": f"Bearer {token}"}).text
    assert "Plus relié à un élève" in shown
    with bench.services.database.writing() as session:
        later = session.scalars(select(MealPassRow).where(MealPassRow.device == "terminal-2")).one()
        bench.services.settlements.settle_pass(
            session, "terminal-2", later.pass_id, Decision.NOT_BILLED, "vu", "Mme Roux"
        )
    with bench.services.database.reading() as session:
        assert (
            [] == session.scalars(select(Alarm).where(Alarm.kind == "double-service", Alarm.closed_at.is_(None))).all()
        )


def test_a_prepaid_meal_stays_with_its_account(bench: LedgerBench) -> None:
    """It is money; the same meal that a second terminal tells of in spring is debited no second time."""
    one, two, guest = bench.device("terminal-1"), bench.device("terminal-2"), bench.pupil("Paul")
    for device in (one, two):
        grant = external(guest)
        device.note(grant, PassCompleted(grant.pass_id))
    bench.send(one)
    days_go_by(bench, one, 93)
    bench.send(two)
    tidy(bench)
    assert [guest, guest] == pupils_of_passes(bench)
    with bench.services.database.reading() as session:
        assert -420 == bench.services.accounts.balance_cents(session, guest)


def test_no_single_clock_makes_the_ledger_forget(bench: LedgerBench) -> None:
    """Ours runs ahead, or a terminal's does, or a pass bears a year long gone: it is here for three months."""
    terminal, lea = bench.device("terminal-1"), bench.pupil()
    terminal.note(granted(lea))
    bench.send(terminal)
    bench.clock.advance(400 * 86_400)
    tidy(bench)
    assert [lea] == pupils_of_passes(bench)
    bench.clock.advance(-400 * 86_400)
    terminal.note(denied(), at=bench.clock.utc_now() + timedelta(days=400))
    bench.send(terminal)
    tidy(bench)
    assert [lea] == pupils_of_passes(bench)
    lost = bench.device("terminal-2")
    long_gone = PassGranted(new_pass_id(), lea, PassMethod.CARD, ServiceMoment(date(1970, 1, 1), "midi"), None)
    entry = lost.note(long_gone, at=datetime(1970, 1, 1, 11, tzinfo=UTC), trust=ClockTrust.UNTRUSTED)
    bench.send(lost, entry)
    tidy(bench)
    assert [lea, lea] == pupils_of_passes(bench)
    days_go_by(bench, terminal, 93)
    assert {"x-"} == {pupil[:2] for pupil in pupils_of_passes(bench)}


def test_a_pass_that_comes_after_three_months_is_let_go_of_at_once(bench: LedgerBench) -> None:
    """From a terminal that was found in a cupboard; it is acknowledged and counted like any other."""
    found, other, lea = bench.device("terminal-1"), bench.device("terminal-2"), bench.pupil()
    found.note(granted(lea))
    days_go_by(bench, other, 100)
    assert [1] == [ack.sequence for ack in bench.send(found)]
    bench.clock.advance(86_400)
    other.note(denied())
    bench.send(other)
    tidy(bench)
    assert ["x-"] == [pupil[:2] for pupil in pupils_of_passes(bench)]


def test_a_journal_that_begins_anew_brings_no_pupil_back(bench: LedgerBench) -> None:
    """Its entries of the time before name the pupils once more: known passes, no alarm, and forgotten again."""
    terminal, lea = bench.device("terminal-1"), bench.pupil()
    first, at = granted(lea), bench.clock.utc_now()
    terminal.note(first, denied(lea), at=at)
    bench.send(terminal)
    old = [(entry.kind, entry.body) for entry in terminal.journal]
    days_go_by(bench, terminal, 93)
    let_go = pupils_of_passes(bench)
    terminal.generation, terminal.journal = "00000000000000aa", []
    for kind, body in old:
        terminal.note(read_fact(kind, body), at=at)
    bench.send(terminal)
    days_go_by(bench, terminal, 1)
    assert let_go == pupils_of_passes(bench)
    assert [None, None, None] == denied_pupils(bench)
    assert [None, None] == bodies(bench, "pass-granted")
    assert not any(lea in (body or "") for body in bodies(bench, "pass-denied"))
    with bench.services.database.reading() as session:
        assert ["new-generation"] == list(session.scalars(select(Alarm.kind)))


def test_a_settled_fork_is_forgotten_and_an_open_one_waits(bench: LedgerBench) -> None:
    """The other version of a journal names pupils too; a human looks at it first."""
    terminal, lea = bench.device("terminal-1"), bench.pupil()
    terminal.note(granted(lea))
    bench.send(terminal)
    terminal.journal.clear()
    terminal.note(granted(lea))
    bench.send(terminal)
    terminal.generation = "00000000000000aa"
    terminal.journal.clear()
    days_go_by(bench, terminal, 93)

    def kept() -> list[bool]:
        with bench.services.database.reading() as session:
            return [body is not None for body in session.scalars(select(ForkedEntry.body))]

    assert [True] == kept()
    with bench.services.database.writing() as session:
        generation = session.scalars(select(ForkedEntry.generation)).one()
        bench.services.settlements.settle_fork(
            session, "terminal-1", generation, ForkDecision.LEDGER_STANDS, "Mme Roux"
        )
    days_go_by(bench, terminal, 1)
    assert [False] == kept()


def test_the_audit_is_kept_for_a_year(bench: LedgerBench) -> None:
    terminal = bench.device("terminal-1")
    with bench.services.database.writing() as session:
        audit.note(session, "Mme Roux", Action.CLIENT_PULLED, bench.clock.utc_now(), "x")
    days_go_by(bench, terminal, 364)
    with bench.services.database.reading() as session:
        assert 1 == session.scalar(select(func.count()).select_from(Audit))
    days_go_by(bench, terminal, 2)
    with bench.services.database.reading() as session:
        assert 0 == session.scalar(select(func.count()).select_from(Audit))


def test_the_school_chooses_how_long(bench: LedgerBench) -> None:
    bench.close()
    bench.settings = replace(bench.settings, policy=Policy(passes_kept=timedelta(days=30)))
    bench.restart()
    terminal = bench.device("terminal-1")
    terminal.note(granted(bench.pupil()))
    bench.send(terminal)
    days_go_by(bench, terminal, 31)
    assert ["x-"] == [pupil[:2] for pupil in pupils_of_passes(bench)]
