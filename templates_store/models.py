"""The tables of the store. Every page of the file is SQLCipher's; what is sealed in here is sealed once more.

A change of these tables is a new `SCHEMA_VERSION` and a step in `migrations/`; a later version than this program knows
is refused. Tables are clustered by their keys (no row numbers): a look-up on the way of a pass is one descent each.
SQLAlchemy's tables without its mapper, which would take a fifth of a terminal's cold start to load.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

SCHEMA_VERSION = 3

METADATA = MetaData()

STORE_STATE = Table(
    "store_state",
    METADATA,
    Column("only_row", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("rolled_back", Boolean, nullable=False),
    Column("lease_until", String),
    Column("high_water_mark", String),
    Column("signed_time", String),
    Column("certain", String),
    Column("suspended", Boolean, nullable=False),
    Column("suspended_ran_s", Double, nullable=False),
    Column("destroyed_because", String),
    CheckConstraint("only_row = 1"),
)
"""One row: the format, the present epoch, how many changes there were, and what is known of lease and time."""

PUPILS = Table(
    "pupil",
    METADATA,
    Column("pupil", String, primary_key=True),
    Column("first_name", String, nullable=False),
    Column("last_name", String, nullable=False),
    Column("class_name", String, nullable=False),
    Column("entitlements", String, nullable=False),
    # NULL only inside put_pupils, while codes change hands; unique all the same.
    Column("code_lookup", LargeBinary, unique=True),
    Column("sealed_code", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The pupils of the roster; a code is found by `code_lookup` and read from `sealed_code`."""

PUPIL_KEYS = Table(
    "pupil_key",
    METADATA,
    Column("pupil", ForeignKey("pupil.pupil"), primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The pupils' own keys, wrapped by the epoch's; deleting a row is what destroys the pupil's records."""

REFERENCES = Table(
    "reference",
    METADATA,
    Column("pupil", ForeignKey("pupil.pupil"), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("notice_version", String, nullable=False),
    Column("given_by", String, nullable=False),
    Column("given_at", String, nullable=False),
    Column("adaptation", Integer, nullable=False, default=0, server_default="0"),
    Column("sealed_reference", LargeBinary, nullable=False),
    Column("sealed_history", LargeBinary),
    sqlite_with_rowid=False,
)
"""Sealed references and the consent each rests on, which is bound into the seal.

`adaptation` counts how often one has followed its hand since it was enrolled; what has to be remembered for that is
sealed beside it, and both go with it.
"""

CONSENTS = Table(
    "consent",
    METADATA,
    Column("pupil", ForeignKey("pupil.pupil"), primary_key=True),
    Column("state", String, nullable=False),
    Column("notice_version", String),
    Column("given_by", String),
    Column("given_at", String),
    sqlite_with_rowid=False,
)
"""Where each pupil stands; the proof's columns are filled for a given consent."""

CARDS = Table(
    "card",
    METADATA,
    Column("card_lookup", LargeBinary, primary_key=True),
    Column("pupil", ForeignKey("pupil.pupil"), index=True),
    Column("blocked", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
"""Cards by the keyed hash of their number; `pupil` is NULL for a blocked card that was nobody's here."""

TOMBSTONES = Table(
    "tombstone",
    METADATA,
    Column("pupil_digest", LargeBinary, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("record_digest", String, nullable=False),
    Column("epoch_before", Integer, nullable=False),
    Column("epoch_after", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""What is left of an erased reference: a keyed hash of the pupil and the highest revision there ever was.

A sealed reference of that revision or an earlier one is a replay, whoever sends it, and stays out for good. What the
erasure's receipt says is kept beside it: a kill between the erasure and its receipt must not lose it.
"""

DOCUMENTS = Table(
    "document",
    METADATA,
    Column("name", String, primary_key=True),
    Column("content", String, nullable=False),
    sqlite_with_rowid=False,
)
"""Small JSON objects under a name."""
