"""The camera's only owner: one daemon thread, so that a driver that never returns holds up nobody else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class CameraThread:
    """As an executor of one thread, but its end has a bound."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hand-reader", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do `work` when its turn comes; the future holds what it gives or raises."""
        future: Future[T] = Future()
        self._waiting.put((future, work))
        return future

    def close(self, timeout_s: float) -> bool:
        """End after what waits; whether it ended in time. If not, it is left to itself."""
        self._waiting.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked, as every executor does
                future.set_exception(error)
            else:
                future.set_result(result)
