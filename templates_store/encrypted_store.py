"""The store on disk: SQLAlchemy over SQLCipher, one connection, one lock, every write durable when it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from canteen.consent import Consent, ConsentState
from canteen.credentials import CardNumber, PersonalCode
from canteen.errors import CanteenError
from canteen.identifiers import PupilId
from templates_store.documents import put_document, read_document
from templates_store.errors import ConsentMissing, StoreUnavailable, UnknownPupil
from templates_store.key_source import KeySource
from templates_store.lease import Lease, LeaseStanding
from templates_store.lease_keeping import LeaseKeeper, running_time_s
from templates_store.models import CARDS, CONSENTS, PUPILS, REFERENCES
from templates_store.pupil_keys import pupil_key
from templates_store.purge import (
    absentees,
    buried_revision,
    is_held,
    last_erasure,
    purge_everything_of,
    purge_pupil,
    tombstone_digest,
)
from templates_store.records import (
    PUPIL_AND_REFERENCE_BY_CODE,
    PUPIL_BY_CODE,
    PUPIL_BY_PSEUDONYM,
    PUPIL_RECORDS,
    REFERENCE,
    TO_ADAPT,
    TO_GRANT,
    instant_text,
    pupil_of,
    read_consent,
    read_entitlements,
    read_pupil,
)
from templates_store.roster import put_roster
from templates_store.sealing import (
    code_bound,
    history_bound,
    keyed_digest,
    keyed_digests,
    reference_bound,
    seal,
    unseal,
)
from templates_store.self_test import run_self_test
from templates_store.standing import Standing, standings
from templates_store.store import (
    CardRecord,
    EndedLease,
    Erasure,
    PupilRecord,
    PurgeOutcome,
    ReferenceAbsence,
    StoredReference,
)
from templates_store.store_file import StoreFile

_log = logging.getLogger("canteen.store")

_REFUSING = frozenset({ConsentState.OPPOSED.value, ConsentState.WITHDRAWN.value})


class EncryptedStore:
    """`TemplateStore` in one SQLCipher file. Safe to share between threads; one process at a time writes it."""

    def __init__(self, path: Path, key_source: KeySource, running_s: Callable[[], float] = running_time_s) -> None:
        """Opens the store in `path`, or makes a new one.

        Raises:
            StoreUnavailable: the key is missing or does not open it, the file is damaged, or a later program made it.
            StoreRolledBack: an older copy of it was put back.
            SelfTestFailed: the cryptography of this machine does not give its published answers.
        """
        run_self_test()
        self._file = StoreFile(path, key_source)
        self._keys = self._file.keys
        self._code_digest = keyed_digests(self._keys.code_lookup)
        self._leases = LeaseKeeper(self._file, running_s)

    def close(self) -> None:
        self._file.close()

    @property
    def rolled_back(self) -> bool:
        """Whether an older copy of the file was put back. No reference is compared until a fresh lease."""
        return self._file.is_older_copy

    # The roster

    def put_pupils(self, pupils: Sequence[tuple[PupilRecord, PersonalCode]], *, whole: bool) -> list[PupilId]:
        by_pupil = {record.pupil: (record, code) for record, code in pupils}
        lookups = {pupil: self._code_lookup(code) for pupil, (_, code) in by_pupil.items()}
        with self._file.lock:
            gone: list[PupilId] = []
            if whole:
                with self._file.reading() as connection:
                    gone = absentees(connection, by_pupil.keys())
            if not gone:
                with self._file.writing() as connection:
                    put_roster(connection, self._file.epoch, by_pupil, lookups)
                return []
            self._file.new_epoch(lambda connection: self._replace_roster(connection, gone, by_pupil, lookups))
        return gone

    def pupil(self, pupil: PupilId) -> PupilRecord | None:
        with self._file.lock:
            row = self._file.row(PUPIL_BY_PSEUDONYM, (pupil,))
        return None if row is None else pupil_of(row)

    def pupils(self) -> Iterator[PupilRecord]:
        with self._file.reading() as connection:
            rows = connection.execute(PUPIL_RECORDS.order_by(PUPILS.c.class_name, PUPILS.c.last_name)).all()
        return map(read_pupil, rows)

    def standings(self) -> list[Standing]:
        """Every pupil with where they stand, by class and name."""
        with self._file.reading() as connection:
            return list(standings(connection))

    def find_by_code(self, code: PersonalCode) -> PupilRecord | None:
        with self._file.lock:
            row = self._file.row(PUPIL_BY_CODE, (self._code_lookup(code),))
        return None if row is None else pupil_of(row)

    def code_of(self, pupil: PupilId) -> PersonalCode | None:
        with self._file.reading() as connection:
            sealed = connection.execute(
                select(PUPILS.c.sealed_code).where(PUPILS.c.pupil == pupil)
            ).scalar_one_or_none()
            if sealed is None:
                return None
            key = pupil_key(connection, self._file.epoch, pupil)
        try:
            return PersonalCode(unseal(key, sealed, code_bound(pupil)).decode("ascii"))
        except (CanteenError, ValueError) as error:
            raise StoreUnavailable("a code in the store cannot be read") from error

    # Cards

    def put_card(self, card: CardNumber, pupil: PupilId) -> None:
        """A card that was blocked stays so: a lost card that turns up again may have been copied meanwhile."""
        with self._file.writing() as connection:
            self._require(connection, pupil)
            put = upsert(CARDS).values(card_lookup=self._card_lookup(card), pupil=pupil, blocked=False)
            connection.execute(
                put.on_conflict_do_update(index_elements=[CARDS.c.card_lookup], set_={"pupil": put.excluded.pupil})
            )

    def block_card(self, card: CardNumber) -> None:
        with self._file.writing() as connection:
            put = upsert(CARDS).values(card_lookup=self._card_lookup(card), pupil=None, blocked=True)
            connection.execute(put.on_conflict_do_update(index_elements=[CARDS.c.card_lookup], set_={"blocked": True}))

    def find_by_card(self, card: CardNumber) -> CardRecord | None:
        with self._file.reading() as connection:
            row = connection.execute(
                select(CARDS.c.pupil, CARDS.c.blocked).where(CARDS.c.card_lookup == self._card_lookup(card))
            ).one_or_none()
        return None if row is None or row.pupil is None else CardRecord(PupilId(row.pupil), row.blocked)

    def has_card(self, pupil: PupilId) -> bool:
        with self._file.reading() as connection:
            query = select(CARDS.c.card_lookup).where(CARDS.c.pupil == pupil, CARDS.c.blocked.is_(False))
            return connection.execute(query.limit(1)).first() is not None

    # Consent and references

    def put_consent(self, pupil: PupilId, state: ConsentState, consent: Consent | None) -> None:
        if state is ConsentState.GIVEN and consent is None:
            raise ConsentMissing("a consent that was given has its proof")
        columns = {
            "state": state.value,
            "notice_version": None if consent is None else consent.notice_version,
            "given_by": None if consent is None else consent.given_by.value,
            "given_at": None if consent is None else instant_text(consent.given_at),
        }
        with self._file.writing() as connection:
            self._require(connection, pupil)
            put = upsert(CONSENTS).values(pupil=pupil, **columns)
            connection.execute(put.on_conflict_do_update(index_elements=[CONSENTS.c.pupil], set_=columns))

    def consent_of(self, pupil: PupilId) -> tuple[ConsentState, Consent | None]:
        with self._file.reading() as connection:
            row = connection.execute(
                select(CONSENTS.c.state, CONSENTS.c.notice_version, CONSENTS.c.given_by, CONSENTS.c.given_at).where(
                    CONSENTS.c.pupil == pupil
                )
            ).one_or_none()
        if row is None:
            return ConsentState.NONE, None
        if row.notice_version is None or row.given_by is None or row.given_at is None:
            return ConsentState(row.state), None
        return ConsentState(row.state), read_consent(row.notice_version, row.given_by, row.given_at)

    def put_reference(self, pupil: PupilId, revision: int, consent: Consent, reference: bytes) -> bool:
        """The consent must travel with the reference.

        A terminal has no consent record of its own, so no record (NONE) does not stand in the way; one that says
        opposed or withdrawn does. A revision at or below that of a reference erased here is a replay, too.
        """
        return self.put_references([(pupil, revision, consent, reference)]) == 1

    def put_references(self, grants: Iterable[tuple[PupilId, int, Consent, bytes]]) -> int:
        """Several at once, as `put_reference`: all or, where one is refused by an error, none; how many are kept."""
        with self._file.writing() as connection:
            rows = [row for grant in grants if (row := self._reference_row(*grant)) is not None]
            if rows:
                put = upsert(REFERENCES)
                columns = {name: put.excluded[name] for name in rows[0] if name != "pupil"}
                connection.execute(put.on_conflict_do_update(index_elements=[REFERENCES.c.pupil], set_=columns), rows)
        return len(rows)

    def _reference_row(
        self, pupil: PupilId, revision: int, consent: Consent, reference: bytes
    ) -> dict[str, Any] | None:
        row = self._file.row(TO_GRANT, (tombstone_digest(self._keys, pupil), pupil))
        if row is None:
            raise UnknownPupil(pupil)
        wrapped_key, state, held_revision, buried = row
        if state in _REFUSING:
            raise ConsentMissing("opposition or withdrawal is on record")
        if revision <= max(held_revision or 0, buried or 0):
            return None
        proof = {
            "notice_version": consent.notice_version,
            "given_by": consent.given_by.value,
            "given_at": instant_text(consent.given_at),
        }
        if wrapped_key is None:
            raise StoreUnavailable(f"the key of {pupil} is missing")
        key = self._file.epoch.unwrap(pupil, wrapped_key)
        sealed = seal(key, reference, reference_bound(pupil, revision, **proof, adaptation=0))
        fresh = {"adaptation": 0, "sealed_history": None}
        return {"pupil": pupil, "revision": revision, "sealed_reference": sealed, **proof, **fresh}

    def reference(self, pupil: PupilId, now: datetime) -> StoredReference | ReferenceAbsence:
        with self._file.lock:
            # One question to the file: this stands between a laid hand and an open turnstile.
            row = self._file.row(REFERENCE, (pupil,))
            return ReferenceAbsence.NONE if row is None else self._opened(pupil, now, row)

    def look_up(
        self, code: PersonalCode, now: datetime
    ) -> tuple[PupilRecord, StoredReference | ReferenceAbsence] | None:
        """The pupil of a code with the reference to compare with: `find_by_code` and `reference` in one question."""
        lookup = self._code_digest(code.digits.encode())
        with self._file.lock:
            row = self._file.row(PUPIL_AND_REFERENCE_BY_CODE, (lookup,))
            if row is None:
                return None
            pupil, first_name, last_name, class_name, entitlements = row[:5]
            record = PupilRecord(pupil, first_name, last_name, class_name, read_entitlements(entitlements))
            return record, ReferenceAbsence.NONE if row[5] is None else self._opened(pupil, now, row[5:])

    def adapt_reference(self, adapted: StoredReference, history: bytes, now: datetime) -> bool:
        pupil, before = adapted.pupil, adapted.adaptation
        with self._file.writing() as connection:
            row = self._file.row(TO_ADAPT, (pupil,))
            if row is None:
                return False
            revision, notice_version, given_by, given_at, adaptation, _, wrapped_key, state = row
            if state in _REFUSING:
                raise ConsentMissing("opposition or withdrawal is on record")
            if (revision, adaptation) != (adapted.revision, before) or not self._leases.may_compare(now):
                return False
            key = self._file.epoch.unwrap(pupil, wrapped_key)
            bound = reference_bound(pupil, revision, notice_version, given_by, given_at, before + 1)
            connection.execute(
                update(REFERENCES)
                .where(REFERENCES.c.pupil == pupil)
                .values(
                    adaptation=before + 1,
                    sealed_reference=seal(key, adapted.reference, bound),
                    sealed_history=seal(key, history, history_bound(pupil, revision, before + 1)),
                )
            )
        return True

    def adaptation_history(self, reference: StoredReference) -> bytes | None:
        with self._file.lock:
            row = self._file.row(TO_ADAPT, (reference.pupil,))
            if row is None:
                return None
            revision, *_, adaptation, sealed, wrapped_key, state = row
            if (revision, adaptation) != (reference.revision, reference.adaptation) or sealed is None:
                return None
            if state in _REFUSING:
                return None
            key = self._file.epoch.unwrap(reference.pupil, wrapped_key)
        return unseal(key, sealed, history_bound(reference.pupil, revision, adaptation))

    def _opened(self, pupil: PupilId, now: datetime, row: tuple[Any, ...]) -> StoredReference | ReferenceAbsence:
        """The reference in a row of `REFERENCE`, if consent and lease allow it; the caller holds the lock."""
        revision, notice_version, given_by, given_at, adaptation, sealed, wrapped_key, state = row
        if state in _REFUSING:
            return ReferenceAbsence.NONE
        leases = self._leases
        if now >= leases.ends_at or leases.running_s() >= leases.ends_at_s or self._file.is_older_copy:
            return ReferenceAbsence.LEASE_EXPIRED
        if wrapped_key is None:
            raise StoreUnavailable(f"the key of {pupil} is missing")
        bound = reference_bound(pupil, revision, notice_version, given_by, given_at, adaptation)
        content = self._file.epoch.open_reference(pupil, wrapped_key, sealed, bound)
        return StoredReference(pupil, revision, read_consent(notice_version, given_by, given_at), content, adaptation)

    def reference_revision(self, pupil: PupilId) -> int:
        with self._file.reading() as connection:
            return self._held_revision(connection, pupil)

    def revision_floor(self, pupil: PupilId) -> int:
        """The highest revision there ever was here, erased ones included: the next one must lie above it."""
        with self._file.reading() as connection:
            return self._revision_floor(connection, pupil)

    # Lease, purge, documents, time

    def renew_lease(self, until: datetime) -> None:
        self._leases.renew(until)

    def note_signed_time(self, signed_time: datetime, now: datetime) -> None:
        self._leases.note_signed_time(signed_time, now)

    def tend(self, now: datetime) -> LeaseStanding:
        return self._leases.tend(now)

    def ended_lease(self) -> EndedLease | None:
        return self._leases.ended_lease()

    def note_ended_lease_told(self) -> None:
        self._leases.note_ended_lease_told()

    def believed_time(self, now: datetime) -> datetime:
        return self._leases.believed_time(now)

    def certain_time(self) -> datetime | None:
        return self._leases.certain_time()

    @property
    def lease(self) -> Lease:
        """Everything known of lease and time."""
        return self._leases.lease

    @property
    def lease_until(self) -> datetime | None:
        return self.lease.until

    @property
    def high_water_mark(self) -> datetime | None:
        return self.lease.high_water_mark

    def note_instant(self, instant: datetime) -> None:
        self._leases.note_instant(instant)

    def purge(self, pupil: PupilId, erasure: Erasure, consents_until: datetime | None = None) -> PurgeOutcome:
        with self._file.lock:
            with self._file.reading() as connection:
                held = is_held(connection, pupil, erasure, consents_until)
            if held:
                return self._file.new_epoch(
                    lambda connection: purge_pupil(connection, self._keys, self._file.epoch, pupil, erasure)
                )
            # A failure may have struck between the purge and its end, and this is the retry.
            self._file.finish()
            number = self._file.epoch.number
            return PurgeOutcome(None, number, number)

    def last_erasure(self, pupil: PupilId) -> PurgeOutcome | None:
        """What the latest erasure of a reference of this pupil said.

        A purge that is asked for again, after a kill or because the station erased at once by itself, finds nothing;
        its receipt still names what was erased.
        """
        with self._file.reading() as connection:
            return last_erasure(connection, self._keys, pupil)

    @property
    def epoch(self) -> int:
        """The number of the present key epoch."""
        with self._file.lock:
            self._file.require_open()
            return self._file.epoch.number

    def put_document(self, name: str, content: Mapping[str, Any]) -> None:
        with self._file.writing() as connection:
            put_document(connection, name, content)

    def document(self, name: str) -> dict[str, Any] | None:
        with self._file.reading() as connection:
            return read_document(connection, name)

    # Inside

    def _replace_roster(
        self,
        connection: Connection,
        gone: list[PupilId],
        by_pupil: Mapping[PupilId, tuple[PupilRecord, PersonalCode]],
        lookups: Mapping[PupilId, bytes],
    ) -> None:
        purge_everything_of(connection, self._keys, self._file.epoch, gone)
        put_roster(connection, self._file.epoch, by_pupil, lookups)

    def _require(self, connection: Connection, pupil: PupilId) -> None:
        if connection.execute(select(PUPILS.c.pupil).where(PUPILS.c.pupil == pupil)).first() is None:
            raise UnknownPupil(pupil)

    def _held_revision(self, connection: Connection, pupil: PupilId) -> int:
        query = select(REFERENCES.c.revision).where(REFERENCES.c.pupil == pupil)
        return connection.execute(query).scalar_one_or_none() or 0

    def _revision_floor(self, connection: Connection, pupil: PupilId) -> int:
        return max(self._held_revision(connection, pupil), buried_revision(connection, self._keys, pupil))

    def _code_lookup(self, code: PersonalCode) -> bytes:
        return self._code_digest(code.digits.encode())

    def _card_lookup(self, card: CardNumber) -> bytes:
        return keyed_digest(self._keys.card_lookup, card.hexadecimal.encode())
