"""The staff's access: a JSON file of names and token digests, mode 0600, read again whenever it changes."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

from billing_server.errors import ConfigurationRefused
from canteen.operator_access import Operator, find_operator, new_token, token_digest

_NAME_LONGEST = 80


class OperatorBook:
    """Who may open a page."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_at: tuple[int, int] | None = None
        self._operators: list[Operator] = []

    def find(self, untrusted_token: str) -> Operator | None:
        """The operator of a token, or None."""
        return find_operator(self._current(), untrusted_token)

    def add(self, name: str) -> str:
        """Let `name` in, with a fresh token in place of an earlier one; the token, said this once.

        Raises:
            ConfigurationRefused: the name is empty or too long, or the file is damaged or open to others.
        """
        name = name.strip()
        if not name or len(name) > _NAME_LONGEST:
            raise ConfigurationRefused("an operator needs a name of at most 80 characters")
        token = new_token()
        others = [operator for operator in self._current() if operator.name != name]
        self._write([*others, Operator(name, token_digest(token))])
        return token

    def _current(self) -> list[Operator]:
        with self._lock:
            try:
                status = self._path.lstat()
            except FileNotFoundError:
                return []
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._read_at:
                self._operators, self._read_at = self._read(status), stamp
            return self._operators

    def _read(self, status: os.stat_result) -> list[Operator]:
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise ConfigurationRefused(f"{self._path}: must be a plain file of mode 600")
        try:
            content: list[dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))
            return [Operator(str(item["name"]), str(item["token_digest"])) for item in content]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationRefused(f"{self._path}: is not a list of operators") from error

    def _write(self, operators: list[Operator]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            content = [{"name": o.name, "token_digest": o.token_digest} for o in operators]
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
