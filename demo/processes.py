"""Child processes of the demonstration: started with a log each, watched, stopped in order, restarted after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

from demo.errors import ProcessFailed

_STOP_WITHIN_S = 6.0
_READY_WITHIN_S = 30.0
_LOG_TAIL_LINES = 6

PROJECT = Path(__file__).resolve().parent.parent

_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
"""The kernel ends a leashed program with the *thread* that started it, and a page's worker threads come and go."""


class Program:
    """One process. `restart` is what a supervisor does after a crash."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command, self._log = list(command), log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C at the keyboard reaches only the demonstration."""
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as output:
            self._process = start_leashed(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a power cut: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not listen."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def wait_ready(self, ready: Callable[[], bool], within_s: float = _READY_WITHIN_S) -> None:
        """Return once `ready()`.

        Raises:
            ProcessFailed: the process ended or took too long; the message has the end of its log.
        """
        end = time.monotonic() + within_s
        while not ready():
            if not self.running:
                raise ProcessFailed(f"{self.name} s'est arrêté. Dernières lignes de {self._log} :\n{self._log_tail()}")
            if time.monotonic() > end:
                raise ProcessFailed(
                    f"{self.name} n'est pas prêt après {within_s:.0f} s. "
                    f"Dernières lignes de {self._log} :\n{self._log_tail()}"
                )
            time.sleep(0.02)

    def _log_tail(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "  (pas de journal)"
        return "\n".join(f"  {line}" for line in lines[-_LOG_TAIL_LINES:])


def leashed(command: Sequence[str]) -> list[str]:
    """The command, killed by the kernel when the thread that starts it ends: nothing outlives whoever was killed.

    It keeps its process number: `setpriv` (util-linux) becomes the program.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def start_leashed(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """The running program; it lasts as long as this process at most, whichever thread asked for it."""
    start = partial(subprocess.Popen, leashed(command), **options)
    # The main thread lasts as long as the process, and may stand in a network namespace that no other thread is in.
    is_lasting = threading.current_thread() is threading.main_thread()
    return cast("subprocess.Popen[bytes]", start() if is_lasting else _STARTER.submit(start).result())


def script_command(name: str, *arguments: str) -> list[str]:
    """The command that runs one of our console scripts, from this very environment."""
    return [str(Path(sys.executable).parent / name), *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a simulated device with this very interpreter."""
    return [sys.executable, "-m", module, *arguments]
