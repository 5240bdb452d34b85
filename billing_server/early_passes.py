"""Today's passes counted early: what terminals tell each other, while their journals are still on their way here.

A journal is taken from its beginning, so after a month without a network today's passes come last. Terminals publish
their newest passes for their neighbours anyway, each signed; the server listens too and counts those whose places in
the journal it has not reached. Such a row says that a meal was served and when, not to whom; it bills nothing, is in no
feed and no certificate, and counts no more as soon as the ledger has reached its place (decision 0024).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from billing_server.batch_reading import ReadEntry
from billing_server.models import Device, EarlyPass, Journal
from billing_server.pass_bodies import GrantedBody, OutcomeBody
from canteen.meal_pass import PassOutcome
from sync.errors import BadSignature
from sync.signing import VerifyingKey

KEPT = timedelta(days=2)


def note_early(session: Session, device: Device, untrusted_entries: Sequence[ReadEntry], now: datetime) -> bool:
    """Note passes that `device`, a terminal, told its neighbours of; False if one was not signed by it."""
    generations = {untrusted.generation for untrusted in untrusted_entries}
    found = session.scalars(select(Journal).where(Journal.device == device.device, Journal.generation.in_(generations)))
    reached = {journal.generation: journal.up_to for journal in found}
    ahead = [untrusted for untrusted in untrusted_entries if untrusted.sequence > reached.get(untrusted.generation, 0)]
    key = VerifyingKey(device.verifying_key)
    try:
        for untrusted in ahead:
            untrusted.entry.verify(key)
    except BadSignature:
        return False
    _note(session, device, ahead, now)
    return True


def _note(session: Session, device: Device, entries: list[ReadEntry], now: datetime) -> None:
    told = [(read, read.pass_body) for read in entries]
    pass_ids = {body.pass_id for _, body in told if body is not None}
    known = {
        row.pass_id: row
        for row in session.scalars(
            select(EarlyPass).where(EarlyPass.device == device.device, EarlyPass.pass_id.in_(pass_ids))
        )
    }
    for read, body in told:
        if isinstance(body, GrantedBody) and body.pass_id not in known:
            row = EarlyPass(
                device=read.device,
                pass_id=body.pass_id,
                generation=read.generation,
                sequence=read.sequence,
                day=body.day,
                period=body.period,
                outcome=PassOutcome.OPEN.value,
                heard_at=now,
            )
            session.add(row)
            known[body.pass_id] = row
        elif isinstance(body, OutcomeBody) and body.pass_id in known:
            known[body.pass_id].outcome = read.kind.removeprefix("pass-")


def early_counts(session: Session, day: date) -> dict[str, int]:
    """Meals of a day by serving period that are announced and not yet in the ledger."""
    rows = session.execute(
        select(EarlyPass.period, func.count())
        .where(EarlyPass.day == day, EarlyPass.outcome != PassOutcome.ABANDONED.value, ~_in_ledger())
        .group_by(EarlyPass.period)
    )
    return {period: count for period, count in rows}  # noqa: C416 - a row is no pair to mypy


def forget_reached(session: Session, now: datetime) -> None:
    """Forget what the ledger has by now, and what it has not got in two days: the count of that day is over."""
    session.execute(
        delete(EarlyPass)
        .where(or_(_in_ledger(), EarlyPass.heard_at < now - KEPT))
        .execution_options(synchronize_session=False)
    )


def _in_ledger() -> Any:
    return exists().where(
        and_(
            Journal.device == EarlyPass.device,
            Journal.generation == EarlyPass.generation,
            Journal.up_to >= EarlyPass.sequence,
        )
    )
