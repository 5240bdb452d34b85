"""Facts as journal bodies: each kind with its fields, written, and read from whatever came.

Kinds and field names are never renamed: journals outlive programs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from canteen.access_decision import Reason
from canteen.consent import ConsentState, GivenBy
from canteen.entitlements import EntitlementKind
from canteen.errors import InvalidIdentifier
from canteen.identifiers import (
    PassId,
    parse_device_id,
    parse_pass_id,
    parse_pupil_id,
    parse_purge_id,
)
from canteen.meal_pass import (
    PassAbandoned,
    PassCompleted,
    PassDenied,
    PassGranted,
    PassMethod,
    PassUnresolved,
)
from canteen.serving_periods import ServiceMoment
from sync.encoding import Fields, instant_text, octets_text
from sync.errors import MalformedMessage
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
from sync.orders import ASKED_BY_LONGEST, PurgeCause, PurgeScope

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
        "asked_at": None if fact.asked_at is None else instant_text(fact.asked_at),
        "request_signature": None if fact.request_signature is None else octets_text(fact.request_signature),
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
        asked_at=fields.optional_instant("asked_at"),
        request_signature=fields.optional_signature("request_signature"),
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
