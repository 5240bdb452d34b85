"""The channel key comes from a private file or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from firmware_bridge.channel_key import check_channel_key, create_channel_key, read_channel_key
from firmware_bridge.errors import ChannelKeyRefused


def test_created_key_is_private_and_reads_back(tmp_path: Path) -> None:
    """A fresh key is 16 bytes in a file of mode 0600, and no two are alike."""
    create_channel_key(tmp_path / "one")
    create_channel_key(tmp_path / "two")
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert len(read_channel_key(tmp_path / "one")) == 16
    assert read_channel_key(tmp_path / "one") != read_channel_key(tmp_path / "two")


def test_existing_key_is_never_replaced(tmp_path: Path) -> None:
    """Making a key twice would lock out a board that holds the first."""
    create_channel_key(tmp_path / "key")
    with pytest.raises(FileExistsError):
        create_channel_key(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Any right for group or others refuses the key."""
    create_channel_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ChannelKeyRefused):
        read_channel_key(tmp_path / "key")


def test_links_directories_and_absent_files_are_refused(tmp_path: Path) -> None:
    """Only a regular file under its own name is read."""
    create_channel_key(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    for path in (tmp_path / "link", tmp_path, tmp_path / "absent"):
        with pytest.raises(ChannelKeyRefused):
            read_channel_key(path)


@pytest.mark.parametrize("key", [b"", b"x" * 15, bytes(range(17)), bytes(16), bytes(range(0x30, 0x40))])
def test_unusable_keys_are_refused(key: bytes) -> None:
    """Wrong lengths and the standard's public installation key are no keys; the message never shows the bytes."""
    with pytest.raises(ChannelKeyRefused) as refusal:
        check_channel_key(key)
    assert not key or key.hex() not in str(refusal.value)
