"""Consents as the stations recorded them: the whole history, the present state, and the purge when one ends."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.models import ConsentRow, PupilRow
from billing_server.orders import REFUSALS
from billing_server.purge_deadlines import PurgeDesk
from canteen.clock import Clock
from sync.facts import ConsentRecorded
from sync.messages import JournalEntry
from sync.orders import PurgeScope

_ENDS_WITH = {state: cause for cause, state in REFUSALS.items()}


@dataclass(frozen=True, slots=True)
class ConsentDesk:
    """Takes consents in; the end of one erases the hand everywhere."""

    purges: PurgeDesk
    clock: Clock

    def take(self, session: Session, entry: JournalEntry, fact: ConsentRecorded) -> None:
        """Keep the fact; if it is the latest word about this pupil, act on it."""
        row = session.get(PupilRow, fact.pupil, with_for_update=True)
        if row is None:
            now = self.clock.utc_now()
            raise_alarm(session, AlarmKind.UNKNOWN_PUPIL, fact.pupil, now, device=entry.device, detail="consent")
            return
        session.add(
            ConsentRow(
                device=entry.device,
                generation=entry.generation,
                sequence=entry.sequence,
                pupil=fact.pupil,
                state=fact.state.value,
                notice_version=fact.notice_version,
                given_by=fact.given_by.value,
                given_at=fact.given_at,
                recorded_by=fact.recorded_by,
                recorded_at=entry.recorded_at,
            )
        )
        if row.departed_at is not None or not _is_latest(row, fact):
            return
        changed = row.consent_state != fact.state.value
        row.consent_state, row.consent_given_at = fact.state.value, fact.given_at
        if changed and fact.state in _ENDS_WITH:
            self.purges.start(session, fact.pupil, PurgeScope.REFERENCE, _ENDS_WITH[fact.state], fact.recorded_by)


def _is_latest(row: PupilRow, fact: ConsentRecorded) -> bool:
    if row.consent_given_at is None or fact.given_at > row.consent_given_at:
        return True
    # Two stations, one instant (a form is dated by the day): the word that erases wins.
    return fact.given_at == row.consent_given_at and row.consent_state not in _ENDS_WITH
