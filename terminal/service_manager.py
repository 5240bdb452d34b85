"""Tells systemd that the lane serves and that its loop still turns (sd_notify(3)); silent where nobody asked."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

_log = logging.getLogger("canteen.terminal.service_manager")

_BEATS_A_PERIOD = 4
"""systemd asks for two; one lost to a slow disk must not end a lunch."""


class ServiceManager:
    """One datagram each; a manager that does not listen never stops the lane."""

    def __init__(self, monotonic_s: Callable[[], float], environment: Mapping[str, str] = os.environ) -> None:
        self._monotonic_s = monotonic_s
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        period_us = environment.get("WATCHDOG_USEC", "")
        own = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(period_us) / 1e6 / _BEATS_A_PERIOD if own and period_us.isdecimal() else None
        self._next_s = float("-inf")
        self._is_ready = False

    def turned(self) -> None:
        """The loop has gone round once more: ready at the first time, alive at the later ones."""
        if not self._address:
            return
        if not self._is_ready:
            self._is_ready = True
            self._tell("READY=1")
        if self._every_s is not None and self._monotonic_s() >= self._next_s:
            self._next_s = self._monotonic_s() + self._every_s
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The loop has ended on purpose."""
        if self._address:
            self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto(state.encode("ascii"), self._address)
        except OSError as error:
            _log.warning("systemd was not told %s: %s", state, error.strerror)
