"""From a credential to a decision: who it names, what the meal is charged to, and what `decide_access` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from canteen.access_decision import (
    AccessDecision,
    AccessRequest,
    CredentialStatus,
    HandStatus,
    MissingEntitlement,
    Reason,
    decide_access,
)
from canteen.clock import ClockTrust
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import EntitlementKind, entitlement_for
from canteen.errors import InvalidPersonalCode
from canteen.identifiers import PupilId
from canteen.serving_periods import ServiceMoment, ServingCalendar
from sync.errors import MalformedMessage
from sync.order_bodies import read_order
from sync.orders import CalendarOrder
from templates_store.errors import StoreUnavailable
from templates_store.store import PupilRecord, ReferenceAbsence, StoredReference, TemplateStore
from terminal.prepaid import Prepaid
from terminal.served import Served
from terminal.vouching import Vouching, VouchReason

CALENDAR_DOCUMENT = "calendar"
"""Under this name the store keeps the last calendar order, as the order's own JSON."""

OUT_OF_HOURS = "hors-service"
"""The period of a vouched pass on a day without services, or before any calendar has come."""

_NO_CALENDAR = CalendarOrder("", ServingCalendar("Europe/Paris", ()), MissingEntitlement.DENY)
"""Before the first order: no service is open, so nobody is let through by a guess."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a credential came to."""

    decision: AccessDecision
    pupil: PupilId | None = None
    first_name: str = field(default="", repr=False)
    moment: ServiceMoment | None = None
    charged_to: EntitlementKind | None = None


class Identification:
    """Answers for one credential at one instant, from the store and the table of those served."""

    def __init__(
        self,
        store: TemplateStore,
        served: Served,
        prepaid: Prepaid,
        is_compared: Callable[[StoredReference, date], bool],
    ) -> None:
        """Prepare.

        Args:
            store: who there is.
            served: who has eaten.
            prepaid: who has a prepaid meal left.
            is_compared: whether a hand is compared with that reference on that day (`HandReader.is_compared`).
        """
        self._store, self._served, self._prepaid, self._is_compared = store, served, prepaid, is_compared
        self._calendar: CalendarOrder | None = None

    @property
    def calendar(self) -> CalendarOrder:
        """The school's calendar as last ordered; read once, until `calendar_changed`."""
        if self._calendar is None:
            self._calendar = self._read_calendar()
        return self._calendar

    @property
    def code_length(self) -> int:
        """How many digits the school's codes have: with the last one a code is complete."""
        return self.calendar.code_length

    def calendar_changed(self) -> None:
        """An order has replaced it."""
        self._calendar = None

    def by_code(self, digits: str, now: datetime, trust: ClockTrust) -> Finding:
        """What is known of a typed code, before any hand."""
        try:
            found = self._store.look_up(PersonalCode(digits), now)
        except InvalidPersonalCode:
            found = None
        if found is None:
            return self._decide(CredentialStatus.UNKNOWN_CODE, None, HandStatus.NO_REFERENCE, now, trust)
        record, held = found
        return self._decide(CredentialStatus.KNOWN_CODE, record, self._hand_before(held, now), now, trust)

    def by_card(self, card: CardNumber, now: datetime, trust: ClockTrust) -> Finding:
        """What is known of a card."""
        found = self._store.find_by_card(card)
        record = None if found is None else self._store.pupil(found.pupil)
        if found is None or record is None:
            status = CredentialStatus.UNKNOWN_CARD
        elif found.blocked:
            status = CredentialStatus.BLOCKED_CARD
        else:
            status = CredentialStatus.KNOWN_CARD
        return self._decide(status, record, HandStatus.NO_REFERENCE, now, trust)

    def with_hand(self, pupil: PupilId, hand: HandStatus, now: datetime, trust: ClockTrust) -> Finding:
        """The decision once the hand has been seen. A pupil purged meanwhile is no longer known."""
        record = self._store.pupil(pupil)
        status = CredentialStatus.UNKNOWN_CODE if record is None else CredentialStatus.KNOWN_CODE
        return self._decide(status, record, hand, now, trust)

    def vouched(self, vouching: Vouching, now: datetime) -> Finding:
        """What staff's word opens: all but a second meal, unless they say so. It opens without a store too."""
        try:
            record = self._store.pupil(vouching.pupil)
            school = self.calendar
        except StoreUnavailable:
            record, school = None, _NO_CALENDAR
        moment = _moment_about(school.calendar, now)
        entitlement = None if record is None else entitlement_for(record.entitlements, school.calendar.local_day(now))
        served = self._served.has_been(vouching.pupil, moment) and vouching.reason is not VouchReason.SECOND_PASSAGE
        decision = AccessDecision(granted=not served, reason=Reason.ALREADY_SERVED if served else Reason.FORCED)
        charged_to = None if entitlement is None else entitlement.kind
        return Finding(decision, vouching.pupil, vouching.first_name, moment, charged_to)

    def _decide(
        self, status: CredentialStatus, record: PupilRecord | None, hand: HandStatus, now: datetime, trust: ClockTrust
    ) -> Finding:
        school = self.calendar
        moment = school.calendar.moment_at(now)
        entitlement = None if record is None else entitlement_for(record.entitlements, school.calendar.local_day(now))
        charged_to = None if entitlement is None else entitlement.kind
        decision = decide_access(
            AccessRequest(
                credential=status,
                clock_trust=trust,
                moment=moment,
                charged_to=charged_to,
                already_served=record is not None
                and moment is not None
                and self._served.has_been(record.pupil, moment),
                hand=hand,
                missing_entitlement=school.missing_entitlement,
                meals_left=None if record is None else self._prepaid.left(record.pupil),
                without_meals=self._prepaid.without_meals,
            )
        )
        if record is None:
            return Finding(decision)
        return Finding(decision, record.pupil, record.first_name, moment, charged_to)

    def _hand_before(self, held: StoredReference | ReferenceAbsence, now: datetime) -> HandStatus:
        if held is ReferenceAbsence.LEASE_EXPIRED:
            return HandStatus.REFERENCE_EXPIRED
        if isinstance(held, StoredReference) and self._is_compared(held, self.calendar.calendar.local_day(now)):
            return HandStatus.NOT_LAID_YET
        return HandStatus.NO_REFERENCE

    def _read_calendar(self) -> CalendarOrder:
        document = self._store.document(CALENDAR_DOCUMENT)
        if document is None:
            return _NO_CALENDAR
        try:
            order = read_order(document)
        except MalformedMessage as error:
            raise StoreUnavailable("the calendar in the store cannot be read") from error
        return order if isinstance(order, CalendarOrder) else _NO_CALENDAR


def _moment_about(calendar: ServingCalendar, now: datetime) -> ServiceMoment:
    """The service that is open, else the nearest of the day: five minutes early is that service's meal."""
    moment = calendar.moment_at(now)
    if moment is not None:
        return moment
    local = now.astimezone(ZoneInfo(calendar.timezone))
    minute = local.hour * 60 + local.minute
    today = [period for period in calendar.periods if local.weekday() in period.weekdays]
    if not today or local.date() in calendar.closed_days:
        return ServiceMoment(local.date(), OUT_OF_HOURS)
    nearest = min(today, key=lambda period: min(abs(minute - period.starts_minute), abs(minute - period.ends_minute)))
    return ServiceMoment(local.date(), nearest.name)
