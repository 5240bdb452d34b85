"""Facts as journal bodies: what happened at a terminal or a station, each kind with its fields.

To add a fact: a frozen dataclass here or in `canteen.meal_pass`, its kind in `FactKind`, a row in `_WRITERS` and in
`_READERS`, a line in docs/sync-protocol.md. Kinds and field names are never renamed: journals outlive programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from canteen.access_decision import Reason
from canteen.consent import ConsentState, GivenBy
from canteen.entitlements import EntitlementKind
from canteen.errors import InvalidIdentifier
from canteen.identifiers import (
    DeviceId,
    PassId,
    PupilId,
    PurgeId,
    parse_device_id,
    parse_pass_id,
    parse_pupil_id,
    parse_purge_id,
)
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassFact,
    PassGranted,
    PassMethod,
    PassUnresolved,
)
from canteen.serving_periods import ServiceMoment
from sync.encoding import Fields, instant_text, octets_text
from sync.errors import MalformedMessage
from sync.orders import ASKED_BY_LONGEST, PurgeCause, PurgeScope


class FactKind(StrEnum):
    """The kinds of journal entry."""

    PASS_GRANTED = "pass-granted"
    PASS_DENIED = "pass-denied"
    PASS_COMPLETED = "pass-completed"
    PASS_ABANDONED = "pass-abandoned"
    PASS_UNRESOLVED = "pass-unresolved"
    ORDER_APPLIED = "order-applied"
    ORDER_REFUSED = "order-refused"
    ORDERS_HELD = "orders-held"
    JOURNAL_BEGUN = "journal-begun"
    PURGE_RECEIPT = "purge-receipt"
    CONSENT_RECORDED = "consent-recorded"
    REFERENCES_DESTROYED = "references-destroyed"
    REFERENCE_ENROLLED = "reference-enrolled"
    REFERENCE_SEALED = "reference-sealed"
    CARD_ISSUED = "card-issued"
    CARD_RETIRED = "card-retired"
    DEVICE_CHECKED = "device-checked"
    BOARD_KEYED = "board-keyed"
    ENROLLMENT_ADVISED = "enrollment-advised"


@dataclass(frozen=True, slots=True)
class OrderApplied:
    """The order of this number has taken effect here.

    Attributes:
        issued_at: of the order, if it could be read: a server that was restored from a backup gives a number twice, and
            tells by this which of the two was meant. The fact is about the number.
    """

    number: int
    issued_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The order of this number was not carried out, and why (a short code, no personal data)."""

    number: int
    why: str
    issued_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OrdersHeld:
    """The device has carried out, or refused, every order up to this number, and none above it. Said when asked."""

    up_to: int


@dataclass(frozen=True, slots=True)
class JournalBegun:
    """The ledger has another journal under the name of this device's last one: an older copy of it was put back here.

    A new journal begins with this fact. What the ledger may lack of the old one follows, as it was and when it was.

    Attributes:
        previous: the old journal's generation.
        sequence: an entry of it, as the ledger acknowledged it, that is not this device's; `entry_digest` its digest.
        told_again: how many entries follow that stood in the old journal.
    """

    previous: str
    sequence: int
    entry_digest: str
    told_again: int


@dataclass(frozen=True, slots=True)
class PurgeReceipt:
    """What a holder erased. Signed as every journal entry; nothing biometric in it.

    Attributes:
        record_digest: keyed digest of the erased record, or None where nothing was held.
        epoch_before: the store's key epoch before the purge; `epoch_after` after it.
        cause: why it was asked for, and `asked_by` by whom; None in a receipt of an earlier version.
    """

    purge: PurgeId
    pupil: PupilId
    scope: PurgeScope
    record_digest: str | None
    erased_at: datetime
    epoch_before: int
    epoch_after: int
    cause: PurgeCause | None = None
    asked_by: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ReferencesDestroyed:
    """A lease ran out without a fresh word, and the terminal destroyed every hand it held, by itself.

    Attributes:
        because: what confirmed the end (`templates_store.lease.LeaseEnd`).
        count: how many references went.
    """

    because: str
    count: int
    destroyed_at: datetime
    epoch_before: int
    epoch_after: int


@dataclass(frozen=True, slots=True)
class ConsentRecorded:
    """Consent, opposition or withdrawal, as taken down at the station."""

    pupil: PupilId
    state: ConsentState
    notice_version: str
    given_by: GivenBy
    given_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class ReferenceEnrolled:
    """The station made and keeps a reference (which is not in here)."""

    pupil: PupilId
    revision: int
    notice_version: str


