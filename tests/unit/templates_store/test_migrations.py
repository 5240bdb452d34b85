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
from templates_store.models import SCHEMA_VERSION
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
    return _copy_of("v1", tmp_path)


def _copy_of(version: str, folder: Path) -> Path:
    for path in (VECTORS / version).iterdir():
        shutil.copy(path, folder / path.name)
        (folder / path.name).chmod(0o600)
    return folder


def _open(folder: Path) -> EncryptedStore:
    return EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))


ERASED = {
    "v1": PurgeOutcome("ee74d7150db07946ad8b68dbb18936fdc0e4664fb044c2e01ef4d5ec632b9b4a", 1, 2),
    "v2": PurgeOutcome("7f31997c8ba48ba1cab35f0de3215b3b2f196fe1d066ffaa636676f323358b51", 1, 2),
    "v3": PurgeOutcome("677cebf42d8a0eab8c4f015b5f1eb8301a96277ae4c49f76e64f9860f78fd734", 1, 2),
}
EPOCHS = {"v1": 3, "v2": 2, "v3": 2}
"""Only the migration from format 1 is a move to a new epoch."""


def test_there_is_a_vector_of_every_format() -> None:
    """Who changes the format keeps a store of the one before."""
    assert {f"v{version}" for version in range(1, SCHEMA_VERSION + 1)} == set(ERASED)
    assert set(ERASED) == {path.name for path in VECTORS.iterdir() if path.is_dir()}


@pytest.mark.parametrize("version", sorted(ERASED))
def test_every_format_opens_with_all_that_it_held(version: str, tmp_path: Path) -> None:
    """Roster, codes, cards, consents, references, tombstones, documents, lease: twice, before and after a restart."""
    folder = _copy_of(version, tmp_path)
    for _ in range(2):
        store = _open(folder)
        entitlement = forfait_4_days(date(2026, 9, 1), date(2027, 7, 3))
        assert PupilRecord(PUPILS[0], "Prénom0", "Nom0", "6e A", (entitlement,)) == store.find_by_code(CODES[0])
        assert CODES == [store.code_of(pupil) for pupil in PUPILS]
        for n in range(2):
            adapted = 1 if version == "v3" and n == 1 else 0
            hand = b"grown hand" * 14 if adapted else f"hand {n}".encode() * 20
            expected = StoredReference(PUPILS[n], n + 3, CONSENT, hand, adapted)
            assert expected == store.reference(PUPILS[n], NOW)
            assert (b"history" if adapted else None) == store.adaptation_history(expected)
        assert store.reference(PUPILS[2], NOW) is ReferenceAbsence.NONE
        assert 5 == store.revision_floor(PUPILS[2])
        assert ERASED[version] == store.last_erasure(PUPILS[2])
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
        assert EPOCHS[version] == store.epoch
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


def test_killed_in_the_migration_from_format_2(tmp_path: Path) -> None:
    """It is one transaction: a power cut leaves format 2 or format 3, and either opens."""
    folder = _copy_of("v2", tmp_path)
    keys, keeper = derive_keys((folder / "store.key").read_bytes()), epochs_beside(folder / "store.db")
    from templates_store.database import engine_over
    from templates_store.migrations import from_format_2
    from templates_store.sealing import derive_epoch

    (number,) = keeper.kept()
    driver = open_driver(folder / "store.db", derive_epoch(keys, number, keeper.open(number)).file)
    with engine_over(driver).connect() as connection:
        connection.begin()
        from_format_2.migrate(connection)
        connection.rollback()
    assert driver is not None
    assert (2,) == driver.execute("SELECT schema_version FROM store_state").fetchone()
    driver.close()
    store = _open(folder)
    assert CODES == [store.code_of(pupil) for pupil in PUPILS]
    store.close()
