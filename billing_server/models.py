"""The tables. Entries of the ledger are never changed or deleted, but for bodies whose time is over (`retention`)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcInstant(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs its time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        instant: datetime = value
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


class Base(DeclarativeBase):
    """Named constraints, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {datetime: UtcInstant, str: Text, bytes: LargeBinary, int: BigInteger}  # noqa: RUF012


_RowNumber = BigInteger().with_variant(Integer, "sqlite")
_Device = String(32)
_Generation = String(16)
_Pupil = String(18)
_Digest = String(64)
_Word = String(40)
_PREPAID = text("charged_to = 'external-meal'")


class Device(Base):
    """A terminal or station, with its public keys and the number of the last order made for it."""

    __tablename__ = "devices"

    device: Mapped[str] = mapped_column(_Device, primary_key=True)
    role: Mapped[str] = mapped_column(_Word)
    verifying_key: Mapped[bytes]
    sealing_key: Mapped[bytes]
    registered_at: Mapped[datetime]
    last_order: Mapped[int] = mapped_column(default=0)
    lease_issued_at: Mapped[datetime | None]
    last_contact: Mapped[datetime | None]
    said_entries: Mapped[int | None]
    """How many entries its journal has, by its own signature in a hello."""
    said_generation: Mapped[str | None] = mapped_column(_Generation)
    said_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    """No more orders and no certificate: stolen, sold or broken. What it had sent stays."""


class Journal(Base):
    """One generation of one device's journal: how far it is here without a hole, and the digest there."""

    __tablename__ = "journals"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    generation: Mapped[str] = mapped_column(_Generation, primary_key=True)
    up_to: Mapped[int] = mapped_column(default=0)
    last_digest: Mapped[str] = mapped_column(_Digest)
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]


