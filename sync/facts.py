"""Facts: what happened at a terminal or a station, as the programs speak of it.

To add one: a frozen dataclass here or in `canteen.meal_pass`, its kind in `FactKind`, how it is written and read in
`sync.fact_bodies`, a line in docs/sync-protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from canteen.consent import ConsentState, GivenBy
from canteen.identifiers import (
    DeviceId,
    PupilId,
    PurgeId,
)
from canteen.meal_pass import (
    PassFact,
)
from sync.orders import PurgeCause, PurgeScope


class FactKind(StrEnum):
    """The kinds of journal entry."""

    PASS_GRANTED = "pass-granted"
    PASS_DENIED = "pass-denied"
    PASS_COMPLETED = "pass-completed"
    PASS_ABANDONED = "pass-abandoned"
    PASS_UNRESOLVED = "pass-unresolved"
    ORDER_APPLIED = "order-applied"
    ORDER_REFUSED = "order-refused"
    ORDERS_HELD = "orders-held"
    JOURNAL_BEGUN = "journal-begun"
    PURGE_RECEIPT = "purge-receipt"
    CONSENT_RECORDED = "consent-recorded"
    REFERENCES_DESTROYED = "references-destroyed"
    REFERENCE_ENROLLED = "reference-enrolled"
    REFERENCE_SEALED = "reference-sealed"
    CARD_ISSUED = "card-issued"
    CARD_RETIRED = "card-retired"
    DEVICE_CHECKED = "device-checked"
    BOARD_KEYED = "board-keyed"
    ENROLLMENT_ADVISED = "enrollment-advised"


@dataclass(frozen=True, slots=True)
class OrderApplied:
    """The order of this number has taken effect here.

    Attributes:
        issued_at: of the order, if it could be read: a server that was restored from a backup gives a number twice, and
            tells by this which of the two was meant. The fact is about the number.
    """

    number: int
    issued_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The order of this number was not carried out, and why (a short code, no personal data)."""

    number: int
    why: str
    issued_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OrdersHeld:
    """The device has carried out, or refused, every order up to this number, and none above it. Said when asked."""

    up_to: int


@dataclass(frozen=True, slots=True)
class JournalBegun:
    """The ledger has another journal under the name of this device's last one: an older copy of it was put back here.

    A new journal begins with this fact. What the ledger may lack of the old one follows, as it was and when it was.

    Attributes:
        previous: the old journal's generation.
        sequence: an entry of it, as the ledger acknowledged it, that is not this device's; `entry_digest` its digest.
        told_again: how many entries follow that stood in the old journal.
    """

    previous: str
    sequence: int
    entry_digest: str
    told_again: int


@dataclass(frozen=True, slots=True)
class PurgeReceipt:
    """What a holder erased. Signed as every journal entry; nothing biometric in it.

    Attributes:
        record_digest: keyed digest of the erased record, or None where nothing was held.
        epoch_before: the store's key epoch before the purge; `epoch_after` after it.
        cause: why it was asked for, `asked_by` by whom, `asked_at` when, and `request_signature` the server's signature
            on that (see `sync.purge_request`); None in a receipt of an earlier version.
    """

    purge: PurgeId
    pupil: PupilId
    scope: PurgeScope
    record_digest: str | None
    erased_at: datetime
    epoch_before: int
    epoch_after: int
    cause: PurgeCause | None = None
    asked_by: str | None = field(default=None, repr=False)
    asked_at: datetime | None = None
    request_signature: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ReferencesDestroyed:
    """A lease ran out without a fresh word, and the terminal destroyed every hand it held, by itself.

    Attributes:
        because: what confirmed the end (`templates_store.lease.LeaseEnd`).
        count: how many references went.
    """

    because: str
    count: int
    destroyed_at: datetime
    epoch_before: int
    epoch_after: int


@dataclass(frozen=True, slots=True)
class ConsentRecorded:
    """Consent, opposition or withdrawal, as taken down at the station."""

    pupil: PupilId
    state: ConsentState
    notice_version: str
    given_by: GivenBy
    given_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class ReferenceEnrolled:
    """The station made and keeps a reference (which is not in here)."""

    pupil: PupilId
    revision: int
    notice_version: str


@dataclass(frozen=True, slots=True)
class ReferenceSealed:
    """A reference for one terminal, sealed for it alone; the server passes it on and cannot open it."""

    pupil: PupilId
    recipient: DeviceId
    revision: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CardIssued:
    """A card was given to a pupil; its number is sealed for the server."""

    pupil: PupilId
    sealed_card: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CardRetired:
    """A number is on no card any more: its card was wiped, or written for somebody else. Sealed for the server."""

    sealed_card: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceChecked:
    """What a device found of itself before a service: names of checks, and firmware. Nothing about anybody.

    Attributes:
        at_risk: what puts lunch at risk; `watch`: what somebody should look at this week.
        firmware: "address vendor/model firmware" of each board on its line.
    """

    at_risk: tuple[str, ...]
    watch: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoardKeyed:
    """The maintenance window for a board's key was opened at this terminal, and what became of it; never the key.

    Attributes:
        address: of the board on its line.
        outcome: the value of a `KeyOutcome`; a server shows others as they are.
    """

    address: int
    outcome: str


@dataclass(frozen=True, slots=True)
class EnrollmentAdvised:
    """A terminal finds that a hand has left its reference of this revision: staff should take it anew soon."""

    pupil: PupilId
    revision: int


Fact = (
    PassFact
    | OrderApplied
    | OrderRefused
    | OrdersHeld
    | JournalBegun
    | PurgeReceipt
    | ReferencesDestroyed
    | ConsentRecorded
    | ReferenceEnrolled
    | ReferenceSealed
    | CardIssued
    | CardRetired
    | DeviceChecked
    | BoardKeyed
    | EnrollmentAdvised
)

REFERENCE_EXPIRED = "reference-expired"
"""Why an order is refused that brings a reference after its lease: nothing is wrong, it is sealed again."""
