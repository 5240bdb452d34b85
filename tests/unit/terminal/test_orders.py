"""Orders from the box: applied once, answered once, and a bad one stands in nobody's way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from canteen.access_decision import Reason
from canteen.identifiers import DeviceId, PurgeId
from canteen.meal_pass import PassDenied
from sync.carried_file import CarriedCount, order_lines, read_carried_down, write_carried_file
from sync.downlink import Downlink
from sync.errors import JournalUnavailable, OrderBoxUnavailable
from sync.facts import OrderApplied, OrderRefused, PurgeReceipt, ReferencesDestroyed
from sync.messages import SignedOrder, sign_order, topic_down, write_orders
from sync.orders import (
    CardAssigned,
    CardBlocked,
    LeaseOrder,
    PurgeCause,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
    SealAgainOrder,
)
from sync.sealed_reference import ReferenceGrant, seal_reference
from sync.sealing import OpeningKey, SealingKey
from sync.signing import SigningKey
from templates_store.errors import StoreUnavailable
from templates_store.store import ReferenceAbsence, StoredReference
from terminal.pass_machine import State
from tests.unit.terminal.lane import (
    CONSENT,
    NOON,
    OPENING_KEY,
    SERVER_KEY,
    STATION,
    STATION_KEY,
    TERMINAL,
    School,
    calendar_order,
    card,
    hand_of,
    pupil_id,
    reference_of,
    roster_pupil,
)

FILLED = 3
"""Orders that filling the school took."""


def purge_order(number: int, scope: PurgeScope = PurgeScope.EVERYTHING) -> PurgeOrder:
    purge = PurgeId(f"u-{number:016x}")
    deadline = NOON + timedelta(days=7)
    return PurgeOrder(purge, pupil_id(number), scope, PurgeCause.DEPARTURE, deadline, "Mme Roux")


def reference_order(
    number: int,
    *,
    revision: int = 2,
    station_key: SigningKey = STATION_KEY,
    station: DeviceId = STATION,
    terminal_key: SealingKey = OPENING_KEY.sealing_key,
    told: int | None = None,
    made_at: datetime = datetime(2026, 11, 20, tzinfo=UTC),
    lease_until: datetime | None = None,
) -> ReferenceOrder:
    """A sealed reference of pupil `number`, sent as that of pupil `told`."""
    grant = ReferenceGrant(pupil_id(number), revision, made_at, CONSENT, reference_of(number), lease_until)
    sealed = seal_reference(grant, station, TERMINAL, station_key, terminal_key)
    return ReferenceOrder(pupil_id(told or number), station, revision, sealed)


def answers(school: School) -> list[object]:
    """What the journal says of orders after the filling."""
    facts = school.facts_of(OrderApplied, OrderRefused)
    return [
        fact.why if isinstance(fact, OrderRefused) else "applied"
        for fact in facts
        if isinstance(fact, OrderApplied | OrderRefused) and fact.number > FILLED
    ]


def settle_orders(school: School) -> None:
    """Housekeeping comes by itself; its half seconds are waited for."""
    school.settle(2.0)
    assert school.box.next_waiting() is None


class TestApplied:
    """What each order does to the lane."""

    def test_card_and_block(self, school: School) -> None:
        """A new card opens, a blocked one does not."""
        new = card(77)
        school.order(CardAssigned(pupil_id(2), new))
        settle_orders(school)
        school.present(new)
        assert school.is_in(State.PASSAGE_OPEN)
        school.push()
        school.order(CardBlocked(card(3)))
        settle_orders(school)
        school.present(card(3))
        denied = school.facts_of(PassDenied)[-1]
        assert isinstance(denied, PassDenied)
        assert Reason.CARD_BLOCKED is denied.reason

    def test_reference_is_compared_from_then_on(self, school: School) -> None:
        """Sealed by the station for this terminal, opened here, and the hand passes."""
        school.type_code(2)
        assert Reason.CARD_REQUIRED.value == school.screen.view.reason
        school.order(reference_order(2))
        settle_orders(school)
        school.type_code(2)
        school.lay(hand_of(2))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_a_lease_ended_alone_is_told_and_what_is_sealed_again_is_taken(self, school: School) -> None:
        """Three weeks without a word: destroyed by itself, and the journal says so; then everything by orders."""
        school.clock.advance(timedelta(days=21).total_seconds())
        school.order(CardBlocked(card(77)))  # any signed word: its time confirms that the lease is over
        settle_orders(school)
        school.settle(61.0)
        assert 0 == school.store.reference_revision(pupil_id(1))
        (told,) = school.facts_of(ReferencesDestroyed)
        assert isinstance(told, ReferencesDestroyed)
        assert ("signed-time", 1, 1) == (told.because, told.count, told.epoch_after - told.epoch_before)
        school.settle(61.0)
        assert 1 == len(school.facts_of(ReferencesDestroyed))
        now = school.clock.utc_now()
        school.order(LeaseOrder(now + timedelta(days=7)))
        school.order(reference_order(1, revision=1, made_at=now))
        settle_orders(school)
        school.type_code(1)
        school.lay(hand_of(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_a_lease_comes_on_a_stick(self, school: School) -> None:
        """No network for weeks: each file carried to the terminal gives another week, and only a fresh, true one."""
        downlink = Downlink(school.journal, school.box, TERMINAL, SERVER_KEY.verifying_key, school.clock)
        stick = school.folder / "down.canteen"

        def carry(number: int, until: datetime, key: SigningKey = SERVER_KEY) -> CarriedCount:
            order = sign_order(
                LeaseOrder(until), TERMINAL, number, school.clock.utc_now(), OPENING_KEY.sealing_key, key
            )
            write_carried_file(stick, order_lines([(topic_down(TERMINAL, "orders"), write_orders([order]))]))
            with stick.open("rb") as file:
                count = downlink.handle_carried(read_carried_down(file, TERMINAL))
            settle_orders(school)
            return count

        for week in range(4):
            school.clock.advance(timedelta(days=6).total_seconds())
            assert CarriedCount(1, 0) == carry(FILLED + 1 + week, school.clock.utc_now() + timedelta(days=7))
            assert isinstance(school.store.reference(pupil_id(1), school.clock.utc_now()), StoredReference)
        forger = SigningKey(b"f" * 32)
        assert CarriedCount(0, 1) == carry(FILLED + 5, school.clock.utc_now() + timedelta(days=90), forger)
        school.clock.advance(timedelta(days=8).total_seconds())
        with stick.open("rb") as file:
            downlink.handle_carried(read_carried_down(file, TERMINAL))
        school.settle(61.0)
        assert ReferenceAbsence.LEASE_EXPIRED is school.store.reference(pupil_id(1), school.clock.utc_now())

    def test_a_lease_ended_before_a_kill_is_told_after_it(self, school: School) -> None:
        """Destroying and telling are two files."""
        school.clock.advance(timedelta(days=21).total_seconds())
        now = school.clock.utc_now()
        school.store.note_signed_time(now, now)
        school.store.tend(now)
        school.close()
        school.open()
        school.begin()
        school.settle(61.0)
        assert 1 == len(school.facts_of(ReferencesDestroyed))

    def test_lease_and_calendar_and_roster(self, school: School) -> None:
        """A lease renews, a calendar replaces, a whole roster removes who is not in it."""
        until = NOON + timedelta(days=9)
        school.order(LeaseOrder(until))
        order = calendar_order()
        school.order(replace(order, school_name="Collège Neuf"))
        school.order(Roster((roster_pupil(1), roster_pupil(2)), whole=True))
        settle_orders(school)
        assert until == school.store.lease_until
        assert "Collège Neuf" == school.screen.view.status.school
        school.present(card(3))
        assert Reason.UNKNOWN_CARD.value == school.screen.view.reason

    def test_purge_and_receipt(self, school: School) -> None:
        """Hand, code and card are gone; one receipt names the record that was erased."""
        school.order(purge_order(1))
        settle_orders(school)
        receipt = school.facts_of(PurgeReceipt)[-1]
        assert isinstance(receipt, PurgeReceipt)
        assert receipt.record_digest is not None
        assert receipt.epoch_before < receipt.epoch_after
        school.type_code(1)
        assert Reason.UNKNOWN_CODE.value == school.screen.view.reason

    def test_opposition_leaves_the_card(self, school: School) -> None:
        """Only the hand goes; an older sealed reference of it does not come back."""
        school.order(purge_order(1, PurgeScope.REFERENCE))
        school.order(reference_order(1, revision=1))
        settle_orders(school)
        school.type_code(1)
        assert Reason.CARD_REQUIRED.value == school.screen.view.reason
        school.present(card(1))
        assert school.is_in(State.PASSAGE_OPEN)

    def test_out_of_service_does_not_stop_a_purge(self, school: School) -> None:
        """A broken board is no way to keep a leaver's hand."""
        from firmware_bridge.devices import BoardLost, LossReason

        school.board.online = False
        school.board.report(BoardLost(LossReason.SILENT))
        school.order(purge_order(1))
        settle_orders(school)
        assert 1 == len(school.facts_of(PurgeReceipt))

    def test_nobody_waits_for_an_order(self, school: School) -> None:
        """While a pupil is typing or passing, orders wait."""
        school.board.type("1")
        school.order(purge_order(1))
        school.settle(2.0)
        assert [] == answers(school)
        settle_orders_after_typing = 6.0
        school.settle(settle_orders_after_typing)
        assert ["applied"] == answers(school)


