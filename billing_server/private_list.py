"""A list in a JSON file of mode 0600, written whole, read again whenever it changes: who has which token."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from billing_server.errors import ConfigurationRefused

_Item = TypeVar("_Item")


class PrivateList(Generic[_Item]):
    """Safe from every thread; another process (a command) may write it meanwhile."""

    def __init__(self, path: Path, read_item: Callable[[dict[str, Any]], _Item]) -> None:
        """`read_item` may raise KeyError, TypeError or ValueError."""
        self._path, self._read_item = path, read_item
        self._lock = threading.Lock()
        self._read_at: tuple[int, int] | None = None
        self._items: list[_Item] = []

    def current(self) -> list[_Item]:
        """What is in the file now.

        Raises:
            ConfigurationRefused: it is open to others, or not such a list.
        """
        with self._lock:
            try:
                status = self._path.lstat()
            except FileNotFoundError:
                return []
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._read_at:
                self._items, self._read_at = self._read(status), stamp
            return self._items

    def write(self, items: list[dict[str, Any]]) -> None:
        """Put `items` in place of what was there, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(items, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def _read(self, status: os.stat_result) -> list[_Item]:
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise ConfigurationRefused(f"{self._path}: must be a plain file of mode 600")
        try:
            content: list[dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))
            return [self._read_item(item) for item in content]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationRefused(f"{self._path}: is not a list of names and tokens") from error
