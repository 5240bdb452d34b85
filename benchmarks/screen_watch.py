"""The pupil's screen as the kiosk reads it: every view with the instant at which it arrived."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import BenchmarkFailed, LaneInterrupted
from benchmarks.language import _

_READ_TIMEOUT_S = 15.0
"""Three of the stream's heartbeats."""
_RETRY_S = 0.005
_REST_S = 1.0
"""Longer than a key or a card takes to be heard."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A view and when it was here (monotonic)."""

    at_s: float
    view: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def state(self) -> str:
        return str(self.view.get("state", ""))


class ScreenWatch:
    """Reads one terminal's stream of views until that ends."""

    def __init__(self, port: int, is_alive: Callable[[], bool], within_s: float) -> None:
        """Connects as soon as the terminal listens.

        Raises:
            BenchmarkFailed: it ended, or does not listen within `within_s`.
        """
        self._is_alive = is_alive
        self._views: queue.SimpleQueue[Seen | None] = queue.SimpleQueue()
        self._latest: Seen | None = Seen(0.0)
        response = _connected(port, is_alive, time.monotonic() + within_s)
        self._thread = threading.Thread(target=self._read, args=(response,), name="screen-watch", daemon=True)
        self._thread.start()

    def wait_for(self, wanted: Callable[[Seen], bool], within_s: float, what: str) -> Seen:
        """The next view that is `wanted`; earlier ones are dropped.

        Raises:
            LaneInterrupted: it did not come, or the stream ended; the message says what was shown instead.
        """
        until_s = time.monotonic() + within_s
        latest = "-"
        while True:
            try:
                seen = self._views.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                seen = None
            if seen is None:
                raise LaneInterrupted(
                    _("l'écran n'a pas montré « {what} » ; il montre : {latest}").format(what=what, latest=latest)
                )
            self._latest = seen
            if wanted(seen):
                return seen
            latest = f"{seen.state} {seen.view.get('reason') or ''} {seen.view.get('staff_note') or ''}".strip()

    def wait_for_state(self, state: str, within_s: float) -> Seen:
        """As `wait_for`."""
        return self.wait_for(lambda seen: seen.state == state, within_s, state)

    def wait_for_rest(self, within_s: float) -> None:
        """Until it has shown that the lane is idle, and nothing else, for a while; what came before is dropped.

        Raises:
            LaneInterrupted: it does not come to rest, or the stream ended.
        """
        until_s = time.monotonic() + within_s
        while True:
            time.sleep(_REST_S)
            shown = [self._latest, *self._taken()]
            if all(seen is not None and seen.state == "idle" for seen in shown):
                return
            latest = shown[-1]
            if latest is None or time.monotonic() > until_s:
                raise LaneInterrupted(
                    _("l'écran n'a pas montré « {what} » ; il montre : {latest}").format(
                        what="idle", latest="-" if latest is None else latest.state
                    )
                )

    def _taken(self) -> list[Seen | None]:
        """The views that have come and were not looked at."""
        taken = []
        while not self._views.empty():
            taken.append(self._views.get())
            self._latest = taken[-1]
        return taken

    def _read(self, response: http.client.HTTPResponse) -> None:
        try:
            while line := response.readline():
                at_s = time.monotonic()
                view = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if view:  # a heartbeat is empty
                    self._views.put(Seen(at_s, view))
        except (OSError, http.client.HTTPException):
            pass  # the terminal was stopped: the same as the end of the stream
        self._views.put(None)


def _connected(port: int, is_alive: Callable[[], bool], until_s: float) -> http.client.HTTPResponse:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READ_TIMEOUT_S)
        try:
            connection.request("GET", "/events")
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if not is_alive() or time.monotonic() > until_s:
                raise BenchmarkFailed(_("l'écran de la borne ne répond pas")) from error
        time.sleep(_RETRY_S)
