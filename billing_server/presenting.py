"""Rows of the ledger as the pages show them: names opened, words chosen, instants in the school's time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server import reading, wording
from billing_server.assembly import Services
from billing_server.enrollment_advice import to_enroll_anew
from billing_server.ledger import stored_entry
from billing_server.models import (
    Card,
    Denial,
    Device,
    Entry,
    MealPassRow,
    PupilRow,
    Purge,
    PurgeHolder,
    leads_to_nobody,
)
from billing_server.roster import Identity
from billing_server.text import Text
from canteen.access_decision import Reason
from canteen.clock import ClockTrust
from canteen.consent import ConsentState, may_use_biometrics
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassMethod, PassOutcome
from sync.errors import BadSignature
from sync.orders import PurgeCause, PurgeScope
from sync.signing import VerifyingKey


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A pass or a denial, ready to read. `tone` is "good", "open", "odd" or "bad"."""

    key: str
    time: str
    who: str = field(repr=False)
    class_name: str = field(repr=False)
    device: str
    method: PassMethod
    method_text: str
    tone: str
    outcome: str
    remark: str
    clock_doubt: bool


_TONES = {
    PassOutcome.OPEN: "open",
    PassOutcome.COMPLETED: "good",
    PassOutcome.ABANDONED: "odd",
    PassOutcome.UNRESOLVED: "odd",
}


def ledger_lines(services: Services, session: Session, text: Text, day: date, limit: int) -> list[LedgerLine]:
    """Today's passes and denials, newest first."""
    rows = reading.latest_of_day(session, day, limit)
    identities = services.pupils.identities(session, (row.pupil for row in rows))
    return [_ledger_line(row, None if row.pupil is None else identities.get(row.pupil), text) for row in rows]


def _ledger_line(row: MealPassRow | Denial, identity: Identity | None, text: Text) -> LedgerLine:
    method = PassMethod(row.method)
    if isinstance(row, MealPassRow):
        outcome = PassOutcome(row.outcome)
        key, tone, said = f"p{row.position}", _TONES[outcome], text(wording.OUTCOMES[outcome])
        remark = row.forced_because or ""
    else:
        key, tone, said = f"d{row.position}", "bad", text("Refusé")
        remark = text(wording.REASONS[Reason(row.reason)])
    return LedgerLine(
        key=key,
        time=text.time(reading.happened_at(row)),
        who=named(identity, row.pupil, text),
        class_name="" if identity is None else identity.class_name,
        device=row.device,
        method=method,
        method_text=text(wording.METHODS[method]),
        tone=tone,
        outcome=said,
        remark=remark,
        clock_doubt=row.clock_trust != ClockTrust.TRUSTED,
    )


def named(identity: Identity | None, pupil: str | None, text: Text) -> str:
    """Who it is, or why that cannot be said."""
    if identity is not None:
        return full_name(identity)
    return text("Plus relié à un élève") if pupil is not None and leads_to_nobody(pupil) else text("Inconnu")


def full_name(identity: Identity) -> str:
    return f"{identity.first_name} {identity.last_name}"


@dataclass(frozen=True, slots=True)
class PupilLine:
    """A pupil in the roster page."""

    pupil: str
    last_name: str = field(repr=False)
    first_name: str = field(repr=False)
    class_name: str = field(repr=False)
    meals: str
    consent: ConsentState
    consent_text: str
    enroll_anew: bool
    """A terminal finds that the hand has left its reference."""
    card: Card | None
    blocked_card: int | None
    """The card that was blocked last, where none is in use."""
    departed: str | None


def pupil_lines(services: Services, session: Session, text: Text) -> list[PupilLine]:
    """All pupils, by class and name."""
    cards: dict[str, list[Card]] = {}
    for card in session.scalars(select(Card).order_by(Card.id)):
        cards.setdefault(card.pupil, []).append(card)
    anew = to_enroll_anew(session)
    lines = []
    for row in session.scalars(select(PupilRow)):
        identity = services.pupils.identity(row)
        own = cards.get(row.pupil, [])
        consent = ConsentState(row.consent_state)
        lines.append(
            PupilLine(
                pupil=row.pupil,
                last_name=identity.last_name,
                first_name=identity.first_name,
                class_name=identity.class_name,
                meals=meals(row, text),
                consent=consent,
                consent_text=text(wording.CONSENTS[consent]),
                enroll_anew=row.pupil in anew and may_use_biometrics(consent),
                card=next((card for card in reversed(own) if card.blocked_at is None), None),
                blocked_card=max((card.id for card in own if card.blocked_at is not None), default=None),
                departed=None if row.departed_at is None else text.moment(row.departed_at),
            )
        )
    lines.sort(key=lambda line: (line.class_name, line.last_name.casefold(), line.first_name.casefold()))
    return lines


