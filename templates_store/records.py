"""Between the domain's values and the columns that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, select

from canteen.consent import Consent, GivenBy
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.errors import CanteenError
from canteen.identifiers import PupilId
from templates_store.errors import StoreUnavailable
from templates_store.models import PUPILS
from templates_store.store import PupilRecord

PUPIL_RECORDS = select(
    PUPILS.c.pupil, PUPILS.c.first_name, PUPILS.c.last_name, PUPILS.c.class_name, PUPILS.c.entitlements
)
"""Pupils as `read_pupil` takes them."""

PUPIL_BY_CODE = "SELECT pupil, first_name, last_name, class_name, entitlements FROM pupil WHERE code_lookup = ?"
PUPIL_BY_PSEUDONYM = "SELECT pupil, first_name, last_name, class_name, entitlements FROM pupil WHERE pupil = ?"
REFERENCE = (
    "SELECT r.revision, r.notice_version, r.given_by, r.given_at, r.adaptation, r.sealed_reference,"
    " k.wrapped_key, c.state"
    " FROM reference r JOIN pupil_key k ON k.pupil = r.pupil LEFT JOIN consent c ON c.pupil = r.pupil"
    " WHERE r.pupil = ?"
)
PUPIL_AND_REFERENCE_BY_CODE = (
    "SELECT p.pupil, p.first_name, p.last_name, p.class_name, p.entitlements,"
    " r.revision, r.notice_version, r.given_by, r.given_at, r.adaptation, r.sealed_reference,"
    " k.wrapped_key, c.state"
    " FROM pupil p LEFT JOIN reference r ON r.pupil = p.pupil LEFT JOIN pupil_key k ON k.pupil = p.pupil"
    " LEFT JOIN consent c ON c.pupil = p.pupil WHERE p.code_lookup = ?"
)
TO_ADAPT = (
    "SELECT r.revision, r.notice_version, r.given_by, r.given_at, r.adaptation, r.sealed_history,"
    " k.wrapped_key, c.state"
    " FROM reference r JOIN pupil_key k ON k.pupil = r.pupil LEFT JOIN consent c ON c.pupil = r.pupil"
    " WHERE r.pupil = ?"
)
TO_GRANT = (
    "SELECT k.wrapped_key, c.state, r.revision, t.revision FROM pupil p"
    " LEFT JOIN pupil_key k ON k.pupil = p.pupil LEFT JOIN consent c ON c.pupil = p.pupil"
    " LEFT JOIN reference r ON r.pupil = p.pupil LEFT JOIN tombstone t ON t.pupil_digest = ? WHERE p.pupil = ?"
)
"""These stand between a laid hand and an open gate: plain SQL, for the driver's shortest way."""


def read_pupil(row: Row[str, str, str, str, str, *tuple[Any, ...]]) -> PupilRecord:
    """The pupil of a row that begins as those of `PUPIL_RECORDS`; raises StoreUnavailable."""
    return PupilRecord(
        pupil=PupilId(row.pupil),
        first_name=row.first_name,
        last_name=row.last_name,
        class_name=row.class_name,
        entitlements=read_entitlements(row.entitlements),
    )


def pupil_of(columns: tuple[Any, ...]) -> PupilRecord:
    """The pupil of a row of `PUPIL_BY_CODE`; raises StoreUnavailable."""
    pupil, first_name, last_name, class_name, entitlements = columns
    return PupilRecord(PupilId(pupil), first_name, last_name, class_name, read_entitlements(entitlements))


def entitlements_text(entitlements: Iterable[Entitlement]) -> str:
    """Entitlements as JSON."""
    return json.dumps(
        [[e.kind.value, sorted(e.weekdays), e.valid_from.isoformat(), e.valid_until.isoformat()] for e in entitlements],
        separators=(",", ":"),
    )


@lru_cache(maxsize=256)
def read_entitlements(text: str) -> tuple[Entitlement, ...]:
    """What `entitlements_text` wrote; raises StoreUnavailable.

    Kept, since a school knows few forfaits and reading one takes longer than finding a pupil. Nothing personal in it.
    """
    try:
        return tuple(
            Entitlement(
                EntitlementKind(kind), frozenset(weekdays), date.fromisoformat(valid_from), date.fromisoformat(until)
            )
            for kind, weekdays, valid_from, until in json.loads(text)
        )
    except (CanteenError, ValueError, TypeError) as error:
        raise StoreUnavailable("an entitlement in the store cannot be read") from error


def instant_text(instant: datetime) -> str:
    """An aware instant in UTC, such that texts order as instants do."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def read_instant(text: str) -> datetime:
    """What `instant_text` wrote; raises StoreUnavailable."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise StoreUnavailable("an instant in the store cannot be read") from error


def optional_instant(text: str | None) -> datetime | None:
    """What `instant_text` wrote, or None."""
    return None if text is None else read_instant(text)


@lru_cache(maxsize=256)
def read_consent(notice_version: str, given_by: str, given_at: str) -> Consent:
    """A consent from its columns; raises StoreUnavailable."""
    try:
        return Consent(notice_version, GivenBy(given_by), read_instant(given_at))
    except (CanteenError, ValueError) as error:
        raise StoreUnavailable("a consent in the store cannot be read") from error
