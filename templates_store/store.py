"""The port of the template store: what a terminal and the station keep of pupils, and in what words they ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from canteen.consent import Consent, ConsentState
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import Entitlement
from canteen.identifiers import PupilId
from templates_store.lease import LeaseStanding


@dataclass(frozen=True, slots=True)
class PupilRecord:
    """A pupil as held here. Terminals hold no last name and no code in clear: lookups go by keyed hash."""

    pupil: PupilId
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    class_name: str = field(repr=False)
    entitlements: tuple[Entitlement, ...]


@dataclass(frozen=True, slots=True)
class CardRecord:
    """Whose card it is, and whether it still opens anything."""

    pupil: PupilId
    blocked: bool


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference that may be compared now; `adaptation` says how often it has followed its hand."""

    pupil: PupilId
    revision: int
    consent: Consent
    reference: bytes = field(repr=False)
    adaptation: int = 0


class ReferenceAbsence(StrEnum):
    """Why there is no reference to compare with."""

    NONE = "none"
    LEASE_EXPIRED = "lease-expired"


class Erasure(StrEnum):
    """How much of a pupil goes; the values of the protocol's purge scopes."""

    REFERENCE = "reference"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class PurgeOutcome:
    """What a purge did.

    Attributes:
        record_digest: keyed digest of the erased reference, or None where none was held.
        epoch_before: the store's key epoch before; `epoch_after` after. Equal only where nothing was held.
    """

    record_digest: str | None
    epoch_before: int
    epoch_after: int


@dataclass(frozen=True, slots=True)
class EndedLease:
    """A lease ran out, and what was held under it was destroyed: what is to be told of it.

    Attributes:
        because: a `LeaseEnd`'s value.
        count: how many references went.
    """

    because: str
    count: int
    destroyed_at: datetime
    epoch_before: int
    epoch_after: int


class TemplateStore(Protocol):
    """Every method raises StoreUnavailable when the store cannot do its work."""

    def put_pupils(self, pupils: Sequence[tuple[PupilRecord, PersonalCode]], *, whole: bool) -> list[PupilId]:
        """Add or replace pupils; with `whole`, whoever is not named is erased. Returns those erased.

        Raises:
            CodeTaken: two pupils with one code; nothing was changed.
        """
        ...

    def pupil(self, pupil: PupilId) -> PupilRecord | None: ...

    def pupils(self) -> Iterator[PupilRecord]: ...

    def find_by_code(self, code: PersonalCode) -> PupilRecord | None: ...

    def look_up(
        self, code: PersonalCode, now: datetime
    ) -> tuple[PupilRecord, StoredReference | ReferenceAbsence] | None:
        """The pupil of a code with the reference to compare with: `find_by_code` and `reference` in one question."""
        ...

    def code_of(self, pupil: PupilId) -> PersonalCode | None:
        """The pupil's code, decrypted; the station alone shows it (audited there)."""
        ...

    def put_card(self, card: CardNumber, pupil: PupilId) -> None:
        """Raises UnknownPupil."""
        ...

    def block_card(self, card: CardNumber) -> None:
        """Idempotent; an unknown card is remembered as blocked."""
        ...

    def find_by_card(self, card: CardNumber) -> CardRecord | None: ...

    def has_card(self, pupil: PupilId) -> bool: ...

    def put_consent(self, pupil: PupilId, state: ConsentState, consent: Consent | None) -> None:
        """Remember where the pupil stands. Raises UnknownPupil; ConsentMissing for GIVEN without its proof."""
        ...

    def consent_of(self, pupil: PupilId) -> tuple[ConsentState, Consent | None]: ...

    def put_reference(self, pupil: PupilId, revision: int, consent: Consent, reference: bytes) -> bool:
        """Keep a reference; False if a newer or equal revision is held already (a replay changes nothing).

        Raises:
            UnknownPupil, or ConsentMissing: opposition or withdrawal is on record here.
        """
        ...

    def reference(self, pupil: PupilId, now: datetime) -> StoredReference | ReferenceAbsence:
        """The reference to compare with, unless there is none, no consent, or its lease is over."""
        ...

    def adapt_reference(self, adapted: StoredReference, history: bytes, now: datetime) -> bool:
        """Put `adapted` in place of the reference it was made of, with what has to be remembered for the next time.

        `adapted` is what `reference` gave, with other bytes: same revision, same count of adaptations. False, and
        nothing is changed, where that is no longer what is held (purged, enrolled anew, adapted meanwhile) or may not
        be compared now. A new enrolment forgets both.

        Raises:
            ConsentMissing: opposition or withdrawal is on record here.
        """
        ...

    def adaptation_history(self, reference: StoredReference) -> bytes | None:
        """What the latest `adapt_reference` gave to be remembered; None where there was none or it has gone."""
        ...

    def reference_revision(self, pupil: PupilId) -> int:
        """The revision held, or 0."""
        ...

    def renew_lease(self, until: datetime) -> None:
        """Every reference may be compared until then; an earlier `until` than the present one changes nothing."""
        ...

    def note_signed_time(self, signed_time: datetime, now: datetime) -> None:
        """The server signed this instant, and the caller has verified it: the second opinion about the clock."""
        ...

    def tend(self, now: datetime) -> LeaseStanding:
        """Add up running time and do what the lease asks for: suspend, or destroy the references.

        A terminal calls it every minute, once no order waits: a fresh lease among them would go on in time. A station,
        whose references are the originals, never calls it.

        Raises:
            StoreUnavailable: call again; what has to be destroyed still is.
        """
        ...

    def ended_lease(self) -> EndedLease | None:
        """What the end of a lease destroyed here and nobody was told of yet; kept across restarts."""
        ...

    def note_ended_lease_told(self) -> None:
        """It has been told, durably."""
        ...

    def believed_time(self, now: datetime) -> datetime:
        """The latest instant that anything speaks for: the wall clock, its mark, signed times, running time."""
        ...

    def certain_time(self) -> datetime | None:
        """No later than the true time, whatever was done to the clock; None before the first signed word."""
        ...

    @property
    def lease_until(self) -> datetime | None: ...

    def purge(self, pupil: PupilId, erasure: Erasure, consents_until: datetime | None = None) -> PurgeOutcome:
        """Erase; idempotent. The pupil's key is destroyed and the store moves to a new epoch.

        Of a pupil who stays, a reference that rests on a consent given after `consents_until` stays, too: the purge is
        about an earlier one, and came late.
        """
        ...

    def put_document(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a small JSON object under `name` (calendar, device directory)."""
        ...

    def document(self, name: str) -> dict[str, Any] | None: ...

    def note_instant(self, instant: datetime) -> None:
        """Raise the high-water mark of time; an earlier instant changes nothing."""
        ...

    @property
    def rolled_back(self) -> bool:
        """Whether an older copy of the store was put back: no reference is compared until a fresh lease."""
        ...

    @property
    def high_water_mark(self) -> datetime | None: ...

    def close(self) -> None: ...