@dataclass(frozen=True, slots=True)
class ReferenceSealed:
    """A reference for one terminal, sealed for it alone; the server passes it on and cannot open it."""

    pupil: PupilId
    recipient: DeviceId
    revision: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CardIssued:
    """A card was given to a pupil; its number is sealed for the server."""

    pupil: PupilId
    sealed_card: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CardRetired:
    """A number is on no card any more: its card was wiped, or written for somebody else. Sealed for the server."""

    sealed_card: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceChecked:
    """What a device found of itself before a service: names of checks, and firmware. Nothing about anybody.

    Attributes:
        at_risk: what puts lunch at risk; `watch`: what somebody should look at this week.
        firmware: "address vendor/model firmware" of each board on its line.
    """

    at_risk: tuple[str, ...]
    watch: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoardKeyed:
    """The maintenance window for a board's key was opened at this terminal, and what became of it; never the key.

    Attributes:
        address: of the board on its line.
        outcome: the value of a `KeyOutcome`; a server shows others as they are.
    """

    address: int
    outcome: str


@dataclass(frozen=True, slots=True)
class EnrollmentAdvised:
    """A terminal finds that a hand has left its reference of this revision: staff should take it anew soon."""

    pupil: PupilId
    revision: int


Fact = (
    PassFact
    | OrderApplied
    | OrderRefused
    | OrdersHeld
    | JournalBegun
    | PurgeReceipt
    | ReferencesDestroyed
    | ConsentRecorded
    | ReferenceEnrolled
    | ReferenceSealed
    | CardIssued
    | CardRetired
    | DeviceChecked
    | BoardKeyed
    | EnrollmentAdvised
)

REFERENCE_EXPIRED = "reference-expired"
"""Why an order is refused that brings a reference after its lease: nothing is wrong, it is sealed again."""

_WHY_LONGEST = 60
_FORCED_BECAUSE_LONGEST = 200


def write_fact(fact: Fact) -> tuple[FactKind, dict[str, Any]]:
    """The kind and body under which `fact` stands in the journal."""
    kind, writer = _WRITERS[type(fact)]
    return kind, writer(fact)


def read_fact(untrusted_kind: str, untrusted_body: dict[str, Any]) -> Fact:
    """The fact in a journal entry.

    Raises:
        MalformedMessage: an unknown kind, or fields that are not of it.
    """
    try:
        kind = FactKind(untrusted_kind)
        return _READERS[kind](Fields(untrusted_body))
    except (InvalidIdentifier, ValueError) as error:
        raise MalformedMessage(f"not a fact: {error}") from error


def _granted(fact: PassGranted) -> dict[str, Any]:
    return {
        "pass": fact.pass_id,
        "pupil": fact.pupil,
        "method": fact.method.value,
        "day": fact.moment.day.isoformat(),
        "period": fact.moment.period,
        "charged_to": None if fact.charged_to is None else fact.charged_to.value,
        "forced_because": fact.forced_because,
    }


def _read_granted(fields: Fields) -> PassGranted:
    charged_to = fields.optional_text("charged_to")
    return PassGranted(
        pass_id=parse_pass_id(fields.text("pass")),
        pupil=parse_pupil_id(fields.text("pupil")),
        method=PassMethod(fields.text("method")),
        moment=ServiceMoment(date.fromisoformat(fields.text("day")), fields.text("period")),
        charged_to=None if charged_to is None else EntitlementKind(charged_to),
        forced_because=fields.optional_text("forced_because", _FORCED_BECAUSE_LONGEST),
    )


def _denied(fact: PassDenied) -> dict[str, Any]:
    return {"pass": fact.pass_id, "pupil": fact.pupil, "method": fact.method.value, "reason": fact.reason.value}


def _read_denied(fields: Fields) -> PassDenied:
    pupil = fields.optional_text("pupil")
    return PassDenied(
        pass_id=parse_pass_id(fields.text("pass")),
        pupil=None if pupil is None else parse_pupil_id(pupil),
        method=PassMethod(fields.text("method")),
        reason=Reason(fields.text("reason")),
    )


def _pass_alone(fact: PassCompleted | PassAbandoned | PassUnresolved) -> dict[str, Any]:
    return {"pass": fact.pass_id}


def _read_pass(fields: Fields) -> PassId:
    return parse_pass_id(fields.text("pass"))


def _issued_at(fact: OrderApplied | OrderRefused) -> dict[str, Any]:
    return {} if fact.issued_at is None else {"issued_at": instant_text(fact.issued_at)}


def _read_issued_at(fields: Fields) -> datetime | None:
    return fields.instant("issued_at") if fields.present("issued_at") else None


