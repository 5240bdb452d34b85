"""The setting that names a key source."""

from __future__ import annotations

from pathlib import Path

import pytest

from templates_store.errors import KeyUnavailable
from templates_store.key_choice import chosen_key_source
from templates_store.key_source import FileKeySource, KeySource
from templates_store.split_key import SplitKeySource
from templates_store.systemd_credential import SystemdKeySource
from templates_store.tpm import Tpm, TpmKeySource

FOLDER = Path("/etc/canteen")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("store.key", FileKeySource(FOLDER / "store.key")),
        ("/var/lib/store.key", FileKeySource(Path("/var/lib/store.key"))),
        ("file:store.key", FileKeySource(FOLDER / "store.key")),
        ("systemd:", SystemdKeySource("canteen-store-key")),
        ("systemd:other", SystemdKeySource("other")),
        ("tpm:store.tpm", TpmKeySource(FOLDER / "store.tpm", Tpm())),
        (
            "split:store.key+systemd:other",
            SplitKeySource(FileKeySource(FOLDER / "store.key"), SystemdKeySource("other")),
        ),
    ],
)
def test_each_kind_is_named(setting: str, expected: KeySource) -> None:
    """A bare path is the file that it always was."""
    assert expected == chosen_key_source(setting, FOLDER)


@pytest.mark.parametrize("setting", ["", "tpm:", "vault:x", "split:a", "split:a+split:b+c", "split:split:a+b", "file:"])
def test_what_names_none_is_refused(setting: str) -> None:
    """A misspelt kind must not become a file of that name."""
    with pytest.raises(KeyUnavailable):
        chosen_key_source(setting, FOLDER)
