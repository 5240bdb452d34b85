"""Secrets in files: only ours to read, whole, and never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from canteen.private_file import (
    PrivateFileRefused,
    create_private_file,
    read_or_create_private_file,
    read_private_file,
)


def test_made_once_and_read_again(tmp_path: Path) -> None:
    """The second start finds the first one's key; the file is 0600."""
    path = tmp_path / "keys" / "k"
    first = read_or_create_private_file(path, 32)
    assert first == read_or_create_private_file(path, 32)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path] == list(path.parent.iterdir())
    with pytest.raises(FileExistsError):
        create_private_file(path, b"other")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o700 | 0o044])
def test_a_file_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A key that anybody may have read is no key; the content is not in the message."""
    path = tmp_path / "k"
    create_private_file(path, b"secret-secret-secret-secret-1234")
    path.chmod(mode)
    with pytest.raises(PrivateFileRefused) as refusal:
        read_private_file(path, 32)
    assert "secret" not in str(refusal.value)


def test_a_link_a_folder_a_missing_or_a_short_file_is_refused(tmp_path: Path) -> None:
    """Nothing but a plain file of the right size."""
    create_private_file(tmp_path / "k", bytes(31))
    (tmp_path / "link").symlink_to(tmp_path / "k")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, size in [("k", 32), ("k", 30), ("link", 31), ("missing", 32), (".", 32), ("pipe", 32)]:
        with pytest.raises(PrivateFileRefused):
            read_private_file(tmp_path / path, size)
