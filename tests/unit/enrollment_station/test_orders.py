"""The server's orders at the station: applied once or again, refused when they are not what they should be."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import date, timedelta

import pytest

from canteen.access_decision import MissingEntitlement
from canteen.consent import ConsentState
from canteen.credentials import CardNumber
from canteen.entitlements import forfait_4_days
from canteen.identifiers import DeviceId, PupilId, PurgeId
from canteen.serving_periods import ServingCalendar, ServingPeriod
from enrollment_station import orders
from sync.facts import Fact, OrderApplied, OrderRefused, PurgeReceipt, ReferenceSealed
from sync.messages import SignedOrder
from sync.orders import (
    CalendarOrder,
    CardAssigned,
    CardBlocked,
    EnrollmentAdvice,
    LeaseOrder,
    PurgeCause,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
    RosterPupil,
    SealAgainOrder,
)
from sync.sealed_reference import open_reference
from sync.signing import SigningKey
from templates_store.store import PupilRecord
from tests.unit.enrollment_station.bench import (
    ADA,
    ALAN,
    CODES,
    NOON,
    STATION,
    Bench,
    PowerCut,
    Terminal,
    directory,
    placements,
    power_cut,
    roster,
)

CARD = CardNumber("04A1B2C3D4E5F6")
PURGE = PurgeId("u-0123456789abcdef")


def _purge(scope: PurgeScope = PurgeScope.REFERENCE, cause: PurgeCause = PurgeCause.WITHDRAWAL) -> PurgeOrder:
    return PurgeOrder(PURGE, ADA, scope, cause, NOON + timedelta(days=7))


def _receipts(facts: list[Fact]) -> list[PurgeReceipt]:
    return [fact for fact in facts if isinstance(fact, PurgeReceipt)]


def test_a_roster_is_held(bench: Bench) -> None:
    """Names, codes, entitlements; whoever is not on a whole roster any more is gone."""
    entitlement = forfait_4_days(date(2026, 9, 1), date(2027, 7, 3))
    row = RosterPupil(ADA, "Ada", "Byron", "6e A", CODES[ADA], (entitlement,))
    assert [OrderApplied(1), OrderApplied(2)] == bench.apply(roster(), Roster((row,), whole=True))
    assert [PupilRecord(ADA, "Ada", "Byron", "6e A", (entitlement,))] == list(bench.station.store.pupils())
    assert CODES[ADA] == bench.station.store.code_of(ADA)


def test_calendar_lease_and_cards_are_held(bench: Bench) -> None:
    """Each kind of order has its effect and is answered for."""
    calendar = ServingCalendar("Europe/Paris", (ServingPeriod("midi", frozenset({0}), 690, 825),))
    bench.fill()
    facts = bench.apply(
        CalendarOrder("Collège des Tilleuls", calendar, MissingEntitlement.DENY),
        LeaseOrder(NOON + timedelta(days=9)),
        CardAssigned(ADA, CARD),
        CardBlocked(CardNumber("04FFFFFFFFFFFF")),
    )
    assert [OrderApplied(number) for number in (4, 5, 6, 7)] == facts
    assert "Collège des Tilleuls" in bench.client.get("/", headers=bench.bearer).text
    assert NOON + timedelta(days=9) == bench.station.store.lease_until
    assert bench.station.store.has_card(ADA)


def test_a_refused_order_does_not_stop_the_next(bench: Bench) -> None:
    """Forged, for terminals only, about nobody, with a code twice: each is refused, the last one applied."""
    bench.put_orders(roster(), server=SigningKey(secrets.token_bytes(32)))
    twice = [RosterPupil(pupil, "A", "B", "C", CODES[ADA], ()) for pupil in (ADA, ALAN)]
    facts = bench.apply(
        ReferenceOrder(ADA, STATION, 1, b"sealed"),
        CardAssigned(PupilId("p-ffffffffffffffff"), CARD),
        Roster(tuple(twice), whole=True),
        roster(),
    )
    assert [
        OrderRefused(1, orders.BAD_SIGNATURE),
        OrderRefused(2, orders.NOT_FOR_STATION),
        OrderRefused(3, orders.UNKNOWN_PUPIL),
        OrderRefused(4, orders.CODE_TAKEN),
        OrderApplied(5),
    ] == facts
    assert 5 == bench.station.box.done_up_to


def test_garbage_in_the_box_is_refused_and_passed_over(bench: Bench) -> None:
    """Whoever can write the box can spoil an order, not the station."""
    bench.put_orders(roster(), roster())
    bench.station.box._connection.execute("UPDATE waiting SET wire = ? WHERE number = 1", (b"\xff{garbage",))
    assert [OrderRefused(1, orders.MALFORMED), OrderApplied(2)] == bench.apply()


def test_an_order_for_another_device_is_refused(bench: Bench) -> None:
    """A genuine order of the server for a terminal, put into this box."""
    (number,) = bench.put_orders(roster())
    genuine = bench.station.box.next_waiting()
    assert genuine is not None
    moved = SignedOrder(DeviceId("terminal-1"), number, genuine.issued_at, genuine.sealed, genuine.signature)
    from sync.messages import write_signed_order

    bench.station.box._connection.execute("UPDATE waiting SET wire = ?", (write_signed_order(moved),))
    assert [OrderRefused(1, orders.OTHER_DEVICE)] == bench.apply()


def test_an_order_that_breaks_the_program_is_passed_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in one kind of order must not keep purges from being carried out."""
    bench.fill()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(bench.station.dispatch), "take_directory", broken)
    from tests.unit.enrollment_station.bench import directory

    facts = bench.apply(directory(), _purge())
    assert OrderRefused(4, orders.INTERNAL) == facts[0]
    assert OrderApplied(5) == facts[-1]