def _begun(fact: JournalBegun) -> dict[str, Any]:
    return {
        "previous": fact.previous,
        "sequence": fact.sequence,
        "entry_digest": fact.entry_digest,
        "told_again": fact.told_again,
    }


def _read_begun(fields: Fields) -> JournalBegun:
    return JournalBegun(
        fields.text("previous", 16),
        fields.integer("sequence"),
        fields.text("entry_digest", 64),
        fields.integer("told_again"),
    )


def _receipt(fact: PurgeReceipt) -> dict[str, Any]:
    return {
        "purge": fact.purge,
        "pupil": fact.pupil,
        "scope": fact.scope.value,
        "record_digest": fact.record_digest,
        "erased_at": instant_text(fact.erased_at),
        "epoch_before": fact.epoch_before,
        "epoch_after": fact.epoch_after,
        "cause": None if fact.cause is None else fact.cause.value,
        "asked_by": fact.asked_by,
    }


def _read_receipt(fields: Fields) -> PurgeReceipt:
    return PurgeReceipt(
        purge=parse_purge_id(fields.text("purge")),
        pupil=parse_pupil_id(fields.text("pupil")),
        scope=PurgeScope(fields.text("scope")),
        record_digest=fields.optional_text("record_digest"),
        erased_at=fields.instant("erased_at"),
        epoch_before=fields.integer("epoch_before"),
        epoch_after=fields.integer("epoch_after"),
        cause=None if (cause := fields.optional_text("cause")) is None else PurgeCause(cause),
        asked_by=fields.optional_text("asked_by", ASKED_BY_LONGEST),
    )


def _destroyed(fact: ReferencesDestroyed) -> dict[str, Any]:
    return {
        "because": fact.because,
        "count": fact.count,
        "destroyed_at": instant_text(fact.destroyed_at),
        "epoch_before": fact.epoch_before,
        "epoch_after": fact.epoch_after,
    }


def _read_destroyed(fields: Fields) -> ReferencesDestroyed:
    return ReferencesDestroyed(
        because=fields.text("because", _WHY_LONGEST),
        count=fields.integer("count"),
        destroyed_at=fields.instant("destroyed_at"),
        epoch_before=fields.integer("epoch_before"),
        epoch_after=fields.integer("epoch_after"),
    )


def _consent(fact: ConsentRecorded) -> dict[str, Any]:
    return {
        "pupil": fact.pupil,
        "state": fact.state.value,
        "notice_version": fact.notice_version,
        "given_by": fact.given_by.value,
        "given_at": instant_text(fact.given_at),
        "recorded_by": fact.recorded_by,
    }


def _read_consent(fields: Fields) -> ConsentRecorded:
    return ConsentRecorded(
        pupil=parse_pupil_id(fields.text("pupil")),
        state=ConsentState(fields.text("state")),
        notice_version=fields.text("notice_version"),
        given_by=GivenBy(fields.text("given_by")),
        given_at=fields.instant("given_at"),
        recorded_by=fields.text("recorded_by"),
    )


def _enrolled(fact: ReferenceEnrolled) -> dict[str, Any]:
    return {"pupil": fact.pupil, "revision": fact.revision, "notice_version": fact.notice_version}


def _read_enrolled(fields: Fields) -> ReferenceEnrolled:
    return ReferenceEnrolled(
        parse_pupil_id(fields.text("pupil")), fields.integer("revision", 1), fields.text("notice_version")
    )


def _sealed(fact: ReferenceSealed) -> dict[str, Any]:
    return {
        "pupil": fact.pupil,
        "recipient": fact.recipient,
        "revision": fact.revision,
        "sealed": octets_text(fact.sealed),
    }


def _read_sealed(fields: Fields) -> ReferenceSealed:
    return ReferenceSealed(
        pupil=parse_pupil_id(fields.text("pupil")),
        recipient=parse_device_id(fields.text("recipient")),
        revision=fields.integer("revision", 1),
        sealed=fields.octets("sealed", 8192),
    )


def _card(fact: CardIssued) -> dict[str, Any]:
    return {"pupil": fact.pupil, "sealed_card": octets_text(fact.sealed_card)}


def _read_card(fields: Fields) -> CardIssued:
    return CardIssued(parse_pupil_id(fields.text("pupil")), fields.octets("sealed_card", 1024))


def _checked(fact: DeviceChecked) -> dict[str, Any]:
    return {"at_risk": list(fact.at_risk), "watch": list(fact.watch), "firmware": list(fact.firmware)}


def _read_checked(fields: Fields) -> DeviceChecked:
    return DeviceChecked(_names(fields, "at_risk"), _names(fields, "watch"), _names(fields, "firmware"))


