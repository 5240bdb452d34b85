"""A human's word where no rule decides, on a pass or on two versions of a journal: always a new row, never a change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.accounts import AccountDesk
from billing_server.alarms import AlarmKind, close_alarm
from billing_server.batch_reading import as_read
from billing_server.errors import NothingToSettle
from billing_server.models import Device, ForkedEntry, ForkSettlement, MealPassRow, PassSettlement
from billing_server.pass_bodies import PASS_KINDS
from billing_server.projections import Projector
from billing_server.read_batch import made_ready
from billing_server.reconciliation import Decision, Standing, standing_passes
from canteen.clock import Clock, ClockTrust
from canteen.identifiers import DeviceId
from sync.messages import JournalEntry


class ForkDecision(StrEnum):
    """Which passes of two versions happened; values are stored."""

    LEDGER_STANDS = "ledger-stands"
    BOTH_HAPPENED = "both-happened"
    """The other version's passes were real too (an old card was put back and meals went on): they are counted."""


@dataclass(frozen=True, slots=True)
class SettlementDesk:
    """Takes the human's word and acts on it."""

    accounts: AccountDesk
    projector: Projector
    clock: Clock

    def settle_pass(
        self, session: Session, device: str, pass_id: str, decision: Decision, reason: str, by: str
    ) -> MealPassRow:
        """Say whether a pass is billed. Raises NothingToSettle if there is no such pass."""
        row = session.get(MealPassRow, (device, pass_id), with_for_update=True)
        if row is None:
            raise NothingToSettle("no such pass")
        session.add(
            PassSettlement(
                device=device,
                pass_id=pass_id,
                decision=decision.value,
                reason=reason,
                settled_by=by,
                settled_at=self.clock.utc_now(),
            )
        )
        session.flush()
        self.accounts.follow(session, [row], by)
        if not _still_doubled(session, row):
            about = double_about(row.pupil, row.day, row.period)
            close_alarm(session, AlarmKind.DOUBLE_SERVICE, about, self.clock.utc_now())
        return row

    def settle_fork(self, session: Session, device: str, generation: str, decision: ForkDecision, by: str) -> int:
        """Close a fork; how many passes of the other version were taken in. Raises NothingToSettle."""
        row = session.get(Device, device, with_for_update=True)
        forked = open_forks(session, device, generation)
        if row is None or not forked:
            raise NothingToSettle("no such fork")
        before = session.scalar(select(func.count()).select_from(MealPassRow)) or 0
        if decision is ForkDecision.BOTH_HAPPENED:
            entries = [as_read(forked_entry(fork)) for fork in forked]
            of_passes = [entry for entry in entries if entry.kind in PASS_KINDS]
            self.projector.project(session, row, [made_ready(DeviceId(device), of_passes)])
        session.flush()
        taken = (session.scalar(select(func.count()).select_from(MealPassRow)) or 0) - before
        now = self.clock.utc_now()
        session.add(
            ForkSettlement(
                device=device,
                generation=generation,
                up_to_fork=forked[-1].id,
                decision=decision.value,
                passes_taken=taken,
                settled_by=by,
                settled_at=now,
            )
        )
        close_alarm(session, AlarmKind.FORK, f"{device}/{generation}", now)
        return taken


def _still_doubled(session: Session, row: MealPassRow) -> bool:
    """Whether another pass of the same meal waits for a word."""
    return any(
        one.standing is Standing.DOUBLE and one.settlement is None and one.row.period == row.period
        for one in standing_passes(session, row.day, row.pupil)
    )


def double_about(pupil: str, day: object, period: str) -> str:
    """What the alarm of a double service is about."""
    return f"{pupil}/{day}/{period}"


def open_forks(session: Session, device: str, generation: str) -> list[ForkedEntry]:
    """Entries of the other version that nobody has settled, in order."""
    looked_at = session.scalar(
        select(func.max(ForkSettlement.up_to_fork)).where(
            ForkSettlement.device == device, ForkSettlement.generation == generation
        )
    )
    return list(
        session.scalars(
            select(ForkedEntry)
            .where(
                ForkedEntry.device == device, ForkedEntry.generation == generation, ForkedEntry.id > (looked_at or 0)
            )
            .order_by(ForkedEntry.id)
        )
    )


def forked_entry(fork: ForkedEntry) -> JournalEntry:
    """The entry as it was signed (verified before it was kept)."""
    header = json.loads(fork.header)
    return JournalEntry(
        device=DeviceId(fork.device),
        generation=fork.generation,
        sequence=fork.sequence,
        previous=header["previous"],
        recorded_at=datetime.fromisoformat(header["recorded_at"]),
        clock_trust=ClockTrust(header["clock_trust"]),
        kind=header["kind"],
        body=json.loads(fork.body or "{}"),
        signature=fork.signature,
    )
