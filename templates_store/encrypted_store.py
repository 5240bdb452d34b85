"""The store on disk: SQLAlchemy over SQLCipher, one connection, one lock, every write durable when it returns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from canteen.consent import Consent, ConsentState
from canteen.credentials import CardNumber, PersonalCode
from canteen.errors import CanteenError
from canteen.identifiers import PupilId
from templates_store.database import create_private, errors_named, fold_log, open_engine
from templates_store.errors import CodeTaken, ConsentMissing, StoreUnavailable, UnknownPupil
from templates_store.key_source import KeySource
from templates_store.lease import lease_holds, longer_lease
from templates_store.models import (
    SCHEMA_VERSION,
    Base,
    CardRow,
    ConsentRow,
    DocumentRow,
    PupilRow,
    ReferenceRow,
    StoreState,
)
from templates_store.pupil_keys import FIRST_EPOCH, Epoch, create_pupil_key, open_epoch, present_epoch, pupil_key
from templates_store.purge import buried_revision, last_erasure, purge_all_but, purge_pupil
from templates_store.records import (
    PUPIL_RECORDS,
    REFERENCES,
    entitlements_text,
    instant_text,
    optional_instant,
    read_consent,
    read_pupil,
)
from templates_store.sealing import code_bound, derive_keys, keyed_digest, reference_bound, seal, unseal
from templates_store.standing import Standing, standings
from templates_store.store import (
    CardRecord,
    Erasure,
    PupilRecord,
    PurgeOutcome,
    ReferenceAbsence,
    StoredReference,
)

_REFUSING = frozenset({ConsentState.OPPOSED.value, ConsentState.WITHDRAWN.value})


class EncryptedStore:
    """`TemplateStore` in one SQLCipher file. Safe to share between threads; one process at a time writes it."""

    def __init__(self, path: Path, key_source: KeySource) -> None:
        """Opens the store in `path`, or makes a new one.

        Raises:
            StoreUnavailable: the key is missing or does not open it, the file is damaged, or a later program made it.
        """
        self._lock = threading.RLock()
        self._closed = False
        is_new = not path.exists()
        self._keys = derive_keys(key_source.secret(may_create=is_new))
        if is_new:
            create_private(path)
        self._engine = open_engine(path, self._keys.file)
        try:
            self._prepare()
        except StoreUnavailable:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._engine.dispose()

    # The roster

    def put_pupils(self, pupils: Sequence[tuple[PupilRecord, PersonalCode]], *, whole: bool) -> list[PupilId]:
        by_pupil = {record.pupil: (record, code) for record, code in pupils}
        lookups = {pupil: self._code_lookup(code) for pupil, (_, code) in by_pupil.items()}
        with self._writing() as connection:
            gone = purge_all_but(connection, self._keys, by_pupil.keys()) if whole else []
            held = {
                row.pupil: row.code_lookup for row in connection.execute(select(PupilRow.pupil, PupilRow.code_lookup))
            }
            taken = {lookup for pupil, lookup in held.items() if pupil not in by_pupil}
            if len(set(lookups.values())) < len(lookups) or taken & set(lookups.values()):
                raise CodeTaken("two pupils with one code")
            # Codes may change hands within one roster: let go of all of them before any is given again.
            changed = [{"whose": p} for p, lookup in lookups.items() if held.get(p, lookup) != lookup]
            if changed:
                connection.exec_driver_sql("UPDATE pupil SET code_lookup = NULL WHERE pupil = :whose", changed)
            epoch = present_epoch(connection, self._keys)
            for pupil, (record, code) in by_pupil.items():
                self._put_pupil(connection, epoch, record, code, known=pupil in held)
        if gone:
            self._fold_log()
        return gone

    def pupil(self, pupil: PupilId) -> PupilRecord | None:
        with self._reading() as connection:
            row = connection.execute(PUPIL_RECORDS.where(PupilRow.pupil == pupil)).one_or_none()
        return None if row is None else read_pupil(row)

    def pupils(self) -> Iterator[PupilRecord]:
        with self._reading() as connection:
            rows = connection.execute(PUPIL_RECORDS.order_by(PupilRow.class_name, PupilRow.last_name)).all()
        return map(read_pupil, rows)

    def standings(self) -> list[Standing]:
        """Every pupil with where they stand, by class and name."""
        with self._reading() as connection:
            return list(standings(connection))

    def find_by_code(self, code: PersonalCode) -> PupilRecord | None:
        with self._reading() as connection:
            row = connection.execute(PUPIL_RECORDS.where(PupilRow.code_lookup == self._code_lookup(code))).one_or_none()
        return None if row is None else read_pupil(row)

    def code_of(self, pupil: PupilId) -> PersonalCode | None:
        with self._reading() as connection:
            sealed = connection.execute(
                select(PupilRow.sealed_code).where(PupilRow.pupil == pupil)
            ).scalar_one_or_none()
            if sealed is None:
                return None
            key = pupil_key(connection, present_epoch(connection, self._keys), pupil)
        try:
            return PersonalCode(unseal(key, sealed, code_bound(pupil)).decode("ascii"))
        except (CanteenError, ValueError) as error:
            raise StoreUnavailable("a code in the store cannot be read") from error

    # Cards

    def put_card(self, card: CardNumber, pupil: PupilId) -> None:
        """A card that was blocked stays so: a lost card that turns up again may have been copied meanwhile."""
        with self._writing() as connection:
            self._require(connection, pupil)
            put = upsert(CardRow).values(card_lookup=self._card_lookup(card), pupil=pupil, blocked=False)
            connection.execute(
                put.on_conflict_do_update(index_elements=[CardRow.card_lookup], set_={"pupil": put.excluded.pupil})
            )

    def block_card(self, card: CardNumber) -> None:
        with self._writing() as connection:
            put = upsert(CardRow).values(card_lookup=self._card_lookup(card), pupil=None, blocked=True)
            connection.execute(put.on_conflict_do_update(index_elements=[CardRow.card_lookup], set_={"blocked": True}))

    def find_by_card(self, card: CardNumber) -> CardRecord | None:
        with self._reading() as connection:
            row = connection.execute(
                select(CardRow.pupil, CardRow.blocked).where(CardRow.card_lookup == self._card_lookup(card))
            ).one_or_none()
        return None if row is None or row.pupil is None else CardRecord(PupilId(row.pupil), row.blocked)

    def has_card(self, pupil: PupilId) -> bool:
        with self._reading() as connection:
            query = select(CardRow.card_lookup).where(CardRow.pupil == pupil, CardRow.blocked.is_(False))
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
        with self._writing() as connection:
            self._require(connection, pupil)
            put = upsert(ConsentRow).values(pupil=pupil, **columns)
            connection.execute(put.on_conflict_do_update(index_elements=[ConsentRow.pupil], set_=columns))

    def consent_of(self, pupil: PupilId) -> tuple[ConsentState, Consent | None]:
        with self._reading() as connection:
            row = connection.execute(
                select(ConsentRow.state, ConsentRow.notice_version, ConsentRow.given_by, ConsentRow.given_at).where(
                    ConsentRow.pupil == pupil
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
        with self._writing() as connection:
            self._require(connection, pupil)
            if self._consent_refuses(connection, pupil):
                raise ConsentMissing("opposition or withdrawal is on record")
            if revision <= self._revision_floor(connection, pupil):
                return False
            epoch = present_epoch(connection, self._keys)
            bound = reference_bound(
                pupil, revision, consent.notice_version, consent.given_by.value, instant_text(consent.given_at)
            )
            columns = {
                "revision": revision,
                "notice_version": consent.notice_version,
                "given_by": consent.given_by.value,
                "given_at": instant_text(consent.given_at),
                "sealed_reference": seal(pupil_key(connection, epoch, pupil), reference, bound),
            }
            put = upsert(ReferenceRow).values(pupil=pupil, **columns)
            connection.execute(put.on_conflict_do_update(index_elements=[ReferenceRow.pupil], set_=columns))
        return True

    def reference(self, pupil: PupilId, now: datetime) -> StoredReference | ReferenceAbsence:
        with self._reading() as connection:
            # One question to the file: this stands between a laid hand and an open turnstile.
            row = connection.execute(REFERENCES.where(ReferenceRow.pupil == pupil)).one_or_none()
        if row is None or row.state in _REFUSING:
            return ReferenceAbsence.NONE
        if not lease_holds(now, optional_instant(row.high_water_mark), optional_instant(row.lease_until)):
            return ReferenceAbsence.LEASE_EXPIRED
        consent = read_consent(row.notice_version, row.given_by, row.given_at)
        key = open_epoch(row.epoch, row.wrapped_epoch_key, self._keys).unwrap(pupil, row.wrapped_key)
        content = unseal(
            key,
            row.sealed_reference,
            reference_bound(pupil, row.revision, row.notice_version, row.given_by, row.given_at),
        )
        return StoredReference(pupil, row.revision, consent, content)

    def reference_revision(self, pupil: PupilId) -> int:
        with self._reading() as connection:
            return self._held_revision(connection, pupil)

    def revision_floor(self, pupil: PupilId) -> int:
        """The highest revision there ever was here, erased ones included: the next one must lie above it."""
        with self._reading() as connection:
            return self._revision_floor(connection, pupil)

    # Lease, purge, documents, time

    def renew_lease(self, until: datetime) -> None:
        with self._writing() as connection:
            present = connection.execute(select(StoreState.lease_until)).scalar_one()
            longer = longer_lease(optional_instant(present), until)
            connection.execute(update(StoreState).values(lease_until=instant_text(longer)))

    @property
    def lease_until(self) -> datetime | None:
        with self._reading() as connection:
            return optional_instant(connection.execute(select(StoreState.lease_until)).scalar_one())

    def purge(self, pupil: PupilId, erasure: Erasure) -> PurgeOutcome:
        with self._writing() as connection:
            outcome = purge_pupil(connection, self._keys, pupil, erasure)
        # Even when nothing was held: a kill may have struck between the purge and the folding, and this is the retry.
        self._fold_log()
        return outcome

    def last_erasure(self, pupil: PupilId) -> PurgeOutcome | None:
        """What the latest erasure of a reference of this pupil said.

        A purge that is asked for again, after a kill or because the station erased at once by itself, finds nothing;
        its receipt still names what was erased.
        """
        with self._reading() as connection:
            return last_erasure(connection, self._keys, pupil)

    @property
    def epoch(self) -> int:
        """The number of the present key epoch."""
        with self._reading() as connection:
            return connection.execute(select(StoreState.epoch)).scalar_one()

    def put_document(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        with self._writing() as connection:
            put = upsert(DocumentRow).values(name=name, content=text)
            connection.execute(put.on_conflict_do_update(index_elements=[DocumentRow.name], set_={"content": text}))

    def document(self, name: str) -> dict[str, Any] | None:
        with self._reading() as connection:
            text = connection.execute(select(DocumentRow.content).where(DocumentRow.name == name)).scalar_one_or_none()
        content: dict[str, Any] | None = None if text is None else json.loads(text)
        return content

    def note_instant(self, instant: datetime) -> None:
        text = instant_text(instant)
        with self._writing() as connection:
            mark = func.coalesce(StoreState.high_water_mark, "")
            connection.execute(update(StoreState).where(mark < text).values(high_water_mark=text))

    @property
    def high_water_mark(self) -> datetime | None:
        with self._reading() as connection:
            return optional_instant(connection.execute(select(StoreState.high_water_mark)).scalar_one())

    # Inside

    def _prepare(self) -> None:
        with self._writing() as connection:
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
                Base.metadata.create_all(connection)
                epoch = Epoch.fresh(FIRST_EPOCH)
                connection.execute(
                    insert(StoreState).values(
                        only_row=1,
                        schema_version=SCHEMA_VERSION,
                        epoch=epoch.number,
                        wrapped_epoch_key=epoch.wrapped(self._keys.root),
                    )
                )
            version = connection.execute(select(StoreState.schema_version)).scalar_one_or_none()
            if version != SCHEMA_VERSION:
                raise StoreUnavailable(f"the store has format {version}; this program knows format {SCHEMA_VERSION}")
            present_epoch(connection, self._keys)
        # A kill between a purge and its folding leaves erased pages in the log: finish it now.
        self._fold_log()

    def _put_pupil(
        self, connection: Connection, epoch: Epoch, record: PupilRecord, code: PersonalCode, *, known: bool
    ) -> None:
        columns = {
            "first_name": record.first_name,
            "last_name": record.last_name,
            "class_name": record.class_name,
            "entitlements": entitlements_text(record.entitlements),
            "code_lookup": self._code_lookup(code),
        }
        if known:
            key = pupil_key(connection, epoch, record.pupil)
            columns["sealed_code"] = seal(key, code.digits.encode(), code_bound(record.pupil))
            connection.execute(update(PupilRow).where(PupilRow.pupil == record.pupil).values(**columns))
            return
        # The code is sealed under the pupil's key, and the key's row points at the pupil's: first the pupil.
        connection.execute(insert(PupilRow).values(pupil=record.pupil, sealed_code=b"", **columns))
        key = create_pupil_key(connection, epoch, record.pupil)
        sealed_code = seal(key, code.digits.encode(), code_bound(record.pupil))
        connection.execute(update(PupilRow).where(PupilRow.pupil == record.pupil).values(sealed_code=sealed_code))

    def _require(self, connection: Connection, pupil: PupilId) -> None:
        if connection.execute(select(PupilRow.pupil).where(PupilRow.pupil == pupil)).first() is None:
            raise UnknownPupil(pupil)

    def _consent_refuses(self, connection: Connection, pupil: PupilId) -> bool:
        state = connection.execute(select(ConsentRow.state).where(ConsentRow.pupil == pupil)).scalar_one_or_none()
        return state in _REFUSING

    def _held_revision(self, connection: Connection, pupil: PupilId) -> int:
        query = select(ReferenceRow.revision).where(ReferenceRow.pupil == pupil)
        return connection.execute(query).scalar_one_or_none() or 0

    def _revision_floor(self, connection: Connection, pupil: PupilId) -> int:
        return max(self._held_revision(connection, pupil), buried_revision(connection, self._keys, pupil))

    def _code_lookup(self, code: PersonalCode) -> bytes:
        return keyed_digest(self._keys.code_lookup, code.digits.encode())

    def _card_lookup(self, card: CardNumber) -> bytes:
        return keyed_digest(self._keys.card_lookup, card.hexadecimal.encode())

    def _fold_log(self) -> None:
        with self._lock, errors_named(), self._open().connect() as connection:
            fold_log(connection)

    def _open(self) -> Engine:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._engine

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._lock, errors_named(), self._open().connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._lock, errors_named(), self._open().connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection
