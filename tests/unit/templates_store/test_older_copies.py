"""What somebody gains by putting back an older copy: of the file, of its log, of keys, or of all of them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.identifiers import PupilId
from templates_store.database import open_driver
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import StoreRolledBack, StoreUnavailable
from templates_store.key_source import FileKeySource, epochs_beside
from templates_store.sealing import derive_epoch, derive_keys
from templates_store.store import Erasure, PupilRecord, ReferenceAbsence, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
WEEK = timedelta(days=7)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
ADA, ALAN = PupilId("p-00000000000000aa"), PupilId("p-00000000000000bb")
CARD = CardNumber("04A1B2C3D4E5F6")


class Card:
    """A terminal's flash card with a store on it, of which copies are taken and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "card"
        self.folder.mkdir()
        self.copies = folder / "copies"

    @property
    def file(self) -> Path:
        return self.folder / "store.db"

    def open(self) -> EncryptedStore:
        return EncryptedStore(self.file, FileKeySource(self.folder / "store.key"))

    def file_key(self) -> bytes:
        """The key of the file as it is now."""
        keys, epochs = derive_keys((self.folder / "store.key").read_bytes()), epochs_beside(self.file)
        number = epochs.kept()[-1]
        return derive_epoch(keys, number, epochs.open(number)).file

    def copy(self) -> None:
        shutil.copytree(self.folder, self.copies)

    def put_back(self, *names: str) -> None:
        for name in names:
            shutil.copy2(self.copies / name, self.folder / name)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """Two pupils with references; a copy of everything was taken while the store was open."""
    made = Card(tmp_path)
    store = made.open()
    store.put_pupils(
        [
            (PupilRecord(ADA, "Ada", "", "6e A", ()), PersonalCode("0013")),
            (PupilRecord(ALAN, "Alan", "", "6e A", ()), PersonalCode("0021")),
        ],
        whole=True,
    )
    for pupil in (ADA, ALAN):
        store.put_consent(pupil, ConsentState.GIVEN, CONSENT)
        store.put_reference(pupil, 1, CONSENT, b"hand of " + pupil.encode())
    store.put_card(CARD, ADA)
    store.renew_lease(NOW + WEEK)
    made.copy()
    store.close()
    return made


@pytest.mark.parametrize("erasure", list(Erasure))
def test_the_file_of_before_a_purge_does_not_open_with_todays_keys(card: Card, erasure: Erasure) -> None:
    """File and log of yesterday beside the keys of today: refused by name, and nothing in them can be read."""
    store = card.open()
    store.purge(ADA, erasure)
    store.close()
    card.put_back("store.db", "store.db-wal")
    with pytest.raises(StoreRolledBack):
        card.open()
    # A copied log refers to a copied file: read with today's key, neither gives a page.
    assert open_driver(card.file, card.file_key()) is None


def test_the_log_of_before_a_purge_beside_the_file_of_today(card: Card) -> None:
    """Only the log put back: a named error or the store of today, never the purged pupil."""
    store = card.open()
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    card.put_back("store.db-wal")
    try:
        again = card.open()
    except StoreUnavailable:
        return
    assert again.pupil(ADA) is None
    assert again.reference(ADA, NOW) is ReferenceAbsence.NONE
    again.close()


def test_the_keys_of_before_a_purge_beside_the_file_of_today(card: Card) -> None:
    """Yesterday's epoch key opens nothing of today."""
    store = card.open()
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    card.put_back("store.db.epoch")
    with pytest.raises(StoreRolledBack):
        card.open()


def test_file_and_keys_of_before_a_purge_are_noticed_by_the_mark(card: Card) -> None:
    """Both put back, the mark forgotten: an earlier epoch than there ever was is refused."""
    store = card.open()
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    card.put_back("store.db", "store.db-wal", "store.db.epoch")
    with pytest.raises(StoreRolledBack):
        card.open()


def test_a_copy_of_the_same_epoch_opens_but_compares_nothing(card: Card) -> None:
    """A blocked card undone: noticed at the next start and at every one after it; a fresh lease ends it."""
    store = card.open()
    store.block_card(CARD)
    store.close()
    card.put_back("store.db", "store.db-wal")
    for _ in range(2):
        again = card.open()
        assert again.rolled_back
        assert again.reference(ALAN, NOW) is ReferenceAbsence.LEASE_EXPIRED
        assert again.pupil(ALAN) is not None
        again.renew_lease(NOW + WEEK)
        assert again.reference(ALAN, NOW) is ReferenceAbsence.LEASE_EXPIRED
        again.close()
    again = card.open()
    again.renew_lease(NOW + 2 * WEEK)
    assert isinstance(again.reference(ALAN, NOW), StoredReference)
    again.close()
    assert not card.open().rolled_back


@pytest.mark.parametrize("spoiled", [None, b"", b"\x01" * 1024], ids=["removed", "emptied", "overwritten"])
def test_a_spoiled_mark_hides_no_rollback(card: Card, spoiled: bytes | None) -> None:
    """Whoever removes the mark has the store treated as an older copy."""
    mark = card.folder / "store.db.mark"
    if spoiled is None:
        mark.unlink()
    else:
        mark.write_bytes(spoiled)
    store = card.open()
    assert store.rolled_back
    store.close()


def test_an_untouched_store_is_not_called_an_older_copy(card: Card) -> None:
    """Neither after a kill (log still there) nor after many changes."""
    shutil.rmtree(card.folder)
    shutil.copytree(card.copies, card.folder)
    for day in range(3):
        store = card.open()
        assert not store.rolled_back
        store.note_instant(NOW + timedelta(days=day))
        store.put_document("calendar", {"day": day})
        store.close()


def test_the_destroyed_key_is_overwritten(card: Card) -> None:
    """The very bytes of the epoch file that was replaced are gone, as far as the file system goes."""
    descriptor = (card.folder / "store.db.epoch").open("rb")
    before = descriptor.read()
    store = card.open()
    store.purge(ADA, Erasure.REFERENCE)
    descriptor.seek(0)
    assert bytes(len(before)) == descriptor.read()
    descriptor.close()
    store.close()
    assert (2,) == epochs_beside(card.file).kept()


def test_a_whole_older_card_cannot_be_told_without_a_tpm(card: Card) -> None:
    """What is not guaranteed, said by a test too: everything put back opens as it was (SECURITY.md)."""
    store = card.open()
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    shutil.rmtree(card.folder)
    shutil.copytree(card.copies, card.folder)
    again = card.open()
    assert isinstance(again.reference(ADA, NOW), StoredReference)
    again.close()


def test_another_schools_store_is_refused(card: Card, tmp_path: Path) -> None:
    """Its file, its file with its epoch key, and all of it but the secret: a named error each time."""
    (tmp_path / "other").mkdir()
    other = Card(tmp_path / "other")
    other.open().close()
    for names in (["store.db"], ["store.db", "store.db.epoch"], ["store.db", "store.db.epoch", "store.db.mark"]):
        for name in names:
            shutil.copy2(other.folder / name, card.folder / name)
        with pytest.raises(StoreUnavailable):
            card.open()
