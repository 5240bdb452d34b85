"""The school's own choices: its calendar, its name on the screens, what happens without an entitlement."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing_server.models import Setting
from canteen.access_decision import MissingEntitlement
from canteen.entitlements import MONDAY_TO_FRIDAY
from canteen.hand_policy import HandPolicy
from canteen.serving_periods import ServingCalendar, ServingPeriod
from sync.order_bodies import read_calendar, write_calendar
from sync.orders import CalendarOrder

_CALENDAR = "calendar"

USUAL_CALENDAR = ServingCalendar(
    "Europe/Paris", (ServingPeriod("midi", MONDAY_TO_FRIDAY, 11 * 60 + 30, 13 * 60 + 45),), frozenset()
)
"""Until the school says otherwise: lunch from 11:30 to 13:45, Monday to Friday."""


@dataclass(frozen=True, slots=True)
class School:
    """Name and choices as configured; what the pages changed since is in the database and wins."""

    name: str
    missing_entitlement: MissingEntitlement
    code_length: int

    def calendar_order(self, session: Session) -> CalendarOrder:
        """What devices are told, as of now."""
        row = session.get(Setting, _CALENDAR)
        if row is None:
            return CalendarOrder(self.name, USUAL_CALENDAR, self.missing_entitlement, self.code_length)
        stored = json.loads(row.value)
        return CalendarOrder(
            school_name=stored["school_name"],
            calendar=read_calendar(stored["calendar"]),
            missing_entitlement=MissingEntitlement(stored["missing_entitlement"]),
            code_length=self.code_length,
            # Kept from before there was a choice: none.
            hand_policy=HandPolicy(stored.get("hand_policy", HandPolicy.USUAL)),
        )

    def calendar(self, session: Session) -> ServingCalendar:
        return self.calendar_order(session).calendar


def store_calendar_order(session: Session, order: CalendarOrder) -> None:
    """Keep the school's choice; telling the devices is the caller's."""
    value = json.dumps(
        {
            "school_name": order.school_name,
            "calendar": write_calendar(order.calendar),
            "missing_entitlement": order.missing_entitlement.value,
            "hand_policy": order.hand_policy.value,
        },
        ensure_ascii=False,
    )
    session.merge(Setting(name=_CALENDAR, value=value))
