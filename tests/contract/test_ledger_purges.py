"""Consents, references and departures: nothing without consent, everything erased, every receipt kept; on both
databases.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from billing_server.models import Alarm, Card, Entry, Holding, OrderRow, PupilRow, Purge
from billing_server.routes import shapes
from canteen.consent import ConsentState
from canteen.identifiers import DeviceId, PupilId, PurgeId, new_purge_id
from sync.encoding import canonical
from sync.facts import Fact, ReferenceEnrolled, ReferenceSealed
from sync.messages import JournalEntry
from sync.orders import (
    CardAssigned,
    CardBlocked,
    DeviceRole,
    LeaseOrder,
    PurgeCause,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
)
from sync.purge_request import signed_request
from sync.signing import Purpose
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, consent, receipt_for

pytest_plugins = ("tests.unit.billing_server.databases",)

SEALED = b"sealed for terminal-1 alone"


class Canteen:
    """A terminal, a station, a pupil, both devices up to date."""

    def __init__(self, bench: LedgerBench) -> None:
        self.bench = bench
        self.terminal = bench.device("terminal-1")
        self.station = bench.device("station-1", DeviceRole.STATION)
        self.pupil = bench.pupil()
        self.settle()

    def settle(self) -> None:
        self.bench.answer_all(self.terminal)
        self.bench.answer_all(self.station)

    def consent(self, state: ConsentState, after_h: float = 0) -> None:
        at = self.bench.clock.utc_now() + timedelta(hours=after_h)
        self.bench.send(self.station, self.station.note(consent(self.pupil, state, at)))

    def enroll(self) -> None:
        facts: list[Fact] = [
            ReferenceEnrolled(self.pupil, 1, "2026-1"),
            ReferenceSealed(self.pupil, self.terminal.name, 1, SEALED),
        ]
        self.bench.send(self.station, self.station.note(*facts))

    def depart(self) -> PurgeId:
        with self.bench.services.database.writing() as session:
            return self.bench.services.purges.depart(session, self.pupil, PurgeCause.DEPARTURE, "Mme Roux")

    def holdings(self) -> set[str]:
        with self.bench.services.database.reading() as session:
            return set(session.scalars(select(Holding.device).where(Holding.pupil == self.pupil)))

    def alarms(self) -> list[str]:
        with self.bench.services.database.reading() as session:
            return list(session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None)).order_by(Alarm.id)))

    def purge(self, purge: PurgeId) -> Purge:
        with self.bench.services.database.reading() as session:
            return session.get_one(Purge, purge)


@pytest.fixture
def canteen(bench: LedgerBench) -> Canteen:
    return Canteen(bench)


def test_a_reference_goes_on_to_its_terminal_under_a_consent(canteen: Canteen) -> None:
    """The server passes on what it cannot read, and knows who holds what."""
    canteen.consent(ConsentState.GIVEN)
    canteen.enroll()
    orders = [order for _, order in canteen.bench.orders(canteen.terminal)]
    assert [ReferenceOrder(canteen.pupil, canteen.station.name, 1, SEALED)] == orders
    assert {"station-1"} == canteen.holdings()
    canteen.bench.answer_all(canteen.terminal)
    assert {"station-1", "terminal-1"} == canteen.holdings()


def test_no_copy_of_a_sealed_reference_stays_at_the_server(canteen: Canteen) -> None:
    """The ledger keeps the entry without its body, the order loses its wire when it is applied."""
    canteen.consent(ConsentState.GIVEN)
    canteen.enroll()
    canteen.bench.answer_all(canteen.terminal)
    with canteen.bench.services.database.reading() as session:
        entry = session.scalars(select(Entry).where(Entry.kind == "reference-sealed")).one()
        assert entry.body is None
        order = session.scalars(select(OrderRow).where(OrderRow.kind == "reference")).one()
        assert (None, canteen.pupil, 1) == (order.wire, order.pupil, order.revision)


@pytest.mark.parametrize("state", [None, ConsentState.OPPOSED, ConsentState.WITHDRAWN, ConsentState.NONE])
def test_without_a_consent_no_reference_goes_on(canteen: Canteen, state: ConsentState | None) -> None:
    """The gate is in the server's code path, whatever a station sends."""
    if state is not None:
        canteen.consent(state)
        canteen.settle()
    canteen.enroll()
    assert [] == canteen.bench.orders(canteen.terminal)
    assert "reference-dropped" in canteen.alarms()


