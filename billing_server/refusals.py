"""Payloads that were refused, counted per sender and reason; never what was in them.

Counted in memory and written down now and then, so that a flood of bad messages costs no transaction each.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from enum import StrEnum

from sqlalchemy.orm import Session

from billing_server.models import Refusal
from canteen.clock import Clock

_log = logging.getLogger("canteen.billing.refusals")

_NOBODY = "?"

_SENDERS_MOST = 500
"""More names than a school has devices are made up; they are counted together."""


class WhyRefused(StrEnum):
    """Values are stored; never renamed."""

    GARBAGE = "garbage"
    """Not a message of the protocol."""
    UNKNOWN_DEVICE = "unknown-device"
    REVOKED = "revoked"
    """A device that was sent away."""
    ANOTHERS_ENTRIES = "anothers-entries"
    """Entries of one device on another's topic."""
    BAD_SIGNATURE = "bad-signature"
    NOT_STORED = "not-stored"
    """The database refused or was away; the device sends again."""
    TOO_BUSY = "too-busy"
    """More waiting than we hold; the device sends again."""
    UNHANDLED = "unhandled"
    """A fault of ours."""


class Refusals:
    """Safe from every thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._unwritten: Counter[tuple[str, WhyRefused]] = Counter()
        self._seen: Counter[tuple[str, WhyRefused]] = Counter()

    def count(self, device: str | None, why: WhyRefused) -> None:
        """One more; logged at the 1st, 10th, 100th …, so that a flood fills no disk."""
        key = (device or _NOBODY, why)
        with self._lock:
            if key not in self._seen and len(self._seen) >= _SENDERS_MOST:
                key = (_NOBODY, why)
            self._unwritten[key] += 1
            self._seen[key] += 1
            times = self._seen[key]
        if str(times).strip("0") == "1":
            _log.warning("refused a message from %s: %s (%d so far)", key[0], why.value, times)

    def write_down(self, session: Session) -> None:
        """Add what was counted since the last time to the table."""
        with self._lock:
            counted, self._unwritten = self._unwritten, Counter()
        for (device, why), times in sorted(counted.items()):
            row = session.get(Refusal, (device, why.value), with_for_update=True)
            if row is None:
                row = Refusal(device=device, why=why.value, times=0)
                session.add(row)
            row.times += times
            row.last_at = self._clock.utc_now()
