"""Externals' prepaid meals as terminals are told of them: how many are left, and up to which entries that is counted.

Only where the school has a price and the pupil an account. A meal whose outcome is not told yet is set aside, so that
what a terminal sees is never more than what is paid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, literal, select
from sqlalchemy.orm import Session

from billing_server.models import AccountEntry, Device, Journal, MealPassRow, PassSettlement, PupilRow, Setting
from billing_server.orders import OrderDesk, locked_devices
from canteen.access_decision import MissingEntitlement
from canteen.clock import Clock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import DeviceId, PupilId
from canteen.meal_pass import PassOutcome
from sync.encoding import instant_text
from sync.orders import BalancesOrder, CountedUpTo, DeviceRole, OrderKind

_TOLD = "balances-told"
_PREPAID = literal(EntitlementKind.EXTERNAL_MEAL.value, literal_execute=True)
"""Written out in the statement: only so does a database see that the index of prepaid passes will do."""

TOLD_EVERY = timedelta(minutes=1)
"""In the middle of lunch every prepaid meal changes a balance; terminals count on by themselves meanwhile."""


@dataclass(frozen=True, slots=True)
class BalanceDesk:
    """Tells terminals what is left; `meal_cents` 0 means that nobody's meals are counted."""

    orders: OrderDesk
    meal_cents: int
    without_meals: MissingEntitlement
    clock: Clock

    def current(self, session: Session) -> BalancesOrder | None:
        """What terminals are to know now; None where the school keeps no accounts."""
        if not self.meal_cents:
            return None
        # Marks before balances: a meal that comes in between is then counted twice for a minute, never not at all.
        counted = tuple(
            CountedUpTo(DeviceId(device), generation, up_to)
            for device, generation, up_to in session.execute(
                select(Journal.device, Journal.generation, Journal.up_to)
                .join(Device, Device.device == Journal.device)
                .where(Device.role == DeviceRole.TERMINAL.value)
                .order_by(Journal.device, Journal.first_received_at)
            )
        )
        return BalancesOrder(tuple(self.meals_left(session).items()), self.without_meals, counted)

    def meals_left(self, session: Session) -> dict[PupilId, int]:
        """Of every pupil with an account who has not left; below zero where more was eaten than paid."""
        cents = session.execute(
            select(AccountEntry.pupil, func.sum(AccountEntry.cents))
            .join(PupilRow, PupilRow.pupil == AccountEntry.pupil)
            .where(PupilRow.departed_at.is_(None))
            .group_by(AccountEntry.pupil)
            .order_by(AccountEntry.pupil)
        )
        aside = self._set_aside(session)
        return {PupilId(pupil): int(total) // self.meal_cents - aside.get(pupil, 0) for pupil, total in cents}

    def tell_changes(self, session: Session) -> None:
        """Tell every terminal, if something is not as it was told and that was a while ago."""
        now = self.clock.utc_now()
        row = session.get(Setting, _TOLD) if self.meal_cents else None
        told = None if row is None else json.loads(row.value)
        if told is not None and timedelta(0) <= now - datetime.fromisoformat(told["at"]) < TOLD_EVERY:
            return
        order = self.current(session)
        if order is None or (not order.meals_left if told is None else told["told"] == _said(order)):
            return
        terminals = locked_devices(session, DeviceRole.TERMINAL)
        for device in terminals:
            self.orders.supersede(session, device, OrderKind.BALANCES)
            self.orders.issue(session, device, order)
        value = json.dumps({"at": instant_text(now), "told": _said(order)})
        session.merge(Setting(name=_TOLD, value=value))

    def _set_aside(self, session: Session) -> dict[str, int]:
        noted = exists().where(AccountEntry.device == MealPassRow.device, AccountEntry.pass_id == MealPassRow.pass_id)
        settled = exists().where(
            PassSettlement.device == MealPassRow.device, PassSettlement.pass_id == MealPassRow.pass_id
        )
        waiting = (
            select(MealPassRow.pupil, func.count())
            .where(
                MealPassRow.pupil.in_(select(AccountEntry.pupil)),
                MealPassRow.charged_to == _PREPAID,
                MealPassRow.outcome.in_((PassOutcome.OPEN.value, PassOutcome.UNRESOLVED.value)),
                ~noted,
                ~settled,
            )
            .group_by(MealPassRow.pupil)
        )
        return {pupil: int(number) for pupil, number in session.execute(waiting)}


def _said(order: BalancesOrder) -> list[object]:
    return [order.without_meals.value, [[pupil, left] for pupil, left in order.meals_left]]
