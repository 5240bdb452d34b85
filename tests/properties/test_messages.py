"""Every message: what is written is read back the same; whatever else arrives is one clear refusal."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.access_decision import MissingEntitlement, Reason
from canteen.clock import ClockTrust
from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import EntitlementKind, external_meal, forfait_4_days
from canteen.hand_policy import HandPolicy
from canteen.identifiers import DeviceId, new_pass_id, new_pupil_id, new_purge_id
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassGranted,
    PassMethod,
    PassUnresolved,
)
from canteen.serving_periods import ServiceMoment, ServingCalendar, ServingPeriod
from sync.errors import BadSignature, MalformedMessage, SealBroken
from sync.fact_bodies import read_fact, write_fact
from sync.facts import (
    BoardKeyed,
    CardIssued,
    CardRetired,
    ConsentRecorded,
    DeviceChecked,
    EnrollmentAdvised,
    Fact,
    FactKind,
    JournalBegun,
    OrderApplied,
    OrderRefused,
    OrdersHeld,
    PurgeReceipt,
    ReferenceEnrolled,
    ReferencesDestroyed,
    ReferenceSealed,
)
from sync.greeting import read_hello
from sync.messages import (
    SignedOrder,
    read_acknowledgement,
    read_batch,
    read_orders,
    read_signed_order,
    read_topic,
    sign_order,
    write_orders,
)
from sync.order_bodies import read_order, write_order
from sync.orders import (
    BalancesOrder,
    CalendarOrder,
    CardAssigned,
    CardBlocked,
    CountedUpTo,
    DeviceEntry,
    DeviceRole,
    DevicesOrder,
    EnrollmentAdvice,
    LeaseOrder,
    Order,
    OrderKind,
    PurgeCause,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
    RosterPupil,
    SealAgainOrder,
)
from sync.sealed_reference import ReferenceGrant, open_reference, seal_reference
from sync.sealing import OpeningKey
from sync.signing import SigningKey

NOW = datetime(2026, 11, 23, 11, 0, 0, 123456, tzinfo=UTC)
TERMINAL, STATION = DeviceId("terminal-1"), DeviceId("station-1")
SERVER, STATION_KEY, OPENING = SigningKey(b"s" * 32), SigningKey(b"t" * 32), OpeningKey(b"o" * 32)
PUPIL = new_pupil_id()
CARD = CardNumber("04A1B2C3D4E5F6")

FACTS: list[Fact] = [
    PassGranted(
        new_pass_id(), PUPIL, PassMethod.HAND, ServiceMoment(date(2026, 11, 23), "midi"), EntitlementKind.FORFAIT_4_DAYS
    ),
    PassGranted(
        new_pass_id(), PUPIL, PassMethod.VOUCHED, ServiceMoment(date(2026, 11, 23), "midi"), None, "carte oubliée"
    ),
    PassDenied(new_pass_id(), None, PassMethod.CARD, Reason.UNKNOWN_CARD),
    PassDenied(new_pass_id(), PUPIL, PassMethod.HAND, Reason.HAND_NOT_MATCHED),
    PassCompleted(new_pass_id()),
    PassAbandoned(new_pass_id()),
    PassUnresolved(new_pass_id()),
    OrderApplied(3),
    OrderRefused(4, "unknown-kind"),
    OrdersHeld(17),
    JournalBegun("0123456789abcdef", 12, "ab" * 32, 3),
    PurgeReceipt(new_purge_id(), PUPIL, PurgeScope.EVERYTHING, "ab" * 32, NOW, 3, 4),
    PurgeReceipt(new_purge_id(), PUPIL, PurgeScope.REFERENCE, None, NOW, 3, 3, PurgeCause.END_OF_YEAR, "Mme Roux"),
    PurgeReceipt(
        new_purge_id(), PUPIL, PurgeScope.REFERENCE, None, NOW, 3, 3, PurgeCause.DEPARTURE, "Mme Roux", NOW, b"s" * 64
    ),
    ReferencesDestroyed("running-time", 2, NOW, 3, 4),
    EnrollmentAdvised(PUPIL, 1_790_000_000),
    CardRetired(b"sealed"),
    BoardKeyed(101, "installed"),
    DeviceChecked(("board", "clock"), ("trays",), ("101 ca57ee/7 1.2.3",)),
    ConsentRecorded(PUPIL, ConsentState.GIVEN, "2026-1", GivenBy.LEGAL_REPRESENTATIVE, NOW, "intendance"),
    ReferenceEnrolled(PUPIL, 1, "2026-1"),
    ReferenceSealed(PUPIL, TERMINAL, 1, b"sealed"),
    CardIssued(PUPIL, b"sealed"),
]

ORDERS: list[Order] = [
    Roster(
        (
            RosterPupil(
                PUPIL,
                "Zoé",
                "D'Été",
                "6e B",
                PersonalCode("5724"),
                (forfait_4_days(date(2026, 9, 1), date(2027, 7, 3)), external_meal(date(2026, 11, 25))),
            ),
        ),
        whole=True,
    ),
    CalendarOrder(
        "Collège des Tilleuls",
        ServingCalendar(
            "Europe/Paris", (ServingPeriod("midi", frozenset({0, 3}), 690, 825),), frozenset({date(2026, 12, 25)})
        ),
        MissingEntitlement.DENY,
        hand_policy=HandPolicy.STRICT,
    ),
    BalancesOrder(((PUPIL, -2),), MissingEntitlement.SERVE_AND_BILL, (CountedUpTo(TERMINAL, "0" * 16, 7),)),
    DevicesOrder((DeviceEntry(TERMINAL, DeviceRole.TERMINAL, SERVER.verifying_key, OPENING.sealing_key),)),
    CardAssigned(PUPIL, CARD),
    CardBlocked(CARD),
    ReferenceOrder(PUPIL, STATION, 2, b"sealed"),
    SealAgainOrder(TERMINAL, (PUPIL,)),
    LeaseOrder(NOW + timedelta(days=7)),
    PurgeOrder(new_purge_id(), PUPIL, PurgeScope.EVERYTHING, PurgeCause.DEPARTURE, NOW + timedelta(days=7)),
    PurgeOrder(new_purge_id(), PUPIL, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, NOW, "Mme Roux", NOW),
    PurgeOrder(
        new_purge_id(), PUPIL, PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, NOW, "Mme Roux", NOW, NOW, b"s" * 64
    ),
    EnrollmentAdvice(PUPIL, 1_790_000_000),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=20,
)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_is_read_back_as_written(fact: Fact) -> None:
    """Every kind of fact, through JSON."""
    kind, body = write_fact(fact)
    assert fact == read_fact(kind, json.loads(json.dumps(body)))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_an_order_is_read_back_as_written(order: Order) -> None:
    """Every kind of order, through JSON, seal and signature."""
    assert order == read_order(json.loads(json.dumps(write_order(order))))
    signed = sign_order(order, TERMINAL, 7, NOW, OPENING.sealing_key, SERVER)
    (received,) = read_orders(write_orders([signed]))
    received.verify(SERVER.verifying_key)
    assert order == received.open(OPENING)


def test_all_kinds_are_covered() -> None:
    """The two lists above leave no kind out."""
    assert set(FactKind) == {write_fact(fact)[0] for fact in FACTS}
    assert {kind.value for kind in OrderKind} == {write_order(order)["kind"] for order in ORDERS}


def test_an_order_is_for_its_device_number_and_instant_only() -> None:
    """Moved to another number or device, it neither verifies nor opens."""
    signed = sign_order(ORDERS[6], TERMINAL, 7, NOW, OPENING.sealing_key, SERVER)
    for moved in (
        SignedOrder(TERMINAL, 8, NOW, signed.sealed, signed.signature),
        SignedOrder(DeviceId("terminal-2"), 7, NOW, signed.sealed, signed.signature),
        SignedOrder(TERMINAL, 7, NOW + timedelta(days=1), signed.sealed, signed.signature),
    ):
        with pytest.raises(BadSignature):
            moved.verify(SERVER.verifying_key)
        with pytest.raises(SealBroken):
            moved.open(OPENING)
    with pytest.raises(BadSignature):
        signed.verify(STATION_KEY.verifying_key)
    with pytest.raises(SealBroken):
        signed.open(OpeningKey(b"x" * 32))


def test_a_reference_is_for_its_terminal_from_its_station_only() -> None:
    """Another terminal cannot open it, another station cannot claim it."""
    consent = Consent("2026-1", GivenBy.LEGAL_REPRESENTATIVE, NOW)
    grant = ReferenceGrant(PUPIL, 2, NOW, consent, b"\x00reference", NOW + timedelta(days=3))
    sealed = seal_reference(grant, STATION, TERMINAL, STATION_KEY, OPENING.sealing_key)
    assert grant == open_reference(sealed, STATION, TERMINAL, STATION_KEY.verifying_key, OPENING)
    with pytest.raises(SealBroken):
        open_reference(sealed, STATION, DeviceId("terminal-2"), STATION_KEY.verifying_key, OPENING)
    with pytest.raises(SealBroken):
        open_reference(sealed, STATION, TERMINAL, STATION_KEY.verifying_key, OpeningKey(b"x" * 32))
    with pytest.raises(BadSignature):
        open_reference(sealed, STATION, TERMINAL, SERVER.verifying_key, OPENING)
    assert b"reference" not in sealed
    assert "reference" not in repr(grant).replace("ReferenceGrant", "")


@pytest.mark.parametrize(
    "wire",
    [
        b'{"v":1,"entries":[],"x":"\\ud800"}',
        b'{"v":1,"orders":[{"device":"terminal-1","number":1,"issued_at":"0001-01-01T00:00:00+02:00"}]}',
        b'{"v":1,"v":1,"orders_up_to":1}',
        b'{"v":1,"orders_up_to":1.0}',
        b'{"v":1,"orders_up_to":NaN}',
        b'{"v":1,"orders_up_to":' + b"9" * 5000 + b"}",
    ],
)
def test_what_has_no_one_meaning_is_refused(wire: bytes) -> None:
    """Lone surrogates, an instant before time, repeated keys, floats, numbers without end."""
    for read in (read_batch, read_hello, read_orders, read_acknowledgement, read_signed_order):
        with pytest.raises(MalformedMessage):
            read(wire)


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_arrives_is_a_message_or_a_refusal(payload: bytes) -> None:
    """No reader raises anything but MalformedMessage."""
    for read in (read_batch, read_hello, read_orders, read_acknowledgement, read_signed_order):
        try:
            read(payload)
        except MalformedMessage:
            pass


@given(st.sampled_from([*FactKind, "other"]), st.dictionaries(st.text(max_size=10), json_values, max_size=6))
def test_whatever_body_a_fact_has_it_is_read_or_refused(kind: str, body: dict[str, Any]) -> None:
    """A signed entry may still hold nonsense."""
    try:
        read_fact(kind, body)
    except MalformedMessage:
        pass


@given(st.sampled_from(ORDERS), st.data())
def test_a_spoiled_order_is_read_or_refused(order: Order, data: st.DataObject) -> None:
    """One field of an order replaced by anything, at any depth."""
    whole = json.loads(json.dumps(write_order(order)))
    spoiled: Any = whole
    while True:
        keys = sorted(spoiled) if isinstance(spoiled, dict) else list(range(len(spoiled)))
        place = data.draw(st.sampled_from(keys))
        if isinstance(spoiled[place], (dict, list)) and spoiled[place] and data.draw(st.booleans()):
            spoiled = spoiled[place]
        else:
            break
    spoiled[place] = data.draw(json_values)
    try:
        read_order(whole)
    except MalformedMessage:
        pass


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_bit_never_passes(place: int, mask: int) -> None:
    """An order changed anywhere on the wire is malformed, badly signed, or not changed in its meaning."""
    order = sign_order(LeaseOrder(NOW), TERMINAL, 7, NOW, OPENING.sealing_key, SERVER)
    wire = bytearray(write_orders([order]))
    wire[place % len(wire)] ^= mask
    try:
        (received,) = read_orders(bytes(wire))
        received.verify(SERVER.verifying_key)
    except (MalformedMessage, BadSignature, ValueError):
        return
    assert order == received


@given(st.text(max_size=60))
def test_topics(topic: str) -> None:
    """Only our own four-part topics are read."""
    try:
        device, direction, what = read_topic(topic)
    except MalformedMessage:
        pass
    else:
        assert topic == f"canteen/{device}/{direction}/{what}"


def test_clock_trust_travels() -> None:
    """The three values of the protocol."""
    assert {"trusted", "unconfirmed", "untrusted"} == {trust.value for trust in ClockTrust}


def test_a_calendar_from_before_the_policy_is_the_usual_one() -> None:
    """Terminals keep the order as it came: an update of the program must not close the lane."""
    order = next(order for order in ORDERS if isinstance(order, CalendarOrder))
    body = write_order(order)
    del body["hand_policy"]
    read = read_order(body)
    assert isinstance(read, CalendarOrder)
    assert HandPolicy.USUAL is read.hand_policy
    with pytest.raises(MalformedMessage):
        read_order({**body, "hand_policy": "lax"})