def test_a_purge_erases_and_is_receipted(bench: Bench) -> None:
    """The hand goes, the pupil stays; the receipt names the record's digest and the epochs."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    receipt, applied = bench.apply(_purge())
    assert isinstance(receipt, PurgeReceipt)
    assert (PURGE, ADA, PurgeScope.REFERENCE, NOON) == (receipt.purge, receipt.pupil, receipt.scope, receipt.erased_at)
    assert receipt.record_digest is not None
    assert receipt.epoch_before + 1 == receipt.epoch_after
    assert OrderApplied(4) == applied
    assert 0 == bench.station.store.reference_revision(ADA)
    assert bench.station.store.pupil(ADA) is not None


def test_departure_erases_everything(bench: Bench) -> None:
    """Roster entry, code, card, consent, hand; the page knows the pupil no more."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.post(f"/api/eleves/{ADA}/carte", {"card": CARD.hexadecimal})
    (receipt,) = _receipts(bench.apply(_purge(PurgeScope.EVERYTHING, PurgeCause.DEPARTURE)))
    assert receipt.record_digest is not None
    assert bench.station.store.pupil(ADA) is None
    assert bench.station.store.find_by_code(CODES[ADA]) is None
    assert bench.station.store.find_by_card(CARD) is None
    assert 404 == bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).status_code


def test_nothing_held_is_receipted_too(bench: Bench) -> None:
    """The server waits for every holder; "nothing was here" is an answer."""
    bench.fill()
    (receipt,) = _receipts(bench.apply(_purge()))
    assert receipt.record_digest is None
    assert receipt.epoch_before == receipt.epoch_after


def test_the_receipt_names_what_the_withdrawal_erased_already(bench: Bench) -> None:
    """The station erases at the form, the server's order comes after: its receipt still proves the erasure."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.consent(ADA, "withdrawn")
    erased = bench.station.store.last_erasure(ADA)
    assert erased is not None
    (receipt,) = _receipts(bench.apply(_purge()))
    assert (erased.record_digest, erased.epoch_before, erased.epoch_after) == (
        receipt.record_digest,
        receipt.epoch_before,
        receipt.epoch_after,
    )
    assert ConsentState.WITHDRAWN is bench.station.store.consent_of(ADA)[0]


def test_killed_between_purge_and_journal_it_is_done_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erased, but nobody told yet: after the restart the receipt names the same record."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))

    bench.put_orders(_purge())
    with monkeypatch.context() as cut:
        cut.setattr(type(bench.station.recorder), "record", power_cut)
        with pytest.raises(PowerCut):
            bench.station.applier.apply_next()
    erased = bench.station.store.last_erasure(ADA)
    bench.restart()
    (receipt,) = _receipts(bench.apply())
    assert erased is not None
    assert erased.record_digest == receipt.record_digest
    assert 4 == bench.station.box.done_up_to


def test_killed_between_journal_and_mark_it_is_not_answered_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applied and recorded, but not struck out: the next start only strikes it out."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))

    bench.put_orders(_purge())
    with monkeypatch.context() as cut:
        cut.setattr(type(bench.station.box), "mark_done", power_cut)
        with pytest.raises(PowerCut):
            bench.station.applier.apply_next()
    assert 3 == bench.station.box.done_up_to
    bench.restart()
    assert 4 == bench.station.box.done_up_to
    assert [] == bench.apply()
    assert 1 == len(_receipts(bench.facts()))


def test_a_late_purge_leaves_what_was_consented_to_since(bench: Bench) -> None:
    """Withdrawn, consented anew, enrolled; then the first withdrawal's order arrives: it is about the earlier hand."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.clock.advance(60)
    withdrawn_at = bench.clock.utc_now()
    bench.consent(ADA, "withdrawn")
    erased = bench.station.store.last_erasure(ADA)
    assert erased is not None
    bench.clock.advance(60)
    bench.consent(ADA)
    assert 200 == bench.enroll(ADA, placements(1)).status_code
    held = bench.station.store.reference_revision(ADA)
    assert held
    late = replace(_purge(), asked_by="Mme Delmas", consents_until=withdrawn_at)
    (receipt,) = _receipts(bench.apply(late))
    assert held == bench.station.store.reference_revision(ADA)
    assert (erased.record_digest, PurgeCause.WITHDRAWAL, "Mme Delmas") == (
        receipt.record_digest,
        receipt.cause,
        receipt.asked_by,
    )
    assert _receipts(bench.apply(replace(_purge(), consents_until=bench.clock.utc_now())))
    assert 0 == bench.station.store.reference_revision(ADA)


