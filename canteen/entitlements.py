"""The right to a meal: the 4-day or 5-day forfait of a boarder, or one meal of an external paid in advance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from canteen.errors import InvalidEntitlement
from canteen.serving_periods import EVERY_DAY


class EntitlementKind(StrEnum):
    """What the meal is charged to. Values are part of the protocol."""

    FORFAIT_4_DAYS = "forfait-4"
    FORFAIT_5_DAYS = "forfait-5"
    EXTERNAL_MEAL = "external-meal"


MONDAY_TO_FRIDAY = frozenset({0, 1, 2, 3, 4})
WITHOUT_WEDNESDAY = MONDAY_TO_FRIDAY - {2}


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Meals on `weekdays` from `valid_from` to `valid_until`, both included.

    A county may serve a forfait on other days than the usual ones, so the days are stored, not derived from the kind.
    """

    kind: EntitlementKind
    weekdays: frozenset[int]
    valid_from: date
    valid_until: date

    def __post_init__(self) -> None:
        if not self.weekdays or not self.weekdays <= EVERY_DAY or self.valid_until < self.valid_from:
            raise InvalidEntitlement("an entitlement needs at least one weekday and an end after its start")

    def covers(self, day: date) -> bool:
        """Whether a meal on `day` is within this entitlement."""
        return self.valid_from <= day <= self.valid_until and day.weekday() in self.weekdays


def forfait_4_days(valid_from: date, valid_until: date) -> Entitlement:
    """Monday, Tuesday, Thursday, Friday."""
    return Entitlement(EntitlementKind.FORFAIT_4_DAYS, WITHOUT_WEDNESDAY, valid_from, valid_until)


def forfait_5_days(valid_from: date, valid_until: date) -> Entitlement:
    """Monday to Friday."""
    return Entitlement(EntitlementKind.FORFAIT_5_DAYS, MONDAY_TO_FRIDAY, valid_from, valid_until)


def external_meal(day: date) -> Entitlement:
    """One meal on one day, agreed by the intendance and paid in advance."""
    return Entitlement(EntitlementKind.EXTERNAL_MEAL, frozenset({day.weekday()}), day, day)


def entitlement_for(entitlements: Iterable[Entitlement], day: date) -> Entitlement | None:
    """The entitlement a meal on `day` is charged to: a forfait before a prepaid meal, so that no meal is paid twice."""
    covering = [entitlement for entitlement in entitlements if entitlement.covers(day)]
    return min(covering, key=lambda e: e.kind is EntitlementKind.EXTERNAL_MEAL, default=None)
