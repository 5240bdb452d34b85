"""What a thief of the file sees, and what somebody with the key can and cannot rearrange."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlcipher3.dbapi2

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import StoreUnavailable
from templates_store.key_source import FileKeySource, epochs_beside
from templates_store.sealing import derive_epoch, derive_keys
from templates_store.store import Erasure, PupilRecord, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
ADA, ALAN = PupilId("p-00000000000000aa"), PupilId("p-00000000000000bb")
CARD = CardNumber("04A1B2C3D4E5F6")
REFERENCE = secrets.token_bytes(80)


class Folder:
    """A store's files, and ways to look at them from outside."""

    def __init__(self, path: Path) -> None:
        self.file, self.key = path / "store.db", path / "keys" / "store.key"

    def open(self) -> EncryptedStore:
        return EncryptedStore(self.file, FileKeySource(self.key))

    def file_key(self) -> bytes:
        """The SQLCipher key of the present epoch."""
        keys, epochs = derive_keys(self.key.read_bytes()), epochs_beside(self.file)
        number = epochs.kept()[-1]
        return derive_epoch(keys, number, epochs.open(number)).file

    @property
    def all_bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.file.parent.glob("store.db*")))

    def with_the_key(self) -> sqlcipher3.dbapi2.Connection:
        """The opened database, for somebody who has the store's key and bad intentions."""
        connection = sqlcipher3.dbapi2.connect(str(self.file), isolation_level=None)
        connection.execute(f"PRAGMA key = \"x'{self.file_key().hex()}'\"")
        return connection


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def store(folder: Folder) -> Iterator[EncryptedStore]:
    """Two pupils with codes, a card, a consent and a reference each."""
    opened = folder.open()
    opened.put_pupils(
        [
            (PupilRecord(ADA, "Philippine", "Desrosiers", "6e Marronniers", ()), PersonalCode("40372940")),
            (PupilRecord(ALAN, "Apolline", "Kervella", "6e Marronniers", ()), PersonalCode("0021")),
        ],
        whole=True,
    )
    opened.put_card(CARD, ADA)
    for pupil in (ADA, ALAN):
        opened.put_consent(pupil, ConsentState.GIVEN, CONSENT)
        opened.put_reference(pupil, 1, CONSENT, REFERENCE)
    opened.put_document("calendar", {"school_name": "Collège des Marronniers"})
    opened.renew_lease(NOW + timedelta(days=7))
    yield opened
    opened.close()


def test_nothing_is_in_clear_in_the_file_or_its_log(folder: Folder, store: EncryptedStore) -> None:
    """Neither names, codes, card numbers, pseudonyms nor a reference, neither while open nor after close."""
    secret = folder.key.read_bytes()
    needles = [
        *(b"Philippine", b"Desrosiers", b"Marronniers", ADA.encode(), b"legal-representative"),
        *(b"40372940", b"04A1B2C3D4E5F6", bytes.fromhex("04A1B2C3D4E5F6")),
        *(REFERENCE, REFERENCE[:16], secret, b"SQLite format 3"),
    ]
    open_bytes = folder.all_bytes
    store.close()
    for content in (open_bytes, folder.all_bytes):
        assert len(content) > 10_000
        for needle in needles:
            assert needle not in content


def test_inside_the_file_code_card_and_reference_are_sealed_once_more(folder: Folder, store: EncryptedStore) -> None:
    """Whoever gets the SQLCipher key alone, by a memory dump of the driver say, still finds no code, card or hand."""
    store.close()
    connection = folder.with_the_key()
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = repr([connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables])  # noqa: S608
    connection.close()
    assert "Philippine" in rows
    for needle in ("40372940", "04A1B2C3D4E5F6", repr(REFERENCE)[2:40]):
        assert needle not in rows


