"""Opening a store: keys that are missing, wide or wrong, damaged files, other formats."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlcipher3.dbapi2

from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import StoreUnavailable
from templates_store.key_source import FileKeySource, epochs_beside
from templates_store.sealing import derive_epoch, derive_keys


def _paths(tmp_path: Path) -> tuple[Path, FileKeySource]:
    return tmp_path / "store.db", FileKeySource(tmp_path / "store.key")


def _file_key(file: Path, source: FileKeySource) -> bytes:
    epochs = epochs_beside(file)
    number = epochs.kept()[-1]
    return derive_epoch(derive_keys(source.path.read_bytes()), number, epochs.open(number)).file


def test_a_missing_key_is_not_replaced(tmp_path: Path) -> None:
    """A store whose key is gone is unavailable; a fresh key would open nothing and hide the loss."""
    file, source = _paths(tmp_path)
    EncryptedStore(file, source).close()
    source.path.unlink()
    with pytest.raises(StoreUnavailable):
        EncryptedStore(file, source)
    assert not source.path.exists()


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    """Wider than 0600: somebody may have copied it."""
    file, source = _paths(tmp_path)
    EncryptedStore(file, source).close()
    source.path.chmod(0o640)
    with pytest.raises(StoreUnavailable, match="open to others"):
        EncryptedStore(file, source)


def test_a_wrong_key_is_a_named_error(tmp_path: Path) -> None:
    """The store of another school, or another key in the file."""
    file, source = _paths(tmp_path)
    EncryptedStore(file, source).close()
    source.path.write_bytes(bytes(32))
    with pytest.raises(StoreUnavailable):
        EncryptedStore(file, source)


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000], ids=["truncated to nothing", "overwritten"])
def test_a_damaged_file_is_a_named_error_or_a_new_store(tmp_path: Path, damage: bytes) -> None:
    """An overwritten file is refused; an empty one is what a power cut leaves of a store never finished: begun anew."""
    file, source = _paths(tmp_path)
    EncryptedStore(file, source).close()
    file.write_bytes(damage)
    if damage:
        with pytest.raises(StoreUnavailable):
            EncryptedStore(file, source)
    else:
        store = EncryptedStore(file, source)
        assert [] == list(store.pupils())
        store.close()


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    """An older program does not write into a newer program's store."""
    file, source = _paths(tmp_path)
    EncryptedStore(file, source).close()
    connection = sqlcipher3.dbapi2.connect(str(file), isolation_level=None)
    connection.execute(f"PRAGMA key = \"x'{_file_key(file, source).hex()}'\"")
    connection.execute("UPDATE store_state SET schema_version = 99")
    connection.close()
    with pytest.raises(StoreUnavailable, match="format 99"):
        EncryptedStore(file, source)


def test_a_place_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "folder").write_text("")
    with pytest.raises(StoreUnavailable):
        EncryptedStore(tmp_path / "folder" / "store.db", FileKeySource(tmp_path / "store.key"))
