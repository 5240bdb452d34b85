"""Serving periods, entitlements, anti-passback, the clock, consent and staff tokens."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.anti_passback import already_served
from canteen.clock import CONFIRMATION_LASTS, ClockTrust, ManualClock, SystemClock, judge_clock
from canteen.consent import Consent, ConsentState, GivenBy, may_use_biometrics
from canteen.entitlements import Entitlement, EntitlementKind, entitlement_for, external_meal
from canteen.entitlements import forfait_4_days as forfait_4
from canteen.entitlements import forfait_5_days as forfait_5
from canteen.errors import InvalidConsent, InvalidEntitlement, InvalidIdentifier, InvalidServingPeriod
from canteen.identifiers import new_pass_id, new_pupil_id, parse_device_id, parse_pass_id, parse_pupil_id
from canteen.meal_pass import PassOutcome
from canteen.operator_access import Operator, find_operator, new_token, token_digest
from canteen.serving_periods import ServiceMoment, ServingCalendar, ServingPeriod

PARIS = ZoneInfo("Europe/Paris")
MONDAY, WEDNESDAY = date(2026, 11, 23), date(2026, 11, 25)
YEAR = (date(2026, 9, 1), date(2027, 7, 3))
LUNCH = ServingPeriod("midi", frozenset({0, 1, 2, 3, 4}), 11 * 60 + 30, 13 * 60 + 45)
CALENDAR = ServingCalendar("Europe/Paris", (LUNCH,), frozenset({date(2026, 11, 11)}))


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), PARIS).astimezone(UTC)


@pytest.mark.parametrize(
    ("instant", "open_"),
    [
        (at(MONDAY, 11, 29), False),
        (at(MONDAY, 11, 30), True),
        (at(MONDAY, 13, 44), True),
        (at(MONDAY, 13, 45), False),
        (at(date(2026, 11, 22), 12), False),
        (at(date(2026, 11, 11), 12), False),
        (at(date(2026, 6, 15), 12), True),
    ],
)
def test_a_period_is_open_in_local_time(instant: datetime, open_: bool) -> None:
    """Start included, end excluded, not on Sunday, not on a closed day, summer time too."""
    assert open_ == (CALENDAR.moment_at(instant) is not None)


def test_the_four_day_forfait_leaves_out_wednesday() -> None:
    """Rules of the Haute-Garonne: Monday, Tuesday, Thursday, Friday."""
    assert forfait_4(*YEAR).covers(MONDAY)
    assert not forfait_4(*YEAR).covers(WEDNESDAY)
    assert forfait_5(*YEAR).covers(WEDNESDAY)


def test_an_external_meal_is_for_its_day_and_used_after_a_forfait() -> None:
    """A prepaid meal is not spent on a day that the forfait covers."""
    meal = external_meal(MONDAY)
    assert meal.covers(MONDAY)
    assert not meal.covers(MONDAY + timedelta(days=7))
    assert entitlement_for([meal, forfait_4(*YEAR)], MONDAY) == forfait_4(*YEAR)
    assert entitlement_for([meal], MONDAY) == meal
    assert entitlement_for([meal], WEDNESDAY) is None


@pytest.mark.parametrize(
    ("outcome", "served"),
    [
        (PassOutcome.OPEN, True),
        (PassOutcome.COMPLETED, True),
        (PassOutcome.UNRESOLVED, True),
        (PassOutcome.ABANDONED, False),
    ],
)
def test_one_meal_a_service(outcome: PassOutcome, served: bool) -> None:
    """An abandoned pass leaves the meal due; another service is another meal."""
    moment = ServiceMoment(MONDAY, "midi")
    assert already_served([(moment, outcome)], moment) is served
    assert not already_served([(ServiceMoment(MONDAY, "soir"), outcome)], moment)


def test_how_far_a_clock_is_trusted() -> None:
    """Forward of what was written: yes, and confirmed by a signed time; behind it: no."""
    now = at(MONDAY, 12)
    assert judge_clock(now, None, None) is ClockTrust.UNCONFIRMED
    assert judge_clock(now, now, now - timedelta(days=2)) is ClockTrust.TRUSTED
    assert judge_clock(now, now, now - CONFIRMATION_LASTS - timedelta(days=1)) is ClockTrust.UNCONFIRMED
    assert judge_clock(datetime(1970, 1, 1, tzinfo=UTC), now, None) is ClockTrust.UNTRUSTED
    assert judge_clock(now - timedelta(hours=1), None, now) is ClockTrust.UNTRUSTED


def test_clocks() -> None:
    """The manual clock moves when told; the system's has a time zone."""
    clock = ManualClock(at(MONDAY, 12))
    clock.advance(5)
    clock.set_wall(at(MONDAY, 9))
    assert (at(MONDAY, 9), 5.0) == (clock.utc_now(), clock.monotonic_s())
    assert SystemClock().utc_now().tzinfo is UTC
    assert SystemClock().monotonic_s() <= SystemClock().monotonic_s()


def test_only_a_given_consent_opens_the_gate_to_biometrics() -> None:
    """Nothing said, opposed or withdrawn: the card."""
    assert [ConsentState.GIVEN] == [state for state in ConsentState if may_use_biometrics(state)]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ServingPeriod("", frozenset({0}), 0, 1), InvalidServingPeriod),
        (lambda: ServingPeriod("midi", frozenset(), 0, 1), InvalidServingPeriod),
        (lambda: ServingPeriod("midi", frozenset({7}), 0, 1), InvalidServingPeriod),
        (lambda: ServingPeriod("midi", frozenset({0}), 10, 10), InvalidServingPeriod),
        (lambda: ServingPeriod("midi", frozenset({0}), 0, 1441), InvalidServingPeriod),
        (lambda: Entitlement(EntitlementKind.FORFAIT_4_DAYS, frozenset(), *YEAR), InvalidEntitlement),
        (lambda: Entitlement(EntitlementKind.FORFAIT_4_DAYS, frozenset({0}), *reversed(YEAR)), InvalidEntitlement),
        (lambda: Consent("", GivenBy.ADULT_PUPIL, at(MONDAY, 12)), InvalidConsent),
        (lambda: Consent("2026-1", GivenBy.ADULT_PUPIL, datetime(2026, 1, 1)), InvalidConsent),
    ],
)
def test_what_is_not_of_its_form_is_refused(make: object, error: type[Exception]) -> None:
    """One error each, at the border."""
    with pytest.raises(error):
        make()  # type: ignore[operator]  # each is a lambda above


@given(st.text(max_size=40))
def test_identifiers_parse_or_refuse(text: str) -> None:
    """Nothing that could break a topic or a log line passes for a device."""
    try:
        device = parse_device_id(text)
    except InvalidIdentifier:
        pass
    else:
        assert set(device) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_new_identifiers_parse() -> None:
    """What we draw is of the form we ask for."""
    assert parse_pupil_id(new_pupil_id())
    assert parse_pass_id(new_pass_id())
    with pytest.raises(InvalidIdentifier):
        parse_pupil_id(new_pass_id())


def test_an_operators_token() -> None:
    """The right token names its operator, any other nobody; the token itself is not kept."""
    token = new_token()
    operators = [Operator("intendance", token_digest(token)), Operator("gestion", token_digest(new_token()))]
    found = find_operator(operators, token)
    assert found is not None
    assert found.name == "intendance"
    assert token not in repr(operators)
    assert find_operator(operators, "x") is None
