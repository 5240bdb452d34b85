"""The facts of a meal pass, in the order they happen. Each is one journal entry; none is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from canteen.access_decision import Reason
from canteen.entitlements import EntitlementKind
from canteen.identifiers import PassId, PupilId
from canteen.serving_periods import ServiceMoment


class PassMethod(StrEnum):
    """How the pupil came through. Values are part of the protocol."""

    HAND = "hand"
    CARD = "card"
    VOUCHED = "vouched"


class PassOutcome(StrEnum):
    """What became of a granted pass."""

    OPEN = "open"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class PassGranted:
    """The meal is the pupil's; on disk before the turnstile opens."""

    pass_id: PassId
    pupil: PupilId
    method: PassMethod
    moment: ServiceMoment
    charged_to: EntitlementKind | None
    forced_because: str | None = None


@dataclass(frozen=True, slots=True)
class PassDenied:
    """Nobody went through. `pupil` is None where the credential named nobody."""

    pass_id: PassId
    pupil: PupilId | None
    method: PassMethod
    reason: Reason


@dataclass(frozen=True, slots=True)
class PassCompleted:
    """The turnstile turned."""

    pass_id: PassId


@dataclass(frozen=True, slots=True)
class PassAbandoned:
    """The turnstile did not turn in time and was locked again: the meal is still due."""

    pass_id: PassId


@dataclass(frozen=True, slots=True)
class PassUnresolved:
    """Power or board was lost while the turnstile was open: a human may look, the meal counts."""

    pass_id: PassId


PassFact = PassGranted | PassDenied | PassCompleted | PassAbandoned | PassUnresolved
