"""The tables of the store. Every page of the file is SQLCipher's; what is sealed in here is sealed once more.

A change of these tables is a new `SCHEMA_VERSION` and a step in `migrations/`; a later version than this program knows
is refused. Tables are clustered by their keys (no row numbers): a look-up on the way of a pass is one descent each.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 3

_CLUSTERED = {"sqlite_with_rowid": False}


class Base(DeclarativeBase):
    """The base of this package's tables."""


class StoreState(Base):
    """One row: the format, the present epoch, how many changes there were, and what is known of lease and time."""

    __tablename__ = "store_state"
    __table_args__ = (CheckConstraint("only_row = 1"),)

    only_row: Mapped[int] = mapped_column(primary_key=True)
    schema_version: Mapped[int]
    epoch: Mapped[int]
    changes: Mapped[int]
    rolled_back: Mapped[bool]
    lease_until: Mapped[str | None]
    high_water_mark: Mapped[str | None]
    signed_time: Mapped[str | None]
    certain: Mapped[str | None]
    suspended: Mapped[bool]
    suspended_ran_s: Mapped[float]
    destroyed_because: Mapped[str | None]


class PupilRow(Base):
    """A pupil of the roster; the code is found by `code_lookup` and read from `sealed_code`."""

    __tablename__ = "pupil"
    __table_args__ = _CLUSTERED

    pupil: Mapped[str] = mapped_column(primary_key=True)
    first_name: Mapped[str]
    last_name: Mapped[str]
    class_name: Mapped[str]
    entitlements: Mapped[str]
    # NULL only inside put_pupils, while codes change hands; unique all the same.
    code_lookup: Mapped[bytes | None] = mapped_column(unique=True)
    sealed_code: Mapped[bytes]


class PupilKeyRow(Base):
    """The pupil's own key, wrapped by the epoch's; deleting this row is what destroys the pupil's records."""

    __tablename__ = "pupil_key"
    __table_args__ = _CLUSTERED

    pupil: Mapped[str] = mapped_column(ForeignKey("pupil.pupil"), primary_key=True)
    wrapped_key: Mapped[bytes]


class ReferenceRow(Base):
    """A sealed reference and the consent it rests on, which is bound into the seal.

    `adaptation` counts how often it has followed its hand since it was enrolled; what has to be remembered for that is
    sealed beside it, and both go with it.
    """

    __tablename__ = "reference"
    __table_args__ = _CLUSTERED

    pupil: Mapped[str] = mapped_column(ForeignKey("pupil.pupil"), primary_key=True)
    revision: Mapped[int]
    notice_version: Mapped[str]
    given_by: Mapped[str]
    given_at: Mapped[str]
    adaptation: Mapped[int] = mapped_column(default=0, server_default="0")
    sealed_reference: Mapped[bytes]
    sealed_history: Mapped[bytes | None]


class ConsentRow(Base):
    """Where the pupil stands; the proof's columns are filled for a given consent."""

    __tablename__ = "consent"
    __table_args__ = _CLUSTERED

    pupil: Mapped[str] = mapped_column(ForeignKey("pupil.pupil"), primary_key=True)
    state: Mapped[str]
    notice_version: Mapped[str | None]
    given_by: Mapped[str | None]
    given_at: Mapped[str | None]


class CardRow(Base):
    """A card by the keyed hash of its number; `pupil` is NULL for a blocked card that was nobody's here."""

    __tablename__ = "card"
    __table_args__ = _CLUSTERED

    card_lookup: Mapped[bytes] = mapped_column(primary_key=True)
    pupil: Mapped[str | None] = mapped_column(ForeignKey("pupil.pupil"), index=True)
    blocked: Mapped[bool]


class TombstoneRow(Base):
    """What is left of an erased reference: a keyed hash of the pupil and the highest revision there ever was.

    A sealed reference of that revision or an earlier one is a replay, whoever sends it, and stays out for good. What
    the erasure's receipt says is kept beside it: a kill between the erasure and its receipt must not lose it.
    """

    __tablename__ = "tombstone"
    __table_args__ = _CLUSTERED

    pupil_digest: Mapped[bytes] = mapped_column(primary_key=True)
    revision: Mapped[int]
    record_digest: Mapped[str]
    epoch_before: Mapped[int]
    epoch_after: Mapped[int]


class DocumentRow(Base):
    """A small JSON object under a name."""

    __tablename__ = "document"
    __table_args__ = _CLUSTERED

    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
