"""Prepaid meals, pupil by pupil: what is left, what moved, and two ways to move it. Nothing is changed or deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from billing_server import audit, wording
from billing_server.accounts import AccountKind
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.errors import UnknownPupil
from billing_server.models import AccountEntry, PupilRow
from billing_server.presenting import full_name
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from canteen.entitlements import EntitlementKind
from canteen.errors import InvalidIdentifier
from canteen.identifiers import PupilId, parse_pupil_id

router = APIRouter()

_MOVES_SHOWN = 40
_CENTS_MOST = 1_000_000
_AMOUNT = re.compile(r"([+\-−]?)\s*(\d{1,5})(?:[.,](\d{1,2}))?\s*€?")


@dataclass(frozen=True, slots=True)
class AccountLine:
    """A pupil's account."""

    pupil: str
    who: str = field(repr=False)
    class_name: str = field(repr=False)
    cents: int | None
    meals_left: int | None


@router.get("/soldes", response_class=HTMLResponse)
def page(request: Request, services: TheServices, operator: TheOperator, refuse: bool = False) -> HTMLResponse:
    """Who has how many meals left, those below zero first; the latest movements."""
    with services.database.writing() as session:
        now = services.clock.utc_now()
        audit.note(session, operator.name, Action.SAW_ACCOUNTS, now)
        text = text_for(request, services, session)
        lines = _lines(services, session)
        latest = select(AccountEntry).order_by(AccountEntry.id.desc()).limit(_MOVES_SHOWN)
        entries = session.scalars(latest).all()
        identities = services.pupils.identities(session, (entry.pupil for entry in entries))
        moves = [
            {
                "at": text.moment(entry.noted_at),
                "who": text("Inconnu") if (one := identities.get(entry.pupil)) is None else full_name(one),
                "what": text(wording.ACCOUNTS[AccountKind(entry.kind)]),
                "euros": euros(entry.cents),
                "by": text("règle") if entry.noted_by == "rule" else entry.noted_by,
            }
            for entry in entries
        ]
    context = {
        "here": "eleves",
        "lines": lines,
        "moves": moves,
        "euros": euros,
        "price": services.settings.school.meal_cents,
        "refused": refuse,
    }
    return render(request, "soldes.html", text, context)


@router.post("/soldes")
def move(
    services: TheServices,
    operator: TheOperator,
    pupil: Annotated[str, Form(max_length=18)],
    montant: Annotated[str, Form(max_length=20)],
    nature: Annotated[AccountKind, Form()],
    motif: Annotated[str, Form(max_length=200, pattern="^[^\\x00]*$")] = "",
) -> Response:
    """One more entry: a purchase, or a correction up or down. The reason goes into the audit."""
    cents = read_euros(montant)
    purchase = nature is AccountKind.PURCHASE
    if cents is None or nature is AccountKind.MEAL or (purchase and cents < 0):
        return RedirectResponse("/soldes?refuse=1", 303)
    try:
        with services.database.writing() as session:
            known = parse_pupil_id(pupil)
            note = services.accounts.credit if purchase else services.accounts.correct
            note(session, known, cents, operator.name)
            action = Action.CREDITED_MEALS if purchase else Action.CORRECTED_ACCOUNT
            audit.note(session, operator.name, action, services.clock.utc_now(), f"{known}: {cents} {motif}".strip())
    except (InvalidIdentifier, UnknownPupil) as error:
        raise HTTPException(404, "no such pupil") from error
    return RedirectResponse("/soldes", 303)


def read_euros(untrusted_amount: str) -> int | None:
    """Whole cents of an amount as it is written, "42", "4,20" or "-4.2"; None if it is none, or nothing at all."""
    found = _AMOUNT.fullmatch(untrusted_amount.strip())
    if found is None:
        return None
    sign, whole, part = found.groups()
    cents = int(whole) * 100 + int((part or "0").ljust(2, "0"))
    return None if not 0 < cents <= _CENTS_MOST else -cents if sign in ("-", "−") else cents


def euros(cents: int) -> str:
    """For example "−4,20 €"."""
    return f"{'−' if cents < 0 else ''}{abs(cents) // 100},{abs(cents) % 100:02d} €"


def _lines(services: Services, session: Session) -> list[AccountLine]:
    left = services.balances.meals_left(session)
    accounts = set(session.scalars(select(AccountEntry.pupil)))
    lines = []
    for row in session.scalars(select(PupilRow).where(PupilRow.departed_at.is_(None))):
        has = row.pupil in accounts
        if not has and EntitlementKind.EXTERNAL_MEAL.value not in row.entitlements:
            continue
        identity = services.pupils.identity(row)
        cents = services.accounts.balance_cents(session, row.pupil) if has else None
        lines.append(
            AccountLine(row.pupil, full_name(identity), identity.class_name, cents, left.get(PupilId(row.pupil)))
        )
    lines.sort(key=lambda line: (line.cents is None or line.cents >= 0, line.class_name, line.who.casefold()))
    return lines
