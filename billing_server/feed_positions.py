"""Positions in the feeds that clients read on from: given once, whatever becomes of the server."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.models import FeedPosition
from canteen.clock import Clock

_log = logging.getLogger("canteen.billing.feeds")

LEAP = 10**9
"""More than any school gives out between a backup and its return; and there is room for nine million of them."""


def leap(session: Session) -> None:
    """This ledger is older than what clients have read: go on where they cannot have been.

    What the devices tell once more then has positions that no client has passed: it comes again under the same device
    and pass, and nothing is skipped.
    """
    session.execute(
        update(FeedPosition)
        .values(last=(FeedPosition.last // LEAP + 1) * LEAP)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True, slots=True)
class GivenPositions:
    """How far each feed was given out, in a file beside the database: a database that was put back does not know.

    The file is not in the backup. Lost, it says nothing, and the devices tell (see `devices`) or `restore` has leapt.
    """

    path: Path
    clock: Clock
    _given: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, feed: str, position: int) -> None:
        """A client is about to be given the rows of `feed` up to `position`. A full disk is logged and stops nobody."""
        with self._lock:
            if position <= self._given.get(feed, 0):
                return
            self._given[feed] = position
            beside = self.path.with_suffix(".new")
            try:
                beside.write_text(json.dumps(self._given), encoding="utf-8")
                beside.replace(self.path)
            except OSError as error:
                _log.warning("how far clients have read is not kept: %s", error)

    def recall(self, session: Session) -> None:
        """At the server's start: leap if the database is behind what was given, and tell the office."""
        with self._lock:
            self._given.update(self._read())
            last = {row.feed: row.last for row in session.scalars(select(FeedPosition))}
            behind = any(position > last.get(feed, 0) for feed, position in self._given.items())
        if behind:
            raise_alarm(session, AlarmKind.SERVER_RESTORED, "pull", self.clock.utc_now())
            leap(session)

    def _read(self) -> dict[str, int]:
        try:
            untrusted = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.warning("how far clients have read is not known: %s", error)
            return {}
        if not isinstance(untrusted, dict):
            return {}
        return {str(feed): position for feed, position in untrusted.items() if type(position) is int}
