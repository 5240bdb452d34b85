"""Who has been served: an in-memory table that the journal feeds, for anti-passback."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta

from canteen.anti_passback import already_served
from canteen.identifiers import PassId, PupilId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassOutcome, PassUnresolved
from canteen.serving_periods import ServiceMoment
from sync.facts import Fact

_OUTCOMES: dict[type[Fact], PassOutcome] = {
    PassCompleted: PassOutcome.COMPLETED,
    PassAbandoned: PassOutcome.ABANDONED,
    PassUnresolved: PassOutcome.UNRESOLVED,
}

_KEPT = timedelta(days=2)
"""Earlier passes stand in nobody's way any more, and a year of them would fill the memory."""


class Served:
    """The passes of these days by pupil."""

    def __init__(self) -> None:
        self._passes: dict[PassId, tuple[PupilId, ServiceMoment, PassOutcome]] = {}
        self._by_pupil: defaultdict[PupilId, set[PassId]] = defaultdict(set)
        self._latest_day = date.min

    def note(self, fact: Fact) -> None:
        """Take in a fact that is in the journal; facts that are no outcome of a known grant change nothing."""
        if isinstance(fact, PassGranted):
            self._passes[fact.pass_id] = (fact.pupil, fact.moment, PassOutcome.OPEN)
            self._by_pupil[fact.pupil].add(fact.pass_id)
            if fact.moment.day > self._latest_day:
                self._latest_day = fact.moment.day
                self._forget_before(self._latest_day - _KEPT)
        elif isinstance(fact, PassCompleted | PassAbandoned | PassUnresolved) and fact.pass_id in self._passes:
            pupil, moment, _ = self._passes[fact.pass_id]
            self._passes[fact.pass_id] = (pupil, moment, _OUTCOMES[type(fact)])

    def has_been(self, pupil: PupilId, moment: ServiceMoment) -> bool:
        """Whether `pupil` has had the meal of `moment`."""
        return already_served((self._passes[one][1:] for one in self._by_pupil.get(pupil, ())), moment)

    def _forget_before(self, day: date) -> None:
        for pass_id, (pupil, moment, _) in list(self._passes.items()):
            if moment.day < day:
                del self._passes[pass_id]
                self._by_pupil[pupil].discard(pass_id)
                if not self._by_pupil[pupil]:
                    del self._by_pupil[pupil]

    def __len__(self) -> int:
        return len(self._passes)