def test_a_withdrawal_erases_the_reference_everywhere(canteen: Canteen) -> None:
    """Only the hand goes; the pupil stays and eats by card."""
    canteen.consent(ConsentState.GIVEN)
    canteen.enroll()
    canteen.settle()
    canteen.consent(ConsentState.WITHDRAWN, after_h=1)
    for device in (canteen.terminal, canteen.station):
        (order,) = [order for _, order in canteen.bench.orders(device)]
        assert isinstance(order, PurgeOrder)
        assert (PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL) == (order.scope, order.cause)
    canteen.settle()
    assert set() == canteen.holdings()
    with canteen.bench.services.database.reading() as session:
        assert session.scalars(select(Purge)).one().completed_at is not None
        assert session.get_one(PupilRow, canteen.pupil).departed_at is None


def test_an_older_word_about_consent_changes_nothing(canteen: Canteen) -> None:
    """A second station was offline and sends last week's consent after today's withdrawal."""
    canteen.consent(ConsentState.WITHDRAWN)
    canteen.consent(ConsentState.GIVEN, after_h=-24)
    with canteen.bench.services.database.reading() as session:
        assert "withdrawn" == session.get_one(PupilRow, canteen.pupil).consent_state


def test_a_reference_still_on_its_way_is_taken_back(canteen: Canteen) -> None:
    """The terminal was offline all along: it gets an order with nothing to do in its place, then the purge."""
    canteen.consent(ConsentState.GIVEN)
    canteen.enroll()
    canteen.consent(ConsentState.WITHDRAWN, after_h=1)
    orders = [order for _, order in canteen.bench.orders(canteen.terminal)]
    assert Roster((), whole=False) == orders[0]
    assert isinstance(orders[1], PurgeOrder)


def test_departure_ends_in_signed_receipts(canteen: Canteen) -> None:
    """Asked of every device; complete when all have confirmed; the code and the card numbers go here too."""
    card = canteen.bench.card_issued(canteen.station, canteen.pupil)
    canteen.bench.send(canteen.station)
    canteen.settle()
    purge = canteen.depart()
    assert purge == canteen.depart()
    orders = [order for _, order in canteen.bench.orders(canteen.terminal)]
    assert [CardBlocked(card)] == orders[:1]
    assert isinstance(orders[1], PurgeOrder)
    assert (PurgeScope.EVERYTHING, timedelta(days=7)) == (
        orders[1].scope,
        orders[1].deadline - canteen.bench.clock.utc_now(),
    )
    canteen.bench.answer_all(canteen.terminal)
    assert canteen.purge(purge).completed_at is None
    canteen.bench.answer_all(canteen.station)
    assert canteen.purge(purge).completed_at is not None
    with canteen.bench.services.database.reading() as session:
        row = session.get_one(PupilRow, canteen.pupil)
        assert (None, None) == (row.code_sealed, row.code_lookup)
        assert [(None, None)] == [(c.number_sealed, c.number_lookup) for c in session.scalars(select(Card))]


def test_an_officer_can_verify_a_receipt(canteen: Canteen) -> None:
    """Header, body, signature and key are all one needs; nothing of ours is trusted."""
    from billing_server.models import PurgeHolder

    purge = canteen.depart()
    canteen.settle()
    with canteen.bench.services.database.reading() as session:
        holders = list(session.scalars(select(PurgeHolder).where(PurgeHolder.purge == purge)))
        shown = shapes.receipts_json(session, holders)
    for item in shown:
        receipt = item["receipt"]
        from base64 import b64decode
        from hashlib import sha256

        from sync.signing import VerifyingKey

        VerifyingKey(b64decode(receipt["verifying_key"])).verify(
            Purpose.JOURNAL_ENTRY, receipt["header"], b64decode(receipt["signature"])
        )
        assert sha256(canonical(receipt["body"])).hexdigest() == receipt["header"]["body_digest"]
        assert (purge, canteen.pupil) == (receipt["body"]["purge"], receipt["body"]["pupil"])
    assert {"terminal-1", "station-1"} == {item["device"] for item in shown}


