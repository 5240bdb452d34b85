"""The end of the school year: where the school says so, every hand is erased everywhere on one day a year."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from billing_server.models import Holding, PupilRow, Setting
from billing_server.orders import locked_devices
from billing_server.purge_deadlines import PurgeDesk
from billing_server.school import School
from canteen.clock import Clock
from canteen.consent import ConsentState
from canteen.identifiers import PupilId
from sync.orders import PurgeCause, PurgeScope

_log = logging.getLogger("canteen.billing.year_end")

_DONE = "year-end-done"
RULE = "rule"
"""Who asks for what no person has asked for."""


@dataclass(frozen=True, slots=True)
class YearEnd:
    """Asks for the purges, once a year; `day` is (month, day), or None where the school keeps hands over the summer."""

    purges: PurgeDesk
    school: School
    day: tuple[int, int] | None
    clock: Clock

    def watch(self, session: Session) -> int:
        """Start what is due today; how many purges. A server that was off on the day makes up for it.

        A server that is told of the day for the first time waits for the next one: what was taken since September is
        not what the school meant.
        """
        if self.day is None:
            return 0
        today = self.school.calendar(session).local_day(self.clock.utc_now())
        due = date(today.year, *self.day)
        if due > today:
            due = date(today.year - 1, *self.day)
        done = session.get(Setting, _DONE)
        if done is not None and date.fromisoformat(done.value) >= due:
            return 0
        session.merge(Setting(name=_DONE, value=due.isoformat()))
        if done is None:
            return 0
        locked_devices(session)
        pupils = self._with_hands(session)
        for pupil in pupils:
            self.purges.start(session, pupil, PurgeScope.REFERENCE, PurgeCause.END_OF_YEAR, RULE)
        _log.info("end of the school year: %d hands are to be erased", len(pupils))
        return len(pupils)

    def _with_hands(self, session: Session) -> list[PupilId]:
        """Whoever has a hand somewhere, or may have one on its way."""
        held = select(Holding.pupil)
        query = select(PupilRow.pupil).where(
            PupilRow.departed_at.is_(None),
            or_(PupilRow.consent_state == ConsentState.GIVEN.value, PupilRow.pupil.in_(held)),
        )
        return [PupilId(pupil) for pupil in session.scalars(query.order_by(PupilRow.pupil))]
