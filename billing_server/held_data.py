"""All that the ledger holds of one pupil, for whoever asks by right (GDPR, article 15): as it is stored, opened once.

The hand itself is not here and cannot be shown: the server holds no measurements and has no key to any.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.models import (
    AccountEntry,
    Card,
    ConsentRow,
    Denial,
    Holding,
    MealPassRow,
    PupilRow,
    Purge,
    PurgeHolder,
)
from billing_server.roster import Identity, PupilRegistry

FORMAT = "canteen-held-data 1"


@dataclass(frozen=True, slots=True)
class HeldData:
    """Rows of one pupil, oldest first; passes and denials as far back as they lead to a pupil."""

    row: PupilRow
    identity: Identity = field(repr=False)
    has_code: bool
    consents: list[ConsentRow]
    holdings: list[Holding]
    cards: list[Card]
    passes: list[MealPassRow]
    denials: list[Denial]
    account: list[AccountEntry]
    purges: list[Purge]
    confirmed: dict[str, list[PurgeHolder]]

    def as_json(self) -> dict[str, Any]:
        """A file that other programs can read (article 20)."""
        return {
            "format": FORMAT,
            "pupil": self.row.pupil,
            "first_name": self.identity.first_name,
            "last_name": self.identity.last_name,
            "class": self.identity.class_name,
            "added_at": _instant(self.row.added_at),
            "departed_at": _instant(self.row.departed_at),
            "personal_code": "held, sealed" if self.has_code else "not held",
            "entitlements": json.loads(self.row.entitlements),
            "consents": [
                {
                    "state": one.state,
                    "given_by": one.given_by,
                    "given_at": _instant(one.given_at),
                    "notice": one.notice_version,
                    "recorded_at": _instant(one.recorded_at),
                }
                for one in self.consents
            ],
            "hand": [{"device": one.device, "since": _instant(one.since)} for one in self.holdings],
            "cards": [
                {"given_at": _instant(one.assigned_at), "by": one.issued_by, "blocked_at": _instant(one.blocked_at)}
                for one in self.cards
            ],
            "passes": [
                {
                    "day": one.day.isoformat(),
                    "period": one.period,
                    "at": _instant(one.granted_at),
                    "terminal": one.device,
                    "method": one.method,
                    "outcome": one.outcome,
                    "charged_to": one.charged_to,
                }
                for one in self.passes
            ],
            "denials": [
                {"at": _instant(one.denied_at), "terminal": one.device, "method": one.method, "reason": one.reason}
                for one in self.denials
            ],
            "account": [
                {"at": _instant(one.noted_at), "kind": one.kind, "cents": one.cents, "meal": _day_of(one.meal)}
                for one in self.account
            ],
            "erasures": [
                {
                    "asked_at": _instant(one.asked_at),
                    "cause": one.cause,
                    "scope": one.scope,
                    "completed_at": _instant(one.completed_at),
                    "confirmed_by": [holder.device for holder in self.confirmed.get(one.purge, [])],
                }
                for one in self.purges
            ],
        }


def held_data(session: Session, pupils: PupilRegistry, pupil: str) -> HeldData | None:
    """What is held of `pupil`; None if nobody of that pseudonym is, or was, on the roster."""
    row = session.get(PupilRow, pupil)
    if row is None:
        return None
    purges = list(session.scalars(select(Purge).where(Purge.pupil == pupil).order_by(Purge.asked_at)))
    confirmed: dict[str, list[PurgeHolder]] = {}
    answered = select(PurgeHolder).where(
        PurgeHolder.purge.in_([purge.purge for purge in purges]), PurgeHolder.received_at.is_not(None)
    )
    for holder in session.scalars(answered.order_by(PurgeHolder.device)):
        confirmed.setdefault(holder.purge, []).append(holder)
    passes = select(MealPassRow).where(MealPassRow.pupil == pupil)
    denials = select(Denial).where(Denial.pupil == pupil)
    account = select(AccountEntry).where(AccountEntry.pupil == pupil)
    return HeldData(
        row=row,
        identity=pupils.identity(row),
        has_code=row.code_sealed is not None,
        consents=list(session.scalars(select(ConsentRow).where(ConsentRow.pupil == pupil).order_by(ConsentRow.id))),
        holdings=list(session.scalars(select(Holding).where(Holding.pupil == pupil).order_by(Holding.device))),
        cards=list(session.scalars(select(Card).where(Card.pupil == pupil).order_by(Card.id))),
        passes=list(session.scalars(passes.order_by(MealPassRow.granted_at, MealPassRow.position))),
        denials=list(session.scalars(denials.order_by(Denial.denied_at, Denial.position))),
        account=list(session.scalars(account.order_by(AccountEntry.id))),
        purges=purges,
        confirmed=confirmed,
    )


def _instant(value: Any) -> str | None:
    return None if value is None else value.isoformat()


def _day_of(meal: str | None) -> str | None:
    return None if meal is None else meal.split("/")[1]