def test_files_are_for_their_owner_alone(folder: Folder, store: EncryptedStore) -> None:
    """Mode 0600: store, log and key."""
    assert store.epoch == 1
    for path in [*folder.file.parent.glob("store.db*"), folder.key]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "swap",
    [
        "UPDATE reference SET sealed_reference = (SELECT sealed FROM old WHERE old.pupil <> reference.pupil)",
        "UPDATE pupil_key SET wrapped_key = (SELECT wrapped FROM old WHERE old.pupil <> pupil_key.pupil)",
        "UPDATE reference SET revision = revision + 1",
        "UPDATE reference SET notice_version = '2027-09'",
        "UPDATE reference SET given_by = 'adult-pupil'",
    ],
    ids=["records swapped", "keys swapped", "older put as newer", "consent exchanged", "giver exchanged"],
)
def test_rearranged_records_do_not_open(folder: Folder, store: EncryptedStore, swap: str) -> None:
    """Somebody with the file's key moves records about by SQL: none of them is believed."""
    store.close()
    connection = folder.with_the_key()
    connection.execute(
        "CREATE TEMP TABLE old AS SELECT pupil, sealed_reference AS sealed, wrapped_key AS wrapped"
        " FROM reference JOIN pupil_key USING (pupil)"
    )
    connection.execute(swap)
    connection.close()
    again = folder.open()
    for pupil in (ADA, ALAN):
        with pytest.raises(StoreUnavailable):
            again.reference(pupil, NOW)
    assert again.find_by_code(PersonalCode("0021")) is not None
    again.close()


def test_records_and_keys_swapped_together_do_not_open(folder: Folder, store: EncryptedStore) -> None:
    """Moving a whole set (key and record) to another pupil fails, since both name whose they are."""
    store.close()
    connection = folder.with_the_key()
    for table in ("reference", "pupil_key"):
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"UPDATE {table} SET pupil = 'x' WHERE pupil = '{ADA}'")  # noqa: S608
        connection.execute(f"UPDATE {table} SET pupil = '{ADA}' WHERE pupil = '{ALAN}'")  # noqa: S608
        connection.execute(f"UPDATE {table} SET pupil = '{ALAN}' WHERE pupil = 'x'")  # noqa: S608
    connection.close()
    again = folder.open()
    with pytest.raises(StoreUnavailable):
        again.reference(ADA, NOW)
    again.close()


def test_a_key_of_before_the_purge_does_not_open_after_it(folder: Folder, store: EncryptedStore) -> None:
    """Yesterday's wrapped keys, put back after a purge, do not unwrap: the epoch they were wrapped in is over."""
    connection = folder.with_the_key()
    yesterday = connection.execute("SELECT wrapped_key FROM pupil_key WHERE pupil = ?", (ALAN,)).fetchone()[0]
    connection.close()
    store.purge(ADA, Erasure.REFERENCE)
    assert StoredReference(ALAN, 1, CONSENT, REFERENCE) == store.reference(ALAN, NOW)
    store.close()
    connection = folder.with_the_key()
    connection.execute("UPDATE pupil_key SET wrapped_key = ? WHERE pupil = ?", (yesterday, ALAN))
    connection.close()
    again = folder.open()
    with pytest.raises(StoreUnavailable):
        again.reference(ALAN, NOW)
    again.close()


@pytest.mark.parametrize("erasure", list(Erasure))
def test_a_purge_leaves_no_page_behind(folder: Folder, store: EncryptedStore, erasure: Erasure) -> None:
    """After a purge the log is empty, and no page of the file, free ones included, holds the erased bytes any more."""
    connection = folder.with_the_key()
    sealed, wrapped = connection.execute(
        "SELECT sealed_reference, wrapped_key FROM reference JOIN pupil_key USING (pupil) WHERE pupil = ?", (ADA,)
    ).fetchone()
    connection.close()
    plain_before = _decrypted_copy(folder)
    assert sealed in plain_before
    assert wrapped in plain_before
    store.purge(ADA, erasure)
    assert folder.file.with_name("store.db-wal").stat().st_size == 0
    plain_after = _decrypted_copy(folder)
    assert sealed not in plain_after
    assert wrapped not in plain_after
    if erasure is Erasure.EVERYTHING:
        assert b"Philippine" not in plain_after
        assert ADA.encode() not in plain_after


def _decrypted_copy(folder: Folder) -> bytes:
    """Every page of the file, free ones included, decrypted: `sqlcipher_export` would leave the free ones out."""
    key = folder.file_key()
    connection = folder.with_the_key()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()
    return _decrypt_pages(folder.file.read_bytes(), key)


def _decrypt_pages(file: bytes, key: bytes) -> bytes:
    """SQLCipher 4: pages of 4096 bytes, AES-256-CBC, the last 80 bytes of each an IV (16) and an HMAC-SHA512 (64)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    plain = []
    for at in range(0, len(file), 4096):
        page = file[at : at + 4096]
        body = page[16 if at == 0 else 0 : 4096 - 80]
        decryptor = Cipher(algorithms.AES256(key), modes.CBC(page[4096 - 80 : 4096 - 64])).decryptor()
        plain.append(decryptor.update(body) + decryptor.finalize())
    return b"".join(plain)
