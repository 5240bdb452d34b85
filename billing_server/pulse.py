"""A counter that moves whenever the ledger has changed, so that an open page asks the database only then."""

from __future__ import annotations

import secrets
import threading


class Pulse:
    """Safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats = 0
        self.name = secrets.token_hex(4)
        """This run's own: a count of an earlier run says nothing about this one."""

    @property
    def beats(self) -> int:
        return self._beats

    def beat(self) -> None:
        with self._lock:
            self._beats += 1