def forged(order: SignedOrder) -> SignedOrder:
    return replace(order, signature=bytes(64))


class TestRefused:
    """What is no good is refused by name, and the next one is applied."""

    @pytest.mark.parametrize(
        ("why", "spoil"),
        [
            ("bad-signature", forged),
            ("bad-signature", lambda order: replace(order, issued_at=order.issued_at + timedelta(seconds=1))),
            (
                "seal-broken",
                lambda order: sign_order(
                    purge_order(1),
                    TERMINAL,
                    order.number,
                    order.issued_at,
                    OpeningKey(b"7" * 32).sealing_key,
                    SERVER_KEY,
                ),
            ),
            (
                "another-device",
                lambda order: sign_order(
                    purge_order(1),
                    DeviceId("terminal-2"),
                    order.number,
                    order.issued_at,
                    OPENING_KEY.sealing_key,
                    SERVER_KEY,
                ),
            ),
        ],
    )
    def test_not_the_servers_word_to_us(
        self, school: School, why: str, spoil: Callable[[SignedOrder], SignedOrder]
    ) -> None:
        """Forged, re-dated, sealed for another or meant for another."""
        good = sign_order(purge_order(1), TERMINAL, FILLED + 1, NOON, OPENING_KEY.sealing_key, SERVER_KEY)
        school.box.put([spoil(good)])
        school.order(CardBlocked(card(3)))
        settle_orders(school)
        assert [why, "applied"] == answers(school)
        assert [] == school.facts_of(PurgeReceipt)

    @pytest.mark.parametrize("wire", [b"", b"garbage", b'{"v":1}', b"\xff\xfe", b"[" * 100_000, None])
    def test_garbage_in_the_box(self, school: School, wire: bytes | None) -> None:
        """A row that sync would never have left there is refused and gone."""
        other = sqlite3.connect(school.folder / "orders.sqlite")
        if wire is None:  # another order's row under this number
            good = sign_order(purge_order(1), TERMINAL, FILLED + 9, NOON, OPENING_KEY.sealing_key, SERVER_KEY)
            from sync.messages import write_signed_order

            wire = write_signed_order(good)
        other.execute("INSERT INTO waiting VALUES (?, ?)", (FILLED + 1, wire))
        other.commit()
        other.close()
        school.order(CardBlocked(card(3)))
        settle_orders(school)
        refused, applied = answers(school)
        assert refused in ("malformed", "another-number")
        assert "applied" == applied

    @pytest.mark.parametrize(
        ("why", "order"),
        [
            ("unknown-pupil", CardAssigned(pupil_id(99), card(99))),
            ("unknown-pupil", reference_order(99)),
            ("unknown-station", reference_order(2, station=DeviceId("station-9"))),
            ("unknown-station", reference_order(2, station=TERMINAL)),
            ("reference-not-of-station", reference_order(2, station_key=SERVER_KEY)),
            ("reference-seal-broken", reference_order(2, terminal_key=OpeningKey(b"7" * 32).sealing_key)),
            ("reference-of-another", reference_order(2, told=3)),
            ("reference-expired", reference_order(2, made_at=NOON - timedelta(days=8))),
            ("reference-expired", reference_order(2, lease_until=NOON - timedelta(seconds=1))),
            ("not-for-a-terminal", SealAgainOrder(TERMINAL, (pupil_id(2),))),
            ("code-taken", Roster((roster_pupil(1), replace(roster_pupil(2), code=roster_pupil(1).code)), whole=False)),
        ],
    )
    def test_the_servers_word_but_not_to_be_done(self, school: School, why: str, order: ReferenceOrder) -> None:
        """Signed by the server, and still nothing that this store takes."""
        school.order(order)
        school.order(CardBlocked(card(3)))
        settle_orders(school)
        assert [why, "applied"] == answers(school)


