"""Known answers: all asked, all counted, and one that is wrong keeps the store shut."""

from __future__ import annotations

from pathlib import Path

import pytest

from templates_store import encrypted_store
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import SelfTestFailed
from templates_store.key_source import FileKeySource
from templates_store.self_test import EXPECTED, KNOWN_ANSWERS, run_self_test


def test_all_answers_are_right_here() -> None:
    """And as many as were counted by hand."""
    assert EXPECTED == run_self_test() == len(KNOWN_ANSWERS)


@pytest.mark.parametrize("name", sorted(KNOWN_ANSWERS))
def test_one_wrong_answer_is_enough(name: str) -> None:
    """Each of them counts, and is named."""
    with pytest.raises(SelfTestFailed, match=name.split(",", maxsplit=1)[0]):
        run_self_test({**KNOWN_ANSWERS, name: lambda: False})


def test_none_asked_is_a_failure() -> None:
    """An empty table is no pass, nor is one answer too few."""
    with pytest.raises(SelfTestFailed, match="0 known answers"):
        run_self_test({})
    with pytest.raises(SelfTestFailed):
        run_self_test(dict(list(KNOWN_ANSWERS.items())[1:]))


def test_a_primitive_that_breaks_is_a_failure() -> None:
    """Whatever it raises."""

    def breaks() -> bool:
        raise MemoryError

    with pytest.raises(SelfTestFailed, match="MemoryError"):
        run_self_test({**KNOWN_ANSWERS, "SHA-256, abc": breaks})


def test_the_store_does_not_open_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is served, and no file is made with what cannot be trusted."""
    monkeypatch.setattr(
        encrypted_store, "run_self_test", lambda: run_self_test({**KNOWN_ANSWERS, "SHA-256, abc": lambda: False})
    )
    with pytest.raises(SelfTestFailed):
        EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    assert [] == list(tmp_path.iterdir())
