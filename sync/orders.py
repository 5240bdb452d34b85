"""Orders: what the server tells a device to know, to hold or to erase, as the programs speak of it.

An order travels sealed for its device and signed by the server (see `messages.SignedOrder`). To add one: a frozen
dataclass and its kind here, how it is written and read in `sync.order_bodies`, a line in docs/sync-protocol.md, and its
handling at the terminal and at the station.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from canteen.access_decision import MissingEntitlement
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import Entitlement
from canteen.hand_policy import HandPolicy
from canteen.identifiers import DeviceId, PupilId, PurgeId
from canteen.serving_periods import ServingCalendar
from sync.sealing import SealingKey
from sync.signing import VerifyingKey

ASKED_BY_LONGEST = 100
"""A name, as the audit has it."""

SEALED_AGAIN_MOST = 100
"""Pupils an order: a station seals them in one commit, between two pages."""


class OrderKind(StrEnum):
    """The kinds of order."""

    ROSTER = "roster"
    CALENDAR = "calendar"
    BALANCES = "balances"
    DEVICES = "devices"
    CARD_ASSIGNED = "card-assigned"
    CARD_BLOCKED = "card-blocked"
    REFERENCE = "reference"
    SEAL_AGAIN = "seal-again"
    LEASE = "lease"
    PURGE = "purge"
    ENROLLMENT_ADVISED = "enrollment-advised"


class PurgeScope(StrEnum):
    """How much of a pupil goes."""

    REFERENCE = "reference"
    """The hand only (opposition, withdrawal): the pupil goes on eating by card."""
    EVERYTHING = "everything"
    """The hand, the code, the cards, the roster entry (departure)."""


class PurgeCause(StrEnum):
    """Why a purge was ordered."""

    DEPARTURE = "departure"
    DEREGISTRATION = "deregistration"
    OPPOSITION = "opposition"
    WITHDRAWAL = "withdrawal"
    END_OF_SCHOOLING = "end-of-schooling"
    END_OF_YEAR = "end-of-year"
    """Where the school has every hand taken anew each year."""


class DeviceRole(StrEnum):
    """What a device is."""

    TERMINAL = "terminal"
    STATION = "station"


@dataclass(frozen=True, slots=True)
class RosterPupil:
    """A pupil as a device needs to know it. Terminals get no last name ("" there): least data."""

    pupil: PupilId
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    class_name: str = field(repr=False)
    code: PersonalCode = field(repr=False)
    entitlements: tuple[Entitlement, ...]


@dataclass(frozen=True, slots=True)
class Roster:
    """Pupils to add or replace; `whole` says that whoever is not in it is no longer one of ours."""

    pupils: tuple[RosterPupil, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class CalendarOrder:
    """When meals are served, the school's name for the screen, and its choice for a missing entitlement.

    Attributes:
        code_length: how many digits every personal code of the school has: with the last one the terminal decides.
        hand_policy: how near a hand must come.
    """

    school_name: str
    calendar: ServingCalendar
    missing_entitlement: MissingEntitlement
    code_length: int = 4
    hand_policy: HandPolicy = HandPolicy.USUAL


@dataclass(frozen=True, slots=True)
class CountedUpTo:
    """What a journal has told up to this entry is in the balances beside it."""

    device: DeviceId
    generation: str
    sequence: int


@dataclass(frozen=True, slots=True)
class BalancesOrder:
    """How many prepaid meals each external has left; whoever is not in it is not counted.

    A terminal takes off what it and its neighbours have served since: the passes beyond `counted`.

    Attributes:
        without_meals: the school's choice where none is left.
    """

    meals_left: tuple[tuple[PupilId, int], ...]
    without_meals: MissingEntitlement
    counted: tuple[CountedUpTo, ...]


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device of the school with its public keys."""

    device: DeviceId
    role: DeviceRole
    verifying_key: VerifyingKey
    sealing_key: SealingKey


@dataclass(frozen=True, slots=True)
class DevicesOrder:
    """The whole directory: whom a station seals for, whose references a terminal believes."""

    devices: tuple[DeviceEntry, ...]


@dataclass(frozen=True, slots=True)
class CardAssigned:
    """This card is this pupil's."""

    pupil: PupilId
    card: CardNumber


@dataclass(frozen=True, slots=True)
class CardBlocked:
    """This card opens nothing any more."""

    card: CardNumber


@dataclass(frozen=True, slots=True)
class ReferenceOrder:
    """A reference that `station` sealed for this terminal."""

    pupil: PupilId
    station: DeviceId
    revision: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealAgainOrder:
    """To a station: this terminal lacks the references of these pupils; seal them for it again."""

    terminal: DeviceId
    pupils: tuple[PupilId, ...]


@dataclass(frozen=True, slots=True)
class LeaseOrder:
    """References may be compared until then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """Erase, and send the receipt before the deadline.

    Attributes:
        asked_by: who asked for it, for the receipt.
        consents_until: a reference goes only if the consent it rests on was given by then; None: whenever it was. A
            purge that arrives late must not take what the family has consented to anew since.
        asked_at: when, and `request_signature` the server's signature on what is asked: the receipt quotes both (see
            `sync.purge_request`). None in an order of an earlier version.
    """

    purge: PurgeId
    pupil: PupilId
    scope: PurgeScope
    cause: PurgeCause
    deadline: datetime
    asked_by: str = field(default="", repr=False)
    consents_until: datetime | None = None
    asked_at: datetime | None = None
    request_signature: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EnrollmentAdvice:
    """To stations: a terminal finds that the hand has left the reference of this revision; take it anew soon."""

    pupil: PupilId
    revision: int


Order = (
    Roster
    | CalendarOrder
    | BalancesOrder
    | DevicesOrder
    | CardAssigned
    | CardBlocked
    | ReferenceOrder
    | SealAgainOrder
    | LeaseOrder
    | PurgeOrder
    | EnrollmentAdvice
)
