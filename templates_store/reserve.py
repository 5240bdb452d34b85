"""Disk space put by: given back when the disk is full, so that erasing works again and the journal takes facts.

On a full disk SQLite cannot even delete: a purge needs room for its write-ahead log. The reserve is room for a week of
lunches, or for the erasing that somebody then has to do.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

_log = logging.getLogger("canteen.templates_store.reserve")

RESERVE_NAME = "reserve"
RESERVE_BYTES = 16 * 1024 * 1024
FULL_BYTES = 512 * 1024
"""Less than this is a full disk: one commit takes up to a few pages, a checkpoint a few hundred."""
_AGAIN_TIMES = 4
"""The reserve is put by again when this many times its size is free."""


class Reserve:
    """One file with blocks that are really taken."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path, self._size_bytes = path, size_bytes
        self.held = self._is_there()

    def keep(self) -> None:
        """Give back where the disk is full, put by again where there is room. Cheap; never raises."""
        try:
            status = os.statvfs(self._path.parent)
        except OSError as error:
            _log.warning("the disk cannot be looked at: %s", error.strerror)
            return
        free_bytes = status.f_bavail * status.f_frsize
        if self.held and free_bytes < FULL_BYTES:
            self._give_back()
        elif not self.held and free_bytes > _AGAIN_TIMES * self._size_bytes:
            self._put_by()

    def given_back(self) -> bool:
        """Give it back now if the disk is full; whether that made room, so that a failed write is worth another try."""
        held = self.held
        self.keep()
        return held and not self.held

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_blocks * 512 >= self._size_bytes
        except OSError:
            return False

    def _give_back(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the reserve cannot be given back: %s", error.strerror)
            return
        self.held = False
        _log.warning("the disk is full: the reserve is given back")

    def _put_by(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("no reserve: %s", error.strerror)
            self._path.unlink(missing_ok=True)
            return
        self.held = True
