"""The access log: who of the staff looked at personal data, or changed something. Identifiers only, never a name."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from billing_server.models import Audit


class Action(StrEnum):
    """Values are stored; never renamed."""

    ENTERED = "entered"
    SAW_LEDGER = "saw-ledger"
    SAW_ROSTER = "saw-roster"
    SAW_HELD_DATA = "saw-held-data"
    SAW_ALARMS = "saw-alarms"
    SAW_CODES = "saw-codes"
    SAW_PURGES = "saw-purges"
    PULLED_PASSES = "pulled-passes"
    PULLED_DENIALS = "pulled-denials"
    ADDED_PUPILS = "added-pupils"
    DEPARTED_PUPIL = "departed-pupil"
    BLOCKED_CARD = "blocked-card"
    CHANGED_CALENDAR = "changed-calendar"
    CHANGED_HAND_POLICY = "changed-hand-policy"
    REGISTERED_DEVICE = "registered-device"
    CLOSED_ALARM = "closed-alarm"
    CLIENT_PULLED = "client-pulled"
    CLIENT_REFUSED = "client-refused"
    SAW_RECONCILIATION = "saw-reconciliation"
    CERTIFIED_DAY = "certified-day"
    SETTLED_PASS = "settled-pass"
    SETTLED_FORK = "settled-fork"
    CREDITED_MEALS = "credited-meals"
    CORRECTED_ACCOUNT = "corrected-account"
    SAW_ACCOUNTS = "saw-accounts"
    EXPORTED_RECEIPTS = "exported-receipts"
    CERTIFIED_PURGE = "certified-purge"
    CARRIED_IN = "carried-in"
    CARRIED_OUT = "carried-out"
    MADE_DEVICE_CODE = "made-device-code"
    REVOKED_DEVICE = "revoked-device"


def note(session: Session, operator: str, action: Action, now: datetime, subject: str = "") -> None:
    """Write it down, in the same transaction as what was done."""
    session.add(Audit(at=now, operator=operator, action=action.value, subject=subject))
