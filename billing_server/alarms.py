"""Alarms: what a human should look at. The same trouble again counts up instead of making a second row."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from billing_server.models import Alarm


class AlarmKind(StrEnum):
    """What may be wrong. Values are stored; never renamed."""

    GAP = "gap"
    """Entries are missing: nothing beyond them is taken until they come."""
    FORK = "fork"
    """Two different entries claim one place in a journal; both are kept."""
    NEW_GENERATION = "new-generation"
    """A device began a new journal: replaced, reset, or its card was swapped."""
    BAD_SIGNATURE = "bad-signature"
    MALFORMED_FACT = "malformed-fact"
    """Signed, in its place, but not a fact that this version knows; kept as it is."""
    NOT_ITS_FACT = "not-its-fact"
    """A device told what only the other kind of device may tell."""
    UNKNOWN_PUPIL = "unknown-pupil"
    DOUBLE_SERVICE = "double-service"
    """A pupil was served at two terminals at one serving moment: the earlier is billed, a human settles the later."""
    PREPAID_OVERDRAWN = "prepaid-overdrawn"
    """An external has eaten more than was paid in advance: at two terminals that did not hear each other, say."""
    PASS_REPEATED = "pass-repeated"
    OUTCOME_CONFLICT = "outcome-conflict"
    """An outcome for a pass that is not here, or that already has another."""
    REFERENCE_DROPPED = "reference-dropped"
    """A reference was not passed on: no consent, departed, or no such terminal."""
    CARD_UNREADABLE = "card-unreadable"
    CARD_MOVED = "card-moved"
    """A card that was another pupil's was given away again."""
    ORDER_REFUSED = "order-refused"
    DEVICE_RESTORED = "device-restored"
    """A device has forgotten orders that it had carried out: an old storage card was put back."""
    SERVER_RESTORED = "server-restored"
    """A device has done orders that are not here: an older backup of this server was put back."""
    RECEIPT_MISMATCH = "receipt-mismatch"
    PURGE_ASKED_AGAIN = "purge-asked-again"
    """A receipt quotes a departure that an older backup of this server does not have: it was entered again."""
    PURGE_DUE_SOON = "purge-due-soon"
    PURGE_OVERDUE = "purge-overdue"


_ALARMS = cast("Table", Alarm.__table__)
_CLOSE = (
    update(_ALARMS)
    .where(_ALARMS.c.kind == bindparam("of"), _ALARMS.c.about == bindparam("what"), _ALARMS.c.closed_at.is_(None))
    .values(closed_at=bindparam("now"))
)
"""Ready made, for it is part of every transaction of the ledger."""


def raise_alarm(
    session: Session, kind: AlarmKind, about: str, now: datetime, *, device: str | None = None, detail: str = ""
) -> None:
    """Open an alarm, or count one more on the open alarm of this `kind` about the same thing.

    `about` tells two troubles of one kind apart; `detail` is a few words for the page. Neither holds personal data.
    """
    alarm = _open_alarm(session, kind, about)
    if alarm is None:
        session.add(
            Alarm(kind=kind.value, about=about, device=device, detail=detail, times=1, raised_at=now, last_at=now)
        )
        session.flush()
    else:
        alarm.times += 1
        alarm.last_at = now
        alarm.detail = detail


def close_alarm(session: Session, kind: AlarmKind, about: str, now: datetime) -> None:
    """The trouble is over; nothing happens if there was none."""
    session.flush()
    session.connection().execute(_CLOSE, {"of": kind.value, "what": about, "now": now})


def _open_alarm(session: Session, kind: AlarmKind, about: str) -> Alarm | None:
    return session.scalars(
        select(Alarm).where(Alarm.kind == kind.value, Alarm.about == about, Alarm.closed_at.is_(None)).limit(1)
    ).one_or_none()