class Entry(Base):
    """A journal entry as it was signed; (device, generation, sequence) is unique for ever.

    `body` is None where the body had to be forgotten (see `entry_rows`, `retention`); `body_digest` keeps
    the chain.
    """

    __tablename__ = "entries"
    __table_args__ = (ForeignKeyConstraint(["device", "generation"], ["journals.device", "journals.generation"]),)

    device: Mapped[str] = mapped_column(_Device, primary_key=True)
    generation: Mapped[str] = mapped_column(_Generation, primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    previous: Mapped[str] = mapped_column(_Digest)
    digest: Mapped[str] = mapped_column(_Digest)
    recorded_at: Mapped[datetime]
    clock_trust: Mapped[str] = mapped_column(_Word)
    kind: Mapped[str] = mapped_column(_Word)
    body: Mapped[str | None]
    body_digest: Mapped[str] = mapped_column(_Digest)
    signature: Mapped[bytes]
    received_at: Mapped[datetime]


class ForkedEntry(Base):
    """A signed entry that contradicts the ledger: another one stands in its place, or its chain is not ours."""

    __tablename__ = "forked_entries"
    __table_args__ = (UniqueConstraint("device", "generation", "sequence", "digest"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(_Device)
    generation: Mapped[str] = mapped_column(_Generation)
    sequence: Mapped[int]
    digest: Mapped[str] = mapped_column(_Digest)
    header: Mapped[str]
    body: Mapped[str | None]
    signature: Mapped[bytes]
    received_at: Mapped[datetime]


NOBODY = "x-"
"""How the pseudonym begins that leads to nobody; a pupil's begins with "p-"."""


def leads_to_nobody(pupil: str) -> bool:
    """Whether a row has let go of its pupil."""
    return pupil.startswith(NOBODY)


class MealPassRow(Base):
    """A granted pass with what became of it.

    Attributes:
        position: its place in the feed of passes; assigned in commit order, without holes.
        pupil: whose it is; after three months a pseudonym of that day that leads to nobody (`retention`).
        outcome_position: the outcome's place in the feed of outcomes, once there is one.
    """

    __tablename__ = "passes"
    __table_args__ = (
        Index(None, "day", "pupil"),
        Index("ix_passes_prepaid_pupil", "pupil", postgresql_where=_PREPAID, sqlite_where=_PREPAID),
    )

    device: Mapped[str] = mapped_column(_Device, primary_key=True)
    pass_id: Mapped[str] = mapped_column(String(26), primary_key=True)
    position: Mapped[int] = mapped_column(unique=True)
    generation: Mapped[str] = mapped_column(_Generation)
    sequence: Mapped[int]
    pupil: Mapped[str] = mapped_column(_Pupil)
    method: Mapped[str] = mapped_column(_Word)
    day: Mapped[date]
    period: Mapped[str]
    charged_to: Mapped[str | None] = mapped_column(_Word)
    granted_at: Mapped[datetime]
    clock_trust: Mapped[str] = mapped_column(_Word)
    forced_because: Mapped[str | None]
    outcome: Mapped[str] = mapped_column(_Word)
    outcome_at: Mapped[datetime | None]
    outcome_position: Mapped[int | None] = mapped_column(unique=True)


class Denial(Base):
    """Nobody went through, and why. `day` is the school's day by the calendar at the time of receipt."""

    __tablename__ = "denials"
    __table_args__ = (
        UniqueConstraint("device", "generation", "sequence"),
        Index(None, "day", "position"),
    )

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    device: Mapped[str] = mapped_column(_Device)
    generation: Mapped[str] = mapped_column(_Generation)
    sequence: Mapped[int]
    pass_id: Mapped[str] = mapped_column(String(26))
    pupil: Mapped[str | None] = mapped_column(_Pupil)
    method: Mapped[str] = mapped_column(_Word)
    reason: Mapped[str] = mapped_column(_Word)
    day: Mapped[date]
    denied_at: Mapped[datetime]
    clock_trust: Mapped[str] = mapped_column(_Word)


class EarlyPass(Base):
    """A pass that a terminal has told its neighbours of, and that its journal has not brought yet: a count, no bill."""

    __tablename__ = "early_passes"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    pass_id: Mapped[str] = mapped_column(String(26), primary_key=True)
    generation: Mapped[str] = mapped_column(_Generation)
    sequence: Mapped[int]
    day: Mapped[date]
    period: Mapped[str]
    outcome: Mapped[str] = mapped_column(_Word)
    heard_at: Mapped[datetime]


class DeviceCheckup(Base):
    """What a device last found of itself; the names of its checks, separated by spaces."""

    __tablename__ = "device_checkups"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    checked_at: Mapped[datetime]
    at_risk: Mapped[str]
    watch: Mapped[str]
    firmware: Mapped[str]
    """One line a board."""


class BoardKey(Base):
    """The last time the maintenance window for a board's key was open, and what became of it; never the key."""

    __tablename__ = "board_keys"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    address: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str]
    at: Mapped[datetime]


class FeedPosition(Base):
    """The last position given in a feed. Its row lock makes positions appear in order: a reader never skips one."""

    __tablename__ = "feed_positions"

    feed: Mapped[str] = mapped_column(_Word, primary_key=True)
    last: Mapped[int]


class PupilRow(Base):
    """A pupil. Names and class are sealed together; the code is sealed, and found by its keyed digest."""

    __tablename__ = "pupils"

    pupil: Mapped[str] = mapped_column(_Pupil, primary_key=True)
    identity_sealed: Mapped[bytes]
    code_sealed: Mapped[bytes | None]
    code_lookup: Mapped[str | None] = mapped_column(_Digest, unique=True)
    entitlements: Mapped[str]
    consent_state: Mapped[str] = mapped_column(_Word)
    consent_given_at: Mapped[datetime | None]
    added_at: Mapped[datetime]
    departed_at: Mapped[datetime | None]


class ConsentRow(Base):
    """Every consent, opposition and withdrawal ever recorded; the latest also stands with the pupil."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(_Device)
    generation: Mapped[str] = mapped_column(_Generation)
    sequence: Mapped[int]
    pupil: Mapped[str] = mapped_column(_Pupil, index=True)
    state: Mapped[str] = mapped_column(_Word)
    notice_version: Mapped[str]
    given_by: Mapped[str] = mapped_column(_Word)
    given_at: Mapped[datetime]
    recorded_by: Mapped[str]
    recorded_at: Mapped[datetime]


class Holding(Base):
    """This device holds a reference of this pupil, as far as we were told."""

    __tablename__ = "holdings"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    pupil: Mapped[str] = mapped_column(_Pupil, primary_key=True)
    revision: Mapped[int]
    since: Mapped[datetime]


class Card(Base):
    """A card given to a pupil; the number is sealed, and forgotten when the pupil's purge is complete."""

    __tablename__ = "cards"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    pupil: Mapped[str] = mapped_column(_Pupil, ForeignKey("pupils.pupil"), index=True)
    number_sealed: Mapped[bytes | None]
    number_lookup: Mapped[str | None] = mapped_column(_Digest, index=True)
    issued_by: Mapped[str] = mapped_column(_Device)
    assigned_at: Mapped[datetime]
    blocked_at: Mapped[datetime | None]


class OrderRow(Base):
    """An order of a device. `wire` is what was signed and sealed, forgotten once the device has answered."""

    __tablename__ = "orders"

    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(_Word)
    pupil: Mapped[str | None] = mapped_column(_Pupil, index=True)
    revision: Mapped[int | None]
    purge: Mapped[str | None] = mapped_column(_Pupil)
    wire: Mapped[bytes | None]
    issued_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    refused_why: Mapped[str | None]


class Purge(Base):
    """An erasure ordered from every holder, with its deadline."""

    __tablename__ = "purges"

    purge: Mapped[str] = mapped_column(_Pupil, primary_key=True)
    pupil: Mapped[str] = mapped_column(_Pupil, index=True)
    scope: Mapped[str] = mapped_column(_Word)
    cause: Mapped[str] = mapped_column(_Word)
    asked_at: Mapped[datetime]
    asked_by: Mapped[str]
    deadline: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    lease_ended_at: Mapped[datetime | None]
    """The deadline passed without all receipts: from here on the lease has ended what was out of reach."""


class PurgeHolder(Base):
    """One device's part in a purge: the order it got and, once it answered, the journal entry that is its receipt."""

    __tablename__ = "purge_holders"

    purge: Mapped[str] = mapped_column(_Pupil, ForeignKey("purges.purge"), primary_key=True)
    device: Mapped[str] = mapped_column(_Device, ForeignKey("devices.device"), primary_key=True)
    order_number: Mapped[int]
    held_reference: Mapped[bool]
    receipt_generation: Mapped[str | None] = mapped_column(_Generation)
    receipt_sequence: Mapped[int | None]
    received_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    record_digest: Mapped[str | None]
    epoch_before: Mapped[int | None]
    epoch_after: Mapped[int | None]


class Alarm(Base):
    """Something a human should look at. The same trouble again counts up; it closes by itself or by a human."""

    __tablename__ = "alarms"
    __table_args__ = (Index(None, "kind", "about"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(_Word)
    about: Mapped[str]
    device: Mapped[str | None] = mapped_column(_Device)
    detail: Mapped[str]
    times: Mapped[int]
    raised_at: Mapped[datetime]
    last_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Audit(Base):
    """Who of the staff looked at, or did, what."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    operator: Mapped[str]
    action: Mapped[str] = mapped_column(_Word)
    subject: Mapped[str]


class Refusal(Base):
    """Payloads that were refused: how many, from whom, why. Never what was in them."""

    __tablename__ = "refusals"

    device: Mapped[str] = mapped_column(_Device, primary_key=True)
    why: Mapped[str] = mapped_column(_Word, primary_key=True)
    times: Mapped[int]
    last_at: Mapped[datetime]


class Setting(Base):
    """What the school set through the pages: the calendar, its name, its choice for a missing entitlement."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(_Word, primary_key=True)
    value: Mapped[str]


class PassSettlement(Base):
    """A human's word on a pass that no rule bills by itself; the latest word about a pass counts, all are kept."""

    __tablename__ = "pass_settlements"
    __table_args__ = (Index(None, "device", "pass_id"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(_Device)
    pass_id: Mapped[str] = mapped_column(String(26))
    decision: Mapped[str] = mapped_column(_Word)
    reason: Mapped[str]
    settled_by: Mapped[str]
    settled_at: Mapped[datetime]


class ForkSettlement(Base):
    """A human has compared two versions of a journal and said which passes happened; the versions stay as they are."""

    __tablename__ = "fork_settlements"
    __table_args__ = (Index(None, "device", "generation"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(_Device)
    generation: Mapped[str] = mapped_column(_Generation)
    up_to_fork: Mapped[int]
    """The highest `forked_entries.id` that was looked at; later ones are a new trouble."""
    decision: Mapped[str] = mapped_column(_Word)
    passes_taken: Mapped[int]
    settled_by: Mapped[str]
    settled_at: Mapped[datetime]


class AccountEntry(Base):
    """An external's prepaid meals, in cents: bought, eaten, corrected. Only ever added to.

    `meal` is "pupil/day/period" for a meal that was eaten: unique, so that one meal is debited once, whatever comes
    twice.
    """

    __tablename__ = "account_entries"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    pupil: Mapped[str] = mapped_column(_Pupil, index=True)
    kind: Mapped[str] = mapped_column(_Word)
    cents: Mapped[int]
    meal: Mapped[str | None] = mapped_column(unique=True)
    device: Mapped[str | None] = mapped_column(_Device)
    pass_id: Mapped[str | None] = mapped_column(String(26))
    noted_by: Mapped[str]
    noted_at: Mapped[datetime]


class DayCertificate(Base):
    """Each daily certificate ever made, as it was signed; a later one of the same day does not replace it."""

    __tablename__ = "day_certificates"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    day: Mapped[date] = mapped_column(index=True)
    statement: Mapped[str]
    signature: Mapped[bytes]
    made_by: Mapped[str]
    made_at: Mapped[datetime]


class EnrollmentCode(Base):
    """A one-time code with which a device comes in; only its digest is kept."""

    __tablename__ = "enrollment_codes"

    code_digest: Mapped[str] = mapped_column(_Digest, primary_key=True)
    device: Mapped[str] = mapped_column(_Device)
    role: Mapped[str] = mapped_column(_Word)
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class IssuedCertificate(Base):
    """A certificate that our authority gave to a device."""

    __tablename__ = "issued_certificates"

    serial: Mapped[str] = mapped_column(_Digest, primary_key=True)
    device: Mapped[str] = mapped_column(_Device, index=True)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    key_digest: Mapped[str | None] = mapped_column(_Digest)
    """SHA-256 of the device's public TLS key: by it a certificate is known even when its authority is lost."""
    pem: Mapped[str | None]
    """The certificate itself; None for one that was issued before this column was."""
