"""The JSON of the machine interface: what comes in is checked by these models, what goes out is built here."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.ledger import stored_entry
from billing_server.models import Denial, Device, Entry, MealPassRow, Purge, PurgeHolder
from billing_server.reading import DeviceState
from billing_server.roster import Identity, NewPupil
from canteen.credentials import PersonalCode
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.hand_policy import HandPolicy
from sync.encoding import octets_text
from sync.orders import DeviceRole, PurgeCause

_Name = Field(min_length=1, max_length=100, repr=False)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class EntitlementIn(_Strict):
    kind: EntitlementKind
    weekdays: list[int] = Field(min_length=1, max_length=7)
    valid_from: date = Field(alias="from")
    until: date

    def entitlement(self) -> Entitlement:
        """Raises InvalidEntitlement."""
        return Entitlement(self.kind, frozenset(self.weekdays), self.valid_from, self.until)


class PupilIn(_Strict):
    first_name: str = _Name
    last_name: str = _Name
    class_name: str = Field(min_length=1, max_length=40, repr=False)
    entitlements: list[EntitlementIn] = Field(default=[], max_length=50)
    code: str | None = Field(default=None, max_length=8, repr=False)

    def new_pupil(self) -> NewPupil:
        """Raises InvalidEntitlement or InvalidPersonalCode."""
        return NewPupil(
            Identity(self.first_name, self.last_name, self.class_name),
            tuple(item.entitlement() for item in self.entitlements),
            None if self.code is None else PersonalCode(self.code),
        )


class DeviceIn(_Strict):
    device: str
    role: DeviceRole
    verifying_key: str = Field(max_length=100)
    sealing_key: str = Field(max_length=100)


class CreditIn(_Strict):
    cents: int = Field(gt=0, le=1_000_000)


class DepartureIn(_Strict):
    cause: PurgeCause = PurgeCause.DEPARTURE


class CalendarIn(_Strict):
    timezone: str = Field(max_length=60)
    periods: list[dict[str, Any]] = Field(max_length=50)
    closed_days: list[str] = Field(default=[], max_length=2000)
    school_name: str | None = Field(default=None, min_length=1, max_length=200)
    missing_entitlement: str | None = Field(default=None, max_length=40)
    hand_policy: HandPolicy | None = None


def instant(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def pass_json(row: MealPassRow) -> dict[str, Any]:
    return {
        "position": row.position,
        "pass": row.pass_id,
        "device": row.device,
        "generation": row.generation,
        "sequence": row.sequence,
        "pupil": row.pupil,
        "method": row.method,
        "day": row.day.isoformat(),
        "period": row.period,
        "charged_to": row.charged_to,
        "granted_at": instant(row.granted_at),
        "clock_trust": row.clock_trust,
        "forced_because": row.forced_because,
        "outcome": row.outcome,
        "outcome_at": instant(row.outcome_at),
    }


def outcome_json(row: MealPassRow) -> dict[str, Any]:
    return {
        "position": row.outcome_position,
        "pass": row.pass_id,
        "device": row.device,
        "outcome": row.outcome,
        "outcome_at": instant(row.outcome_at),
    }


def denial_json(row: Denial) -> dict[str, Any]:
    return {
        "position": row.position,
        "pass": row.pass_id,
        "device": row.device,
        "generation": row.generation,
        "sequence": row.sequence,
        "pupil": row.pupil,
        "method": row.method,
        "reason": row.reason,
        "day": row.day.isoformat(),
        "denied_at": instant(row.denied_at),
        "clock_trust": row.clock_trust,
    }


def device_json(state: DeviceState) -> dict[str, Any]:
    return {
        "device": state.device.device,
        "role": state.device.role,
        "registered_at": instant(state.device.registered_at),
        "last_contact": instant(state.last_contact),
        "generation": state.generation,
        "entries": state.entries,
        "last_entries_at": instant(state.last_entries_at),
        "missing": state.missing_from,
        "backlog": state.backlog,
        "clock_trust": state.clock_trust,
        "revoked_at": instant(state.device.revoked_at),
        "pending_by_kind": state.pending,
        "orders_pending": state.orders_waiting,
        "orders_applied": state.orders_answered - state.orders_refused,
        "orders_refused": state.orders_refused,
    }


def purge_json(purge: Purge, holders: list[PurgeHolder]) -> dict[str, Any]:
    return {
        "purge": purge.purge,
        "pupil": purge.pupil,
        "scope": purge.scope,
        "cause": purge.cause,
        "asked_at": instant(purge.asked_at),
        "asked_by": purge.asked_by,
        "deadline": instant(purge.deadline),
        "completed_at": instant(purge.completed_at),
        "complete": purge.completed_at is not None,
        "confirmed": [holder.device for holder in holders if holder.received_at is not None],
        "missing": [holder.device for holder in holders if holder.received_at is None],
    }


def receipts_json(session: Session, holders: list[PurgeHolder]) -> list[dict[str, Any]]:
    """Each holder's receipt, with all that an officer needs to verify it."""
    return [
        {
            "device": holder.device,
            "order": holder.order_number,
            "held_reference": holder.held_reference,
            "received_at": instant(holder.received_at),
            "erased_at": instant(holder.erased_at),
            "record_digest": holder.record_digest,
            "epoch_before": holder.epoch_before,
            "epoch_after": holder.epoch_after,
            "receipt": _receipt_json(session, holder),
        }
        for holder in holders
    ]


def _receipt_json(session: Session, holder: PurgeHolder) -> dict[str, Any] | None:
    if holder.receipt_generation is None or holder.receipt_sequence is None:
        return None
    entry = session.get_one(Entry, (holder.device, holder.receipt_generation, holder.receipt_sequence))
    signed = stored_entry(entry)
    key = session.scalars(select(Device.verifying_key).where(Device.device == holder.device)).one()
    return {
        "header": signed.header,
        "body": signed.body,
        "signature": octets_text(signed.signature),
        "verifying_key": octets_text(key),
    }