def test_what_a_terminal_lacks_is_sealed_again_for_it(bench: Bench) -> None:
    """By an order, nobody types anything; under the lease of now, and only what may still be given out."""
    terminal = Terminal(DeviceId("terminal-1"))
    bench.fill(terminal)
    for pupil in (ADA, ALAN):
        bench.consent(pupil)
    bench.enroll(ADA, placements(1))
    bench.enroll(ALAN, placements(2))
    bench.consent(ALAN, "withdrawn")
    again = SealAgainOrder(terminal.name, (ADA, ALAN, PupilId("p-ffffffffffffffff")))
    sealed, applied = bench.apply(again)
    assert isinstance(applied, OrderApplied)
    assert isinstance(sealed, ReferenceSealed)
    assert (ADA, terminal.name) == (sealed.pupil, sealed.recipient)
    station_key = bench.station.dispatch.signing_key.verifying_key
    grant = open_reference(sealed.sealed, STATION, terminal.name, station_key, terminal.opening_key)
    assert (sealed.revision, bench.station.store.lease_until) == (grant.revision, grant.dies_at)
    bench.apply(directory())
    assert [OrderApplied] == [type(fact) for fact in bench.apply(again)]


def test_nothing_is_sealed_again_after_the_stations_own_lease(bench: Bench) -> None:
    """The server asks once more when a fresh lease has come."""
    terminal = Terminal(DeviceId("terminal-1"))
    bench.fill(terminal)
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.clock.advance(timedelta(days=8).total_seconds())
    again = SealAgainOrder(terminal.name, (ADA,))
    (refused,) = bench.apply(again)
    assert isinstance(refused, OrderRefused)
    assert orders.LEASE_OVER == refused.why
    bench.apply(LeaseOrder(bench.clock.utc_now() + timedelta(days=7)))
    assert [ReferenceSealed, OrderApplied] == [type(fact) for fact in bench.apply(again)]


def test_who_has_grown_is_on_the_list_until_taken_anew(bench: Bench) -> None:
    """A terminal's advice, by the server, shows at the station; a new hand or a purge ends it, and leaves no trace."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    revision = bench.station.store.reference_revision(ADA)
    bench.apply(EnrollmentAdvice(ADA, revision), EnrollmentAdvice(ALAN, 3))
    states = {
        item["pupil"]: item["state"] for item in bench.client.get("/api/eleves", headers=bench.bearer).json()["pupils"]
    }
    assert ("a-reprendre", "sans-carte") == (states[ADA], states[ALAN])
    assert "À réenrôler" in bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).text
    assert f"/eleves/{ADA}" in bench.client.get("/?etat=a-reprendre", headers=bench.bearer).text
    bench.restart()
    bench.clock.advance(1.0)
    bench.enroll(ADA, placements(1))
    assert f"/eleves/{ADA}" not in bench.client.get("/?etat=a-reprendre", headers=bench.bearer).text
    bench.apply(EnrollmentAdvice(ADA, bench.station.store.reference_revision(ADA)))
    bench.apply(_purge())
    assert {} == bench.station.store.document("enroll-anew")
