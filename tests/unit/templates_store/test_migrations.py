"""A store of every format that was ever landed opens, whole, and is of the present format then."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import forfait_4_days
from canteen.identifiers import PupilId
from templates_store.database import open_driver
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import StoreUnavailable
from templates_store.key_source import FileKeySource, epochs_beside
from templates_store.sealing import derive_keys
from templates_store.store import Erasure, PupilRecord, PurgeOutcome, ReferenceAbsence, StoredReference

VECTORS = Path(__file__).parents[2] / "vectors" / "store"
NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
PUPILS = [PupilId(f"p-{n:016x}") for n in range(1, 5)]
CODES = [PersonalCode(code) for code in ("0000", "0013", "0021", "0037")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The vector of format 1: its secret is the bytes 0 to 31."""
    for name in ("store.db", "store.key"):
        shutil.copy(VECTORS / "v1" / name, tmp_path / name)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def _open(folder: Path) -> EncryptedStore:
    return EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))


def test_format_1_opens_with_all_that_it_held(folder: Path) -> None:
    """Roster, codes, cards, consents, references, tombstones, documents, lease: twice, before and after a restart."""
    for _ in range(2):
        store = _open(folder)
        entitlement = forfait_4_days(date(2026, 9, 1), date(2027, 7, 3))
        assert PupilRecord(PUPILS[0], "Prénom0", "Nom0", "6e A", (entitlement,)) == store.find_by_code(CODES[0])
        assert CODES == [store.code_of(pupil) for pupil in PUPILS]
        for n in range(2):
            expected = StoredReference(PUPILS[n], n + 3, CONSENT, f"hand {n}".encode() * 20)
            assert expected == store.reference(PUPILS[n], NOW)
        assert store.reference(PUPILS[2], NOW) is ReferenceAbsence.NONE
        assert 5 == store.revision_floor(PUPILS[2])
        erased = "ee74d7150db07946ad8b68dbb18936fdc0e4664fb044c2e01ef4d5ec632b9b4a"
        assert PurgeOutcome(erased, 1, 2) == store.last_erasure(PUPILS[2])
        assert (ConsentState.WITHDRAWN, None) == store.consent_of(PUPILS[2])
        assert (ConsentState.OPPOSED, None) == store.consent_of(PUPILS[3])
        found, blocked = (
            store.find_by_card(CardNumber("04A1B2C3D4E5F6")),
            store.find_by_card(CardNumber("04A1B2C3D4E5F7")),
        )
        assert found is not None
        assert (PUPILS[0], False) == (found.pupil, found.blocked)
        assert blocked is not None
        assert (PUPILS[1], True) == (blocked.pupil, blocked.blocked)
        assert {"school_name": "Collège"} == store.document("calendar")
        assert (NOW, datetime(2026, 11, 30, 11, 45, tzinfo=UTC)) == (store.high_water_mark, store.lease_until)
        assert 3 == store.epoch
        assert not store.rolled_back
        store.close()


def test_a_migrated_store_no_longer_opens_with_the_old_file_key(folder: Path) -> None:
    """The key of format 1, which lay in every copy for ever, opens nothing any more."""
    _open(folder).close()
    old_key = derive_keys((folder / "store.key").read_bytes()).format_1_file
    assert open_driver(folder / "store.db", old_key) is None


def test_a_copy_of_format_1_is_not_taken_back_after_a_purge(folder: Path) -> None:
    """The old file put back beside a store that has moved on."""
    store = _open(folder)
    store.purge(PUPILS[0], Erasure.EVERYTHING)
    store.close()
    shutil.copy(VECTORS / "v1" / "store.db", folder / "store.db")
    with pytest.raises(StoreUnavailable):
        _open(folder)


def test_killed_after_the_migrations_transaction(folder: Path) -> None:
    """The tables are of format 2, the file is not yet encrypted anew: the next start finishes it."""
    from sqlalchemy import Connection

    from templates_store.database import engine_over
    from templates_store.migrations import from_format_1
    from templates_store.sealing import derive_epoch

    keys, keeper = derive_keys((folder / "store.key").read_bytes()), epochs_beside(folder / "store.db")
    driver = open_driver(folder / "store.db", keys.format_1_file)
    epoch = derive_epoch(keys, 3, keeper.prepare(3))
    with engine_over(driver).connect() as connection:
        connection.execution_options(writes=True)
        with connection.begin():
            assert isinstance(connection, Connection)
            from_format_1.migrate(connection, keys, epoch)
    assert driver is not None
    driver.close()
    store = _open(folder)
    assert CODES == [store.code_of(pupil) for pupil in PUPILS]
    store.close()
    assert open_driver(folder / "store.db", keys.format_1_file) is None