def _names(fields: Fields, name: str) -> tuple[str, ...]:
    """Short words; a server shows those that it knows, and the others as they are."""
    items = fields.items(name, _NAMES_MOST)
    for item in items:
        if not isinstance(item, str) or not 0 < len(item) <= _NAME_LONGEST or not item.isprintable():
            raise MalformedMessage(f"{name} is no list of names")
    return tuple(items)


_NAMES_MOST, _NAME_LONGEST = 40, 60
_ADDRESS_MOST = 126

_WRITERS: dict[type[Any], tuple[FactKind, Callable[[Any], dict[str, Any]]]] = {
    PassGranted: (FactKind.PASS_GRANTED, _granted),
    PassDenied: (FactKind.PASS_DENIED, _denied),
    PassCompleted: (FactKind.PASS_COMPLETED, _pass_alone),
    PassAbandoned: (FactKind.PASS_ABANDONED, _pass_alone),
    PassUnresolved: (FactKind.PASS_UNRESOLVED, _pass_alone),
    OrderApplied: (FactKind.ORDER_APPLIED, lambda fact: {"number": fact.number, **_issued_at(fact)}),
    OrderRefused: (
        FactKind.ORDER_REFUSED,
        lambda fact: {"number": fact.number, "why": fact.why[:_WHY_LONGEST], **_issued_at(fact)},
    ),
    OrdersHeld: (FactKind.ORDERS_HELD, lambda fact: {"up_to": fact.up_to}),
    JournalBegun: (FactKind.JOURNAL_BEGUN, _begun),
    PurgeReceipt: (FactKind.PURGE_RECEIPT, _receipt),
    ReferencesDestroyed: (FactKind.REFERENCES_DESTROYED, _destroyed),
    ConsentRecorded: (FactKind.CONSENT_RECORDED, _consent),
    ReferenceEnrolled: (FactKind.REFERENCE_ENROLLED, _enrolled),
    ReferenceSealed: (FactKind.REFERENCE_SEALED, _sealed),
    CardIssued: (FactKind.CARD_ISSUED, _card),
    CardRetired: (FactKind.CARD_RETIRED, lambda fact: {"sealed_card": octets_text(fact.sealed_card)}),
    DeviceChecked: (FactKind.DEVICE_CHECKED, _checked),
    BoardKeyed: (FactKind.BOARD_KEYED, lambda fact: {"address": fact.address, "outcome": fact.outcome}),
    EnrollmentAdvised: (
        FactKind.ENROLLMENT_ADVISED,
        lambda fact: {"pupil": fact.pupil, "revision": fact.revision},
    ),
}

_READERS: dict[FactKind, Callable[[Fields], Fact]] = {
    FactKind.PASS_GRANTED: _read_granted,
    FactKind.PASS_DENIED: _read_denied,
    FactKind.PASS_COMPLETED: lambda fields: PassCompleted(_read_pass(fields)),
    FactKind.PASS_ABANDONED: lambda fields: PassAbandoned(_read_pass(fields)),
    FactKind.PASS_UNRESOLVED: lambda fields: PassUnresolved(_read_pass(fields)),
    FactKind.ORDER_APPLIED: lambda fields: OrderApplied(fields.integer("number", 1), _read_issued_at(fields)),
    FactKind.ORDER_REFUSED: lambda fields: OrderRefused(
        fields.integer("number", 1), fields.text("why", _WHY_LONGEST), _read_issued_at(fields)
    ),
    FactKind.ORDERS_HELD: lambda fields: OrdersHeld(fields.integer("up_to")),
    FactKind.JOURNAL_BEGUN: _read_begun,
    FactKind.PURGE_RECEIPT: _read_receipt,
    FactKind.REFERENCES_DESTROYED: _read_destroyed,
    FactKind.CONSENT_RECORDED: _read_consent,
    FactKind.REFERENCE_ENROLLED: _read_enrolled,
    FactKind.REFERENCE_SEALED: _read_sealed,
    FactKind.CARD_ISSUED: _read_card,
    FactKind.CARD_RETIRED: lambda fields: CardRetired(fields.octets("sealed_card", 1024)),
    FactKind.DEVICE_CHECKED: _read_checked,
    FactKind.BOARD_KEYED: lambda fields: BoardKeyed(
        fields.integer("address", 0, _ADDRESS_MOST), fields.text("outcome", _NAME_LONGEST)
    ),
    FactKind.ENROLLMENT_ADVISED: lambda fields: EnrollmentAdvised(
        parse_pupil_id(fields.text("pupil")), fields.integer("revision", 1)
    ),
}
