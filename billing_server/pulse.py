"""A counter that moves whenever the ledger has changed, so that an open page asks the database only then."""

from __future__ import annotations

import threading


class Pulse:
    """Safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats = 0

    @property
    def beats(self) -> int:
        return self._beats

    def beat(self) -> None:
        with self._lock:
            self._beats += 1
