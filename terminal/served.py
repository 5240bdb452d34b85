"""Who has been served: an in-memory table that the journal and the neighbours' news feed, for anti-passback."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta

from canteen.anti_passback import already_served
from canteen.identifiers import DeviceId, PassId, PupilId
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


_PassKey = tuple[DeviceId | None, PassId]
"""A pass and the neighbour it was at; None is this terminal. So nobody settles another's pass."""


class Served:
    """The passes of these days by pupil."""

    def __init__(self) -> None:
        self._passes: dict[_PassKey, tuple[PupilId, ServiceMoment, PassOutcome]] = {}
        self._by_pupil: defaultdict[PupilId, set[_PassKey]] = defaultdict(set)
        self._latest_day = date.min

    def note(self, fact: Fact, neighbour: DeviceId | None = None) -> None:
        """Take in a fact of this journal, or of a `neighbour`'s.

        One that is known already, or is no outcome of a known grant of the same terminal, changes nothing.
        """
        if isinstance(fact, PassGranted):
            key = (neighbour, fact.pass_id)
            if key in self._passes:
                return
            self._passes[key] = (fact.pupil, fact.moment, PassOutcome.OPEN)
            self._by_pupil[fact.pupil].add(key)
            # Only our own days age the table: a neighbour with a wrong clock must not empty it.
            if neighbour is None and fact.moment.day > self._latest_day:
                self._latest_day = fact.moment.day
                self._forget_before(self._latest_day - _KEPT)
        elif isinstance(fact, PassCompleted | PassAbandoned | PassUnresolved):
            key = (neighbour, fact.pass_id)
            if key in self._passes:
                pupil, moment, _ = self._passes[key]
                self._passes[key] = (pupil, moment, _OUTCOMES[type(fact)])

    def has_been(self, pupil: PupilId, moment: ServiceMoment) -> bool:
        """Whether `pupil` has had the meal of `moment`."""
        return already_served((self._passes[one][1:] for one in self._by_pupil.get(pupil, ())), moment)

    def _forget_before(self, day: date) -> None:
        for key, (pupil, moment, _) in list(self._passes.items()):
            if moment.day < day:
                del self._passes[key]
                self._by_pupil[pupil].discard(key)
                if not self._by_pupil[pupil]:
                    del self._by_pupil[pupil]

    def __len__(self) -> int:
        return len(self._passes)
