"""How fast each device's journal is coming in, so that a page can say how long a backlog will take."""

from __future__ import annotations

import threading
from collections import deque
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.models import Journal
from canteen.clock import Clock

OVER_S = 60.0
"""The rate is of the last minute: a line that has become slow is believed soon."""


class Drains:
    """A look at every journal now and then, kept in memory. Safe from every thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[str, deque[tuple[float, int]]] = {}

    def look(self, session: Session) -> bool:
        """Note how far the journals are; whether any has moved since the last look."""
        moved = False
        now_s = self._clock.monotonic_s()
        received = session.execute(select(Journal.device, func.sum(Journal.up_to)).group_by(Journal.device)).all()
        with self._lock:
            for device, entries in received:
                looks = self._looks.setdefault(device, deque())
                moved |= not looks or looks[-1][1] != int(entries)
                looks.append((now_s, int(entries)))
                while len(looks) > 2 and now_s - looks[1][0] >= OVER_S:
                    looks.popleft()
        return moved

    def time_left(self, device: str, backlog: int) -> timedelta | None:
        """How long `backlog` entries take at the last minute's rate; None if nothing came in."""
        with self._lock:
            looks = self._looks.get(device)
            if not backlog or not looks or len(looks) < 2:
                return None
            (first_s, first), (last_s, last) = looks[0], looks[-1]
        if last <= first or last_s <= first_s:
            return None
        return timedelta(seconds=backlog * (last_s - first_s) / (last - first))
