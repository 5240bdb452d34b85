"""Orders as bodies: each kind with its fields, written, and read from whatever a seal held."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from canteen.access_decision import MissingEntitlement
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.errors import CanteenError
from canteen.hand_policy import HandPolicy
from canteen.identifiers import parse_device_id, parse_pupil_id, parse_purge_id
from canteen.personal_code import CODE_DIGITS_MAX, CODE_DIGITS_MIN
from canteen.serving_periods import ServingCalendar, ServingPeriod
from sync.encoding import Fields, instant_text, octets_text
from sync.errors import MalformedMessage, SyncError
from sync.orders import (
    ASKED_BY_LONGEST,
    SEALED_AGAIN_MOST,
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
from sync.sealing import SealingKey
from sync.signing import VerifyingKey


def write_order(order: Order) -> dict[str, Any]:
    """The body of `order`, with its kind."""
    kind, writer = _WRITERS[type(order)]
    return {"kind": kind.value, **writer(order)}


def read_order(untrusted_body: dict[str, Any]) -> Order:
    """The order in an opened body.

    Raises:
        MalformedMessage: an unknown kind, or fields that are not of it.
    """
    fields = Fields(untrusted_body)
    try:
        return _READERS[OrderKind(fields.text("kind"))](fields)
    except SyncError:
        raise
    except (CanteenError, ValueError) as error:
        raise MalformedMessage(f"not an order: {type(error).__name__}") from error


def write_entitlement(entitlement: Entitlement) -> dict[str, Any]:
    """An entitlement as JSON; also how stores keep it."""
    return {
        "kind": entitlement.kind.value,
        "weekdays": sorted(entitlement.weekdays),
        "from": entitlement.valid_from.isoformat(),
        "until": entitlement.valid_until.isoformat(),
    }


def read_entitlement(untrusted: object) -> Entitlement:
    """The entitlement in `untrusted`; raises MalformedMessage or ValueError."""
    fields = Fields(untrusted)
    return Entitlement(
        kind=EntitlementKind(fields.text("kind")),
        weekdays=_weekdays(fields),
        valid_from=date.fromisoformat(fields.text("from")),
        valid_until=date.fromisoformat(fields.text("until")),
    )


def write_calendar(calendar: ServingCalendar) -> dict[str, Any]:
    """A serving calendar as JSON; also how stores keep it."""
    return {
        "timezone": calendar.timezone,
        "periods": [
            {
                "name": period.name,
                "weekdays": sorted(period.weekdays),
                "starts_minute": period.starts_minute,
                "ends_minute": period.ends_minute,
            }
            for period in calendar.periods
        ],
        "closed_days": sorted(day.isoformat() for day in calendar.closed_days),
    }


def read_calendar(untrusted: object) -> ServingCalendar:
    """The calendar in `untrusted`; raises MalformedMessage or ValueError."""
    fields = Fields(untrusted)
    periods = []
    for untrusted_period in fields.items("periods", 50):
        period = Fields(untrusted_period)
        periods.append(
            ServingPeriod(
                name=period.text("name"),
                weekdays=_weekdays(period),
                starts_minute=period.integer("starts_minute"),
                ends_minute=period.integer("ends_minute"),
            )
        )
    closed = frozenset(date.fromisoformat(str(day)) for day in fields.items("closed_days", 2000))
    return ServingCalendar(_timezone(fields), tuple(periods), closed)


def _timezone(fields: Fields) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = fields.text("timezone")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise MalformedMessage("an unknown time zone") from error
    return name


def _weekdays(fields: Fields) -> frozenset[int]:
    days = fields.items("weekdays", 7)
    if not all(isinstance(day, int) and not isinstance(day, bool) for day in days):
        raise MalformedMessage("weekdays are whole numbers")
    return frozenset(days)


def _roster(order: Roster) -> dict[str, Any]:
    return {
        "whole": order.whole,
        "pupils": [
            {
                "pupil": pupil.pupil,
                "first_name": pupil.first_name,
                "last_name": pupil.last_name,
                "class": pupil.class_name,
                "code": pupil.code.digits,
                "entitlements": [write_entitlement(entitlement) for entitlement in pupil.entitlements],
            }
            for pupil in order.pupils
        ],
    }


def _read_roster(fields: Fields) -> Roster:
    pupils = []
    for untrusted_pupil in fields.items("pupils", 20_000):
        pupil = Fields(untrusted_pupil)
        pupils.append(
            RosterPupil(
                pupil=parse_pupil_id(pupil.text("pupil")),
                first_name=pupil.text("first_name"),
                last_name=pupil.text("last_name"),
                class_name=pupil.text("class"),
                code=PersonalCode(pupil.text("code")),
                entitlements=tuple(read_entitlement(item) for item in pupil.items("entitlements", 50)),
            )
        )
    return Roster(tuple(pupils), fields.flag("whole"))


def _calendar(order: CalendarOrder) -> dict[str, Any]:
    return {
        "school_name": order.school_name,
        "missing_entitlement": order.missing_entitlement.value,
        "code_length": order.code_length,
        "hand_policy": order.hand_policy.value,
        "calendar": write_calendar(order.calendar),
    }


def _read_calendar(fields: Fields) -> CalendarOrder:
    return CalendarOrder(
        school_name=fields.text("school_name"),
        calendar=read_calendar(fields.mapping("calendar")),
        missing_entitlement=MissingEntitlement(fields.text("missing_entitlement")),
        code_length=fields.integer("code_length", CODE_DIGITS_MIN, CODE_DIGITS_MAX),
        # Calendars kept from before there was a choice have none.
        hand_policy=HandPolicy(fields.optional_text("hand_policy") or HandPolicy.USUAL),
    )


def _balances(order: BalancesOrder) -> dict[str, Any]:
    return {
        "meals_left": [{"pupil": pupil, "left": left} for pupil, left in order.meals_left],
        "without_meals": order.without_meals.value,
        "counted": [
            {"device": one.device, "generation": one.generation, "sequence": one.sequence} for one in order.counted
        ],
    }


def _read_balances(fields: Fields) -> BalancesOrder:
    left = [Fields(item) for item in fields.items("meals_left", 20_000)]
    counted = [Fields(item) for item in fields.items("counted", 2000)]
    return BalancesOrder(
        tuple((parse_pupil_id(one.text("pupil")), one.integer("left", -_MEALS_MOST, _MEALS_MOST)) for one in left),
        MissingEntitlement(fields.text("without_meals")),
        tuple(
            CountedUpTo(parse_device_id(one.text("device")), one.text("generation", 16), one.integer("sequence"))
            for one in counted
        ),
    )


_MEALS_MOST = 1_000_000


def _devices(order: DevicesOrder) -> dict[str, Any]:
    return {
        "devices": [
            {
                "device": entry.device,
                "role": entry.role.value,
                "verifying_key": octets_text(entry.verifying_key.octets),
                "sealing_key": octets_text(entry.sealing_key.octets),
            }
            for entry in order.devices
        ]
    }


def _read_devices(fields: Fields) -> DevicesOrder:
    entries = []
    for untrusted_entry in fields.items("devices", 500):
        entry = Fields(untrusted_entry)
        entries.append(
            DeviceEntry(
                device=parse_device_id(entry.text("device")),
                role=DeviceRole(entry.text("role")),
                verifying_key=VerifyingKey(entry.octets("verifying_key", 100)),
                sealing_key=SealingKey(entry.octets("sealing_key", 100)),
            )
        )
    return DevicesOrder(tuple(entries))


def _reference(order: ReferenceOrder) -> dict[str, Any]:
    return {
        "pupil": order.pupil,
        "station": order.station,
        "revision": order.revision,
        "sealed": octets_text(order.sealed),
    }


def _read_reference(fields: Fields) -> ReferenceOrder:
    return ReferenceOrder(
        pupil=parse_pupil_id(fields.text("pupil")),
        station=parse_device_id(fields.text("station")),
        revision=fields.integer("revision", 1),
        sealed=fields.octets("sealed", 8192),
    )


def _read_seal_again(fields: Fields) -> SealAgainOrder:
    pupils = tuple(parse_pupil_id(str(pupil)) for pupil in fields.items("pupils", SEALED_AGAIN_MOST))
    return SealAgainOrder(parse_device_id(fields.text("terminal")), pupils)


def _purge(order: PurgeOrder) -> dict[str, Any]:
    return {
        "purge": order.purge,
        "pupil": order.pupil,
        "scope": order.scope.value,
        "cause": order.cause.value,
        "deadline": instant_text(order.deadline),
        "asked_by": order.asked_by[:ASKED_BY_LONGEST],
        "consents_until": None if order.consents_until is None else instant_text(order.consents_until),
        "asked_at": None if order.asked_at is None else instant_text(order.asked_at),
        "request_signature": None if order.request_signature is None else octets_text(order.request_signature),
    }


def _read_purge(fields: Fields) -> PurgeOrder:
    return PurgeOrder(
        purge=parse_purge_id(fields.text("purge")),
        pupil=parse_pupil_id(fields.text("pupil")),
        scope=PurgeScope(fields.text("scope")),
        cause=PurgeCause(fields.text("cause")),
        deadline=fields.instant("deadline"),
        asked_by=fields.optional_text("asked_by", ASKED_BY_LONGEST) or "",
        consents_until=fields.optional_instant("consents_until"),
        asked_at=fields.optional_instant("asked_at"),
        request_signature=fields.optional_signature("request_signature"),
    )


_WRITERS: dict[type[Any], tuple[OrderKind, Callable[[Any], dict[str, Any]]]] = {
    Roster: (OrderKind.ROSTER, _roster),
    CalendarOrder: (OrderKind.CALENDAR, _calendar),
    BalancesOrder: (OrderKind.BALANCES, _balances),
    DevicesOrder: (OrderKind.DEVICES, _devices),
    CardAssigned: (OrderKind.CARD_ASSIGNED, lambda o: {"pupil": o.pupil, "card": o.card.hexadecimal}),
    CardBlocked: (OrderKind.CARD_BLOCKED, lambda o: {"card": o.card.hexadecimal}),
    ReferenceOrder: (OrderKind.REFERENCE, _reference),
    SealAgainOrder: (OrderKind.SEAL_AGAIN, lambda o: {"terminal": o.terminal, "pupils": list(o.pupils)}),
    LeaseOrder: (OrderKind.LEASE, lambda o: {"until": instant_text(o.until)}),
    PurgeOrder: (OrderKind.PURGE, _purge),
    EnrollmentAdvice: (OrderKind.ENROLLMENT_ADVISED, lambda o: {"pupil": o.pupil, "revision": o.revision}),
}

_READERS: dict[OrderKind, Callable[[Fields], Order]] = {
    OrderKind.ROSTER: _read_roster,
    OrderKind.CALENDAR: _read_calendar,
    OrderKind.BALANCES: _read_balances,
    OrderKind.DEVICES: _read_devices,
    OrderKind.CARD_ASSIGNED: lambda f: CardAssigned(parse_pupil_id(f.text("pupil")), CardNumber(f.text("card"))),
    OrderKind.CARD_BLOCKED: lambda f: CardBlocked(CardNumber(f.text("card"))),
    OrderKind.REFERENCE: _read_reference,
    OrderKind.SEAL_AGAIN: _read_seal_again,
    OrderKind.LEASE: lambda f: LeaseOrder(f.instant("until")),
    OrderKind.PURGE: _read_purge,
    OrderKind.ENROLLMENT_ADVISED: lambda f: EnrollmentAdvice(parse_pupil_id(f.text("pupil")), f.integer("revision", 1)),
}
