"""The JSON interface under /api: for the demonstration, a central server, and whoever automates the school."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from sqlalchemy import select

from billing_server import audit, reading
from billing_server.audit import Action
from billing_server.errors import CodeTaken, DeviceConflict, UnknownCard, UnknownPupil
from billing_server.models import Card, PupilRow, Purge, PurgeHolder, Refusal
from billing_server.routes import shapes
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.school import store_calendar_order
from canteen.access_decision import MissingEntitlement
from canteen.errors import CanteenError, InvalidIdentifier
from canteen.identifiers import parse_device_id, parse_pupil_id, parse_purge_id
from sync.encoding import Fields
from sync.order_bodies import read_calendar
from sync.orders import CalendarOrder, DeviceEntry
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

router = APIRouter(prefix="/api")

After = Annotated[int, Query(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=5000)]


@router.get("/health")
def health(services: TheServices, response: Response) -> dict[str, bool]:
    """Whether the server can do its work; says nothing else, since anyone may ask."""
    ready = services.database.answers() and (services.settings.broker is None or services.line.connected)
    response.status_code = 200 if ready else 503
    return {"ready": ready}


@router.post("/devices", status_code=201)
def register_device(
    asked: shapes.DeviceIn, services: TheServices, operator: TheOperator, response: Response
) -> dict[str, Any]:
    """Take a device in; saying it again changes nothing."""
    fields = Fields({"verifying_key": asked.verifying_key, "sealing_key": asked.sealing_key})
    try:
        entry = DeviceEntry(
            parse_device_id(asked.device),
            asked.role,
            VerifyingKey(fields.octets("verifying_key", 100)),
            SealingKey(fields.octets("sealing_key", 100)),
        )
        entry.sealing_key.seal(b"", {})  # a key nobody can seal for would stop every order later
    except CanteenError as error:
        raise HTTPException(422, str(error)) from error
    try:
        with services.database.writing() as session:
            new = services.devices.register(session, entry)
            if new:
                now = services.clock.utc_now()
                audit.note(session, operator.name, Action.REGISTERED_DEVICE, now, entry.device)
    except DeviceConflict as error:
        raise HTTPException(409, str(error)) from error
    response.status_code = 201 if new else 200
    return {"device": entry.device, "new": new}


@router.post("/pupils", status_code=201)
def add_pupils(asked: list[shapes.PupilIn], services: TheServices, operator: TheOperator) -> list[dict[str, str]]:
    """Add pupils, all or none; the answer holds their codes."""
    try:
        new_pupils = [item.new_pupil() for item in asked]
    except CanteenError as error:
        raise HTTPException(422, str(error) or type(error).__name__) from error
    try:
        with services.database.writing() as session:
            added = services.pupils.add(session, new_pupils)
            audit.note(session, operator.name, Action.ADDED_PUPILS, services.clock.utc_now(), str(len(added)))
    except CodeTaken as error:
        raise HTTPException(409, str(error)) from error
    return [{"pupil": pupil, "code": code.digits} for pupil, code in added]


@router.get("/pupils")
def list_pupils(services: TheServices, operator: TheOperator, codes: bool = False) -> list[dict[str, Any]]:
    """The roster; with `codes=1` the personal codes too, which the audit says apart."""
    with services.database.writing() as session:
        action = Action.SAW_CODES if codes else Action.SAW_ROSTER
        audit.note(session, operator.name, action, services.clock.utc_now())
        cards: dict[str, list[dict[str, Any]]] = {}
        for card in session.scalars(select(Card).order_by(Card.id)):
            cards.setdefault(card.pupil, []).append({"card": card.id, "blocked": card.blocked_at is not None})
        listed = []
        for row in session.scalars(select(PupilRow).order_by(PupilRow.added_at, PupilRow.pupil)):
            identity = services.pupils.identity(row)
            item = {
                "pupil": row.pupil,
                "first_name": identity.first_name,
                "last_name": identity.last_name,
                "class_name": identity.class_name,
                "entitlements": json.loads(row.entitlements),
                "consent": row.consent_state,
                "departed_at": shapes.instant(row.departed_at),
                "cards": cards.get(row.pupil, []),
            }
            if codes:
                code = services.pupils.code(row)
                item["code"] = None if code is None else code.digits
            listed.append(item)
    return listed


@router.put("/calendar")
def change_calendar(asked: shapes.CalendarIn, services: TheServices, operator: TheOperator) -> dict[str, bool]:
    """Set when meals are served, and tell every device."""
    untrusted = {"timezone": asked.timezone, "periods": asked.periods, "closed_days": asked.closed_days}
    try:
        calendar = read_calendar(untrusted)
        missing = None if asked.missing_entitlement is None else MissingEntitlement(asked.missing_entitlement)
    except (CanteenError, ValueError) as error:
        raise HTTPException(422, str(error)) from error
    with services.database.writing() as session:
        present = services.school.calendar_order(session)
        order = CalendarOrder(
            asked.school_name or present.school_name,
            calendar,
            missing or present.missing_entitlement,
            present.code_length,
            present.hand_policy if asked.hand_policy is None else asked.hand_policy,
        )
        store_calendar_order(session, order)
        services.orders.issue_to_all(session, order)
        audit.note(session, operator.name, Action.CHANGED_CALENDAR, services.clock.utc_now())
    return {"changed": True}


@router.post("/pupils/{untrusted_pupil}/departure")
def depart(
    untrusted_pupil: str, services: TheServices, operator: TheOperator, asked: shapes.DepartureIn | None = None
) -> dict[str, str]:
    """The pupil leaves: cards blocked, everything erased everywhere; asking again gives the same purge."""
    cause = (asked or shapes.DepartureIn()).cause
    try:
        with services.database.writing() as session:
            pupil = parse_pupil_id(untrusted_pupil)
            purge = services.purges.depart(session, pupil, cause, operator.name)
            audit.note(session, operator.name, Action.DEPARTED_PUPIL, services.clock.utc_now(), pupil)
    except (InvalidIdentifier, UnknownPupil) as error:
        raise HTTPException(404, "no such pupil") from error
    return {"purge": purge}


@router.post("/cards/{card}/block")
def block_card(card: int, services: TheServices, operator: TheOperator) -> dict[str, bool]:
    """A card is lost: every device is told to refuse it."""
    try:
        with services.database.writing() as session:
            services.cards.block(session, card)
            audit.note(session, operator.name, Action.BLOCKED_CARD, services.clock.utc_now(), str(card))
    except UnknownCard as error:
        raise HTTPException(404, "no such card") from error
    return {"blocked": True}


@router.get("/passes")
def pull_passes(services: TheServices, operator: TheOperator, after: After = 0, limit: Limit = 500) -> dict[str, Any]:
    """Passes by cursor: give back `next` as `after`, and none is skipped or repeated, whatever is written meanwhile.

    `outcome` is as of now; the outcome of a pass already pulled comes by /api/outcomes.
    """
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.PULLED_PASSES, services.clock.utc_now(), str(after))
        rows = reading.passes_after(session, after, limit)
        return {"passes": [shapes.pass_json(row) for row in rows], "next": rows[-1].position if rows else after}


@router.get("/outcomes")
def pull_outcomes(services: TheServices, operator: TheOperator, after: After = 0, limit: Limit = 500) -> dict[str, Any]:
    """What became of passes, by a cursor of its own."""
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.PULLED_PASSES, services.clock.utc_now(), f"outcomes {after}")
        rows = reading.outcomes_after(session, after, limit)
        return {"outcomes": [shapes.outcome_json(row) for row in rows], "next": _last_outcome(rows, after)}


@router.get("/denials")
def pull_denials(services: TheServices, operator: TheOperator, after: After = 0, limit: Limit = 500) -> dict[str, Any]:
    """Denials by cursor, as passes."""
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.PULLED_DENIALS, services.clock.utc_now(), str(after))
        rows = reading.denials_after(session, after, limit)
        return {"denials": [shapes.denial_json(row) for row in rows], "next": rows[-1].position if rows else after}


@router.post("/pupils/{untrusted_pupil}/credit")
def credit_meals(
    untrusted_pupil: str, asked: shapes.CreditIn, services: TheServices, operator: TheOperator
) -> dict[str, int]:
    """A family has paid prepaid meals, in cents; what is left now."""
    try:
        with services.database.writing() as session:
            pupil = parse_pupil_id(untrusted_pupil)
            services.accounts.credit(session, pupil, asked.cents, operator.name)
            audit.note(session, operator.name, Action.CREDITED_MEALS, services.clock.utc_now(), pupil)
            return {"balance_cents": services.accounts.balance_cents(session, pupil)}
    except (InvalidIdentifier, UnknownPupil) as error:
        raise HTTPException(404, "no such pupil") from error


@router.get("/counts")
def counts(services: TheServices, day: date | None = None) -> dict[str, Any]:
    """A day in numbers (today at the school without `day`)."""
    with services.database.reading() as session:
        today = services.school.calendar(session).local_day(services.clock.utc_now())
        counted = reading.counts_of(session, day or today)
    return {
        "day": counted.day.isoformat(),
        "served": sum(period.served for period in counted.periods),
        "early": sum(period.early for period in counted.periods),
        "periods": [
            {
                "period": period.period,
                "served": period.served,
                "early": period.early,
                "by_method": period.by_method,
                "by_outcome": period.by_outcome,
                "to_come": period.to_come,
            }
            for period in counted.periods
        ],
        "denied": counted.denied,
    }


@router.get("/purges")
def list_purges(services: TheServices, operator: TheOperator) -> list[dict[str, Any]]:
    """All purges, newest first."""
    with services.database.writing() as session:
        audit.note(session, operator.name, Action.SAW_PURGES, services.clock.utc_now())
        holders: dict[str, list[PurgeHolder]] = {}
        for holder in session.scalars(select(PurgeHolder).order_by(PurgeHolder.device)):
            holders.setdefault(holder.purge, []).append(holder)
        rows = session.scalars(select(Purge).order_by(Purge.asked_at.desc()))
        return [shapes.purge_json(row, holders.get(row.purge, [])) for row in rows]


@router.get("/purges/{untrusted_purge}")
def show_purge(untrusted_purge: str, services: TheServices, operator: TheOperator) -> dict[str, Any]:
    """A purge with its signed receipts and the keys that verify them."""
    try:
        purge_id = parse_purge_id(untrusted_purge)
    except InvalidIdentifier as error:
        raise HTTPException(404, "no such purge") from error
    with services.database.writing() as session:
        purge = session.get(Purge, purge_id)
        if purge is None:
            raise HTTPException(404, "no such purge")
        audit.note(session, operator.name, Action.SAW_PURGES, services.clock.utc_now(), purge_id)
        holders = list(
            session.scalars(select(PurgeHolder).where(PurgeHolder.purge == purge_id).order_by(PurgeHolder.device))
        )
        return {**shapes.purge_json(purge, holders), "holders": shapes.receipts_json(session, holders)}


@router.get("/state")
def state(services: TheServices) -> dict[str, Any]:
    """How each device stands, what was refused, which alarms are open."""
    with services.database.reading() as session:
        return {
            "connected": services.line.connected,
            "devices": [shapes.device_json(item) for item in reading.device_states(session)],
            "alarms": [
                {
                    "alarm": alarm.id,
                    "kind": alarm.kind,
                    "about": alarm.about,
                    "device": alarm.device,
                    "detail": alarm.detail,
                    "times": alarm.times,
                    "raised_at": shapes.instant(alarm.raised_at),
                    "last_at": shapes.instant(alarm.last_at),
                }
                for alarm in reading.open_alarms(session)
            ],
            "refused": [
                {"device": row.device, "why": row.why, "times": row.times}
                for row in session.scalars(select(Refusal).order_by(Refusal.device, Refusal.why))
            ],
        }


def _last_outcome(rows: Any, after: int) -> int:
    return int(rows[-1].outcome_position) if rows else after
