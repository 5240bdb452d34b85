"""Who may open the station's page: a small file of names and token digests, read afresh at every question."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from canteen.operator_access import Operator, find_operator, new_token, token_digest
from enrollment_station.errors import ConfigurationRefused

_FILE_BYTES_MAX = 256 * 1024
_NAME_LONGEST = 60


@dataclass(frozen=True, slots=True)
class OperatorBook:
    """The operators in a file of mode 0600. Small, so a removed operator is out at the next click."""

    path: Path

    def find(self, untrusted_token: str) -> Operator | None:
        """The operator whose token this is.

        Raises:
            ConfigurationRefused: the file is open to others or damaged: nobody comes in.
        """
        return find_operator(self.operators(), untrusted_token)

    def operators(self) -> list[Operator]:
        """Everyone in the file; none where there is no file yet. Raises ConfigurationRefused."""
        content = self._read()
        if content is None:
            return []
        try:
            rows = json.loads(content)
            return [Operator(str(row["name"]), str(row["token_digest"])) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationRefused(f"{self.path}: not a list of operators") from error

    def add(self, name: str) -> str:
        """A fresh token for `name`, whose earlier one ends; only its digest is kept. Raises ConfigurationRefused."""
        if not name.strip() or len(name) > _NAME_LONGEST or not name.isprintable():
            raise ConfigurationRefused(f"an operator's name has 1 to {_NAME_LONGEST} printable characters")
        token = new_token()
        others = [operator for operator in self.operators() if operator.name != name]
        self._write([*others, Operator(name, token_digest(token))])
        return token

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationRefused(f"{self.path}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                raise ConfigurationRefused(f"{self.path}: is open to others: chmod 600 it and renew the links")
            return file.read(_FILE_BYTES_MAX)

    def _write(self, operators: list[Operator]) -> None:
        rows = [{"name": operator.name, "token_digest": operator.token_digest} for operator in operators]
        draft = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(rows, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise ConfigurationRefused(f"{self.path}: {error.strerror}") from error