class TestInterrupted:
    """A kill at each step between store, journal and box."""

    def test_before_the_journal(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """Erased but not told: after the restart there is one receipt, and it names the erased record."""

        def pulled_out(*_: object) -> None:
            raise JournalUnavailable("power cut")

        school.order(purge_order(1))
        with monkeypatch.context() as cut:
            cut.setattr(school.journal, "append_all", pulled_out)
            school.settle(1.0)
        assert [] == answers(school)
        school.close()
        school.open()
        school.begin()
        settle_orders(school)
        (receipt,) = school.facts_of(PurgeReceipt)
        assert isinstance(receipt, PurgeReceipt)
        assert receipt.record_digest is not None
        assert ["applied"] == answers(school)

    def test_box_that_fails_after_the_journal(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a restart the same holds: one receipt, one answer, and the box is cleared when it is back."""

        def ill(*_: object) -> None:
            raise OrderBoxUnavailable("disk full")

        school.order(purge_order(1))
        with monkeypatch.context() as broken:
            broken.setattr(school.box, "mark_done", ill)
            school.settle(12.0)
        school.settle(6.0)
        assert (["applied"], 1) == (answers(school), len(school.facts_of(PurgeReceipt)))
        assert FILLED + 1 == school.box.done_up_to

    def test_between_journal_and_box(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told but still in the box: the restart only takes it out. One receipt, one answer."""

        def pulled_out(*_: object) -> None:
            raise OrderBoxUnavailable("power cut")

        school.order(purge_order(1))
        with monkeypatch.context() as cut:
            cut.setattr(school.box, "mark_done", pulled_out)
            school.settle(1.0)
        assert ["applied"] == answers(school)
        school.close()
        school.open()
        school.begin()
        settle_orders(school)
        assert (["applied"], 1) == (answers(school), len(school.facts_of(PurgeReceipt)))

    def test_box_made_anew(self, school: School) -> None:
        """A box that was lost and filled again from the first order is applied in full: the store ends the same."""
        school.order(CardBlocked(card(3)))
        settle_orders(school)
        school.close()
        for file in school.folder.glob("orders.sqlite*"):
            file.unlink()
        school.open()
        school.order(calendar_order())
        school.begin()
        settle_orders(school)
        assert 1 == school.box.done_up_to

    def test_store_that_does_not_answer(self, school: School, monkeypatch: pytest.MonkeyPatch) -> None:
        """No refusal: the order waits until the store is back."""

        def ill(*_: object) -> None:
            raise StoreUnavailable("disk full")

        school.order(purge_order(1))
        with monkeypatch.context() as broken:
            broken.setattr(school.store, "purge", ill)
            school.settle(3.0)
            assert [] == answers(school)
        school.settle(6.0)
        assert ["applied"] == answers(school)