def test_a_receipt_for_another_pupil_ticks_nobody_off(canteen: Canteen) -> None:
    """It is kept, and an alarm says so."""
    purge = canteen.depart()
    for number, order in canteen.bench.orders(canteen.terminal):
        if isinstance(order, PurgeOrder):
            wrong = PurgeOrder(order.purge, PupilId("p-" + "0" * 16), order.scope, order.cause, order.deadline)
            canteen.terminal.note(receipt_for(wrong, canteen.bench.clock.utc_now()))
        assert number > 0
    canteen.bench.send(canteen.terminal)
    canteen.bench.answer_all(canteen.station)
    assert canteen.purge(purge).completed_at is None
    assert ["receipt-mismatch"] == canteen.alarms()


def lost_request(canteen: Canteen, scope: PurgeScope, cause: PurgeCause) -> PurgeOrder:
    """What this server asked two days ago, as the device has it, and no longer knows: it was put back since."""
    asked_at = canteen.bench.clock.utc_now() - timedelta(days=2)
    order = PurgeOrder(
        new_purge_id(), canteen.pupil, scope, cause, asked_at + timedelta(days=7), "Mme Roux", None, asked_at
    )
    return signed_request(order, canteen.bench.services.signing_key)


def test_a_departure_that_a_restored_server_forgot_is_asked_again(canteen: Canteen) -> None:
    """By the receipt, which quotes the server's own signature: the days count from then, and every device is asked."""
    lost = lost_request(canteen, PurgeScope.EVERYTHING, PurgeCause.DEPARTURE)
    card = canteen.bench.card_issued(canteen.station, canteen.pupil)
    canteen.bench.send(canteen.station)
    canteen.settle()
    for device in (canteen.terminal, canteen.station):
        canteen.bench.send(device, device.note(receipt_for(lost, canteen.bench.clock.utc_now())))
    assert ["purge-asked-again"] == canteen.alarms()
    with canteen.bench.services.database.reading() as session:
        purge = session.scalars(select(Purge)).one()
        assert (lost.asked_at, lost.deadline, lost.asked_by, lost.cause) == (
            purge.asked_at,
            purge.deadline,
            purge.asked_by,
            purge.cause,
        )
        assert purge.completed_at is None
        assert lost.asked_at == session.get_one(PupilRow, canteen.pupil).departed_at
    # The old receipts are from before the restored server told the devices its roster: they answer the new order, too.
    for device in (canteen.terminal, canteen.station):
        answered = canteen.bench.answer_all(device)
        assert [CardBlocked(card)] == [order for order in answered if isinstance(order, CardBlocked)]
        assert [purge.purge] == [order.purge for order in answered if isinstance(order, PurgeOrder)]
    assert canteen.purge(PurgeId(purge.purge)).completed_at is not None


def test_what_ended_a_consent_comes_again_by_itself(canteen: Canteen) -> None:
    """A lost withdrawal's receipt is no trouble, and no reason to take a hand: the station's journal tells the rest."""
    lost = lost_request(canteen, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL)
    canteen.terminal.note(receipt_for(lost, canteen.bench.clock.utc_now()))
    canteen.bench.send(canteen.terminal)
    assert [] == canteen.alarms()
    with canteen.bench.services.database.reading() as session:
        assert [] == session.scalars(select(Purge)).all()


@pytest.mark.parametrize("forged", ["signature", "pupil", "scope", "cause", "asked_at", "nothing quoted"])
def test_no_device_makes_a_pupil_leave(canteen: Canteen, forged: str) -> None:
    """A receipt of a departure that this server never signed starts nothing."""
    lost = lost_request(canteen, PurgeScope.EVERYTHING, PurgeCause.DEPARTURE)
    other = canteen.bench.pupil("Noé")
    now = canteen.bench.clock.utc_now()
    quoted = receipt_for(lost, now)
    false = {
        "signature": replace(quoted, request_signature=canteen.terminal.signing.sign(Purpose.PURGE_REQUEST, {})),
        "pupil": replace(quoted, pupil=other),
        "scope": replace(
            receipt_for(lost_request(canteen, PurgeScope.REFERENCE, PurgeCause.DEPARTURE), now),
            scope=PurgeScope.EVERYTHING,
        ),
        "cause": replace(quoted, cause=PurgeCause.DEREGISTRATION),
        "asked_at": replace(quoted, asked_at=now),
        "nothing quoted": replace(quoted, request_signature=None),
    }[forged]
    canteen.bench.send(canteen.terminal, canteen.terminal.note(false))
    assert ["receipt-mismatch"] == canteen.alarms()
    with canteen.bench.services.database.reading() as session:
        assert [] == session.scalars(select(Purge)).all()
        assert {None} == set(session.scalars(select(PupilRow.departed_at)))


