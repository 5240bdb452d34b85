"""One meal a service: which earlier passes of a pupil stand in the way of another."""

from __future__ import annotations

from collections.abc import Iterable

from canteen.meal_pass import PassOutcome
from canteen.serving_periods import ServiceMoment

COUNTS_AS_SERVED = {
    PassOutcome.OPEN: True,
    PassOutcome.COMPLETED: True,
    PassOutcome.ABANDONED: False,
    PassOutcome.UNRESOLVED: True,
}
"""An abandoned pass leaves the meal due: the child stepped back. An unresolved one counts, since the gate was open."""


def already_served(earlier: Iterable[tuple[ServiceMoment, PassOutcome]], moment: ServiceMoment) -> bool:
    """Whether one of the pupil's `earlier` passes was a meal of this `moment`."""
    return any(served_at == moment and COUNTS_AS_SERVED[outcome] for served_at, outcome in earlier)