def meals(row: PupilRow, text: Text) -> str:
    """What the pupil is entitled to, in words."""
    kinds = [EntitlementKind(item["kind"]) for item in json.loads(row.entitlements)]
    said = dict.fromkeys(text(wording.ENTITLEMENTS[kind]) for kind in kinds)
    return ", ".join(said) if said else text("Aucun repas")


@dataclass(frozen=True, slots=True)
class HolderLine:
    """One device's part in a purge. `verified` is this page's own check of the receipt's signature, made just now."""

    device: str
    held_reference: bool
    order: int
    confirmed: str | None
    erased: str | None
    record_digest: str | None
    epochs: str
    entry: str
    verified: bool


@dataclass(frozen=True, slots=True)
class PurgeCard:
    """A purge in its page. `days_left` is None once it is complete, below zero when it is late."""

    purge: str
    who: str = field(repr=False)
    class_name: str = field(repr=False)
    cause: str
    scope: str
    asked: str
    asked_by: str
    deadline: str
    completed: str | None
    days_left: int | None
    lease_ended: str | None
    holders: list[HolderLine]

    @property
    def confirmed(self) -> int:
        return sum(holder.confirmed is not None for holder in self.holders)

    @property
    def tone(self) -> str:
        if self.days_left is None:
            return "good"
        return "bad" if self.days_left < 0 else "odd" if self.days_left <= 3 else "open"


def purge_cards(
    services: Services, session: Session, text: Text, most: int | None = None
) -> tuple[list[PurgeCard], int, int]:
    """Purges: those still running first, the most urgent on top, then those done, the latest on top; at `most` so many
    of each. And how many there are of each.
    """
    running, done = Purge.completed_at.is_(None), Purge.completed_at.is_not(None)
    urgent = session.scalars(select(Purge).where(running).order_by(Purge.deadline, Purge.purge).limit(most)).all()
    latest = session.scalars(select(Purge).where(done).order_by(Purge.completed_at.desc()).limit(most)).all()
    purges = [*urgent, *latest]
    holders: dict[str, list[PurgeHolder]] = {}
    shown = select(PurgeHolder).where(PurgeHolder.purge.in_([purge.purge for purge in purges]))
    for holder in session.scalars(shown.order_by(PurgeHolder.device)):
        holders.setdefault(holder.purge, []).append(holder)
    identities = services.pupils.identities(session, (purge.pupil for purge in purges))
    keys = {row.device: VerifyingKey(row.verifying_key) for row in session.scalars(select(Device))}
    now = services.clock.utc_now()
    cards = [
        PurgeCard(
            purge=purge.purge,
            who=full_name(identities[purge.pupil]),
            class_name=identities[purge.pupil].class_name,
            cause=text(wording.CAUSES[PurgeCause(purge.cause)]),
            scope=text(wording.SCOPES[PurgeScope(purge.scope)]),
            asked=text.moment(purge.asked_at),
            asked_by=purge.asked_by,
            deadline=text.moment(purge.deadline),
            completed=None if purge.completed_at is None else text.moment(purge.completed_at),
            days_left=None if purge.completed_at is not None else days_until(now, purge.deadline),
            lease_ended=None if purge.lease_ended_at is None else text.moment(purge.lease_ended_at),
            holders=[_holder_line(session, holder, keys, text) for holder in holders.get(purge.purge, [])],
        )
        for purge in purges
    ]
    counted = [session.scalar(select(func.count()).select_from(Purge).where(which)) or 0 for which in (running, done)]
    return cards, counted[0], counted[1]


def days_until(now: datetime, deadline: datetime) -> int:
    """Days left, a begun day counted whole; below zero as soon as the deadline has passed."""
    left = -((now - deadline) // timedelta(days=1))
    return left if left > 0 else left - 1


def _holder_line(session: Session, holder: PurgeHolder, keys: dict[str, VerifyingKey], text: Text) -> HolderLine:
    entry, verified = "", False
    if holder.receipt_generation is not None and holder.receipt_sequence is not None:
        row = session.get_one(Entry, (holder.device, holder.receipt_generation, holder.receipt_sequence))
        entry = f"{holder.receipt_generation}/{holder.receipt_sequence}"
        try:
            stored_entry(row).verify(keys[holder.device])
            verified = True
        except BadSignature:
            verified = False
    return HolderLine(
        device=holder.device,
        held_reference=holder.held_reference,
        order=holder.order_number,
        confirmed=None if holder.received_at is None else text.moment(holder.received_at),
        erased=None if holder.erased_at is None else text.moment(holder.erased_at),
        record_digest=holder.record_digest,
        epochs=f"{holder.epoch_before} → {holder.epoch_after}",
        entry=entry,
        verified=verified,
    )