def test_the_alarm_comes_at_three_days_and_at_the_deadline(canteen: Canteen) -> None:
    """Once each, and both are over when the last receipt is in."""
    canteen.depart()
    canteen.bench.answer_all(canteen.station)
    canteen.bench.clock.advance(3.9 * 86400)
    canteen.bench.services.housekeeping.round()
    assert [] == canteen.alarms()
    canteen.bench.clock.advance(0.2 * 86400)
    canteen.bench.services.housekeeping.round()
    canteen.bench.services.housekeeping.round()
    assert ["purge-due-soon"] == canteen.alarms()
    canteen.bench.clock.advance(3 * 86400)
    canteen.bench.services.housekeeping.round()
    assert ["purge-overdue"] == canteen.alarms()
    canteen.bench.answer_all(canteen.terminal)
    assert [] == canteen.alarms()


def test_a_card_reaches_every_device_and_is_sealed_here(canteen: Canteen) -> None:
    """The number is neither in the ledger nor, in clear, in any table."""
    card = canteen.bench.card_issued(canteen.station, canteen.pupil)
    canteen.bench.send(canteen.station)
    for device in (canteen.terminal, canteen.station):
        assert [CardAssigned(canteen.pupil, card)] == [order for _, order in canteen.bench.orders(device)]
    with canteen.bench.services.database.reading() as session:
        assert session.scalars(select(Entry.body).where(Entry.kind == "card-issued")).one() is None
        stored = session.scalars(select(Card)).one()
        assert card.hexadecimal.encode() not in (stored.number_sealed or b"")


def test_a_card_given_to_another_pupil_is_moved_with_an_alarm(canteen: Canteen) -> None:
    other = canteen.bench.pupil("Noé")
    card = canteen.bench.card_issued(canteen.station, canteen.pupil)
    canteen.bench.card_issued(canteen.station, other, card)
    canteen.bench.send(canteen.station)
    assert ["card-moved"] == canteen.alarms()
    with canteen.bench.services.database.reading() as session:
        assert [other] == list(session.scalars(select(Card.pupil).where(Card.blocked_at.is_(None))))


def test_a_card_that_was_not_sealed_for_us_is_an_alarm(canteen: Canteen) -> None:
    from sync.facts import CardIssued

    canteen.bench.send(canteen.station, canteen.station.note(CardIssued(canteen.pupil, b"x" * 80)))
    assert ["card-unreadable"] == canteen.alarms()


def test_leases_are_renewed_daily(canteen: Canteen) -> None:
    """One fresh lease a day for each device, for seven days from then."""
    canteen.bench.services.housekeeping.round()
    assert [] == canteen.bench.orders(canteen.terminal)
    canteen.bench.clock.advance(86400)
    canteen.bench.services.housekeeping.round()
    canteen.bench.services.housekeeping.round()
    until = canteen.bench.clock.utc_now() + timedelta(days=7)
    assert [LeaseOrder(until)] == [order for _, order in canteen.bench.orders(canteen.terminal)]


def test_a_device_registered_later_is_not_asked_for_receipts(canteen: Canteen) -> None:
    """It never held the pupil, and its roster does not have them."""
    canteen.depart()
    late = canteen.bench.device("terminal-2")
    orders = [order for _, order in canteen.bench.orders(late)]
    assert [()] == [order.pupils for order in orders if isinstance(order, Roster) and order.whole]
    assert not any(isinstance(order, PurgeOrder) for order in orders)


def test_an_entry_of_the_ledger_is_rebuilt_as_it_was_signed(canteen: Canteen) -> None:
    """From the table alone, with microseconds and zone: the signature still verifies."""
    from billing_server.ledger import stored_entry

    with canteen.bench.services.database.reading() as session:
        for row in session.scalars(select(Entry).where(Entry.body.is_not(None))):
            entry: JournalEntry = stored_entry(row)
            device: SignedDevice = {"terminal-1": canteen.terminal, "station-1": canteen.station}[row.device]
            entry.verify(device.signing.verifying_key)
            assert (row.digest, DeviceId(row.device)) == (entry.digest, entry.device)
