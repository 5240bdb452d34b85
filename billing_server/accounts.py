"""Externals' prepaid meals, in whole cents: bought, eaten, corrected. Entries are added, never changed or deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.models import AccountEntry, MealPassRow
from billing_server.roster import known_pupil
from canteen.clock import Clock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PupilId
from canteen.meal_pass import PassOutcome

RULE = "rule"
"""Who notes what no person has asked for."""


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

    def balance_cents(self, session: Session, pupil: str) -> int:
        """What is left; below zero when more was eaten than paid."""
        total = select(func.coalesce(func.sum(AccountEntry.cents), 0)).where(AccountEntry.pupil == pupil)
        return int(session.scalars(total).one())

    def debit_completed(self, session: Session, passes: Iterable[MealPassRow]) -> None:
        """Debit each prepaid meal that was eaten, once: a second pass for the same meal finds it debited.

        The caller holds the lock on the feed of outcomes, so that no two transactions debit one meal.
        """
        eaten = {
            f"{row.pupil}/{row.day}/{row.period}": row
            for row in passes
            if row.charged_to == EntitlementKind.EXTERNAL_MEAL.value and row.outcome == PassOutcome.COMPLETED.value
        }
        if not eaten:
            return
        known = set(session.scalars(select(AccountEntry.meal).where(AccountEntry.meal.in_(eaten))))
        for meal, row in eaten.items():
            if meal not in known:
                self._note(session, row.pupil, AccountKind.MEAL, -self.meal_cents, RULE, row, meal)

    def settle(self, session: Session, row: MealPassRow, billed: bool, by: str) -> None:
        """A human says whether this pass is billed: make the account say so too, by one more entry if it does not."""
        if row.charged_to != EntitlementKind.EXTERNAL_MEAL.value:
            return
        of_pass = select(func.coalesce(func.sum(AccountEntry.cents), 0)).where(
            AccountEntry.device == row.device, AccountEntry.pass_id == row.pass_id
        )
        debited = -int(session.scalars(of_pass).one())
        wanted = self.meal_cents if billed else 0
        if billed and debited:
            wanted = debited  # the price of that day stands
        if wanted != debited:
            self._note(session, row.pupil, AccountKind.CORRECTION, debited - wanted, by, row)

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
