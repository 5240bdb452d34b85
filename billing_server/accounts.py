"""Externals' prepaid meals, in whole cents: bought, eaten, corrected. Entries are added, never changed or deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, close_alarm, raise_alarm
from billing_server.models import AccountEntry, MealPassRow
from billing_server.reconciliation import Standing, standing_passes
from billing_server.roster import known_pupil
from canteen.clock import Clock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PupilId

RULE = "rule"
"""Who notes what no person has asked for."""

_PREPAID = EntitlementKind.EXTERNAL_MEAL.value


class AccountKind(StrEnum):
    """Values are stored; never renamed."""

    PURCHASE = "purchase"
    MEAL = "meal"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class AccountDesk:
    """Credits, and debits once a meal; `meal_cents` is today's price."""

    meal_cents: int
    clock: Clock

    def credit(self, session: Session, pupil: PupilId, cents: int, by: str) -> None:
        """The family paid. Raises UnknownPupil."""
        known_pupil(session, pupil)
        self._note(session, pupil, AccountKind.PURCHASE, cents, by)

    def correct(self, session: Session, pupil: PupilId, cents: int, by: str) -> None:
        """Somebody puts an account right, up or down: one more entry. Raises UnknownPupil."""
        known_pupil(session, pupil)
        self._note(session, pupil, AccountKind.CORRECTION, cents, by)

    def balance_cents(self, session: Session, pupil: str) -> int:
        """What is left; below zero when more was eaten than paid."""
        total = select(func.coalesce(func.sum(AccountEntry.cents), 0)).where(AccountEntry.pupil == pupil)
        return int(session.scalars(total).one())

    def follow(self, session: Session, passes: Iterable[MealPassRow], by: str = RULE) -> None:
        """Make the account say what the ledger says of the meals of these passes, by further entries.

        Each prepaid pass that is billed costs one meal, whichever of two came first to us. The caller holds the lock on
        the feed of outcomes, so that no two transactions write of one meal.
        """
        meals = {(row.pupil, row.day, row.period): row for row in passes if row.charged_to == _PREPAID}
        for (pupil, day, period), row in meals.items():
            prepaid = [
                one
                for one in standing_passes(session, day, pupil)
                if one.row.period == period and one.row.charged_to == _PREPAID
            ]
            of_meal = select(AccountEntry).where(
                AccountEntry.pupil == pupil, AccountEntry.pass_id.in_([one.row.pass_id for one in prepaid])
            )
            noted = session.scalars(of_meal.order_by(AccountEntry.id)).all()
            price = -noted[0].cents if noted else self.meal_cents  # the price of that day stands
            wanted = -price * sum(one.standing is Standing.BILLED for one in prepaid)
            missing = wanted - sum(entry.cents for entry in noted)
            if missing:
                kind = AccountKind.CORRECTION if noted else AccountKind.MEAL
                self._note(session, pupil, kind, missing, by, row, None if noted else f"{pupil}/{day}/{period}")

    def _note(
        self,
        session: Session,
        pupil: str,
        kind: AccountKind,
        cents: int,
        by: str,
        row: MealPassRow | None = None,
        meal: str | None = None,
    ) -> None:
        session.add(
            AccountEntry(
                pupil=pupil,
                kind=kind.value,
                cents=cents,
                meal=meal,
                device=None if row is None else row.device,
                pass_id=None if row is None else row.pass_id,
                noted_by=by,
                noted_at=self.clock.utc_now(),
            )
        )
        session.flush()
        # Whatever moves an account below zero is listed for a human, and taken off the list when it is paid.
        now, about = self.clock.utc_now(), pupil
        if self.balance_cents(session, pupil) >= 0:
            close_alarm(session, AlarmKind.PREPAID_OVERDRAWN, about, now)
        elif cents < 0:
            raise_alarm(session, AlarmKind.PREPAID_OVERDRAWN, about, now, device=None if row is None else row.device)
