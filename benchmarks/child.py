"""One program of ours as a process: started with a log of its own, weighed, and stopped by its own handle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkFailed
from benchmarks.language import _

PROJECT = Path(__file__).resolve().parent.parent
LEASH = ["setpriv", "--pdeathsig", "KILL", "--"]
"""A program begun with it ends with the thread that began it: nothing is left where a benchmark is killed."""
_STOP_WITHIN_S = 6.0
_LOG_TAIL_LINES = 4
_KIB_PER_MIB = 1024.0


class Child:
    """A running module of ours."""

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        self.module, self._log = module, log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*LEASH, sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def check_running(self) -> None:
        """Raises BenchmarkFailed with the end of its log if it ended."""
        if not self.running:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
            raise BenchmarkFailed(_("{module} s'est arrêté :").format(module=self.module) + "\n" + "\n".join(lines))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not listen."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """Processor time of all its threads so far, in steps of a clock tick (10 ms)."""
        # The program's name, in parentheses, may hold spaces; user and system time are the 14th and 15th field.
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """What it holds in memory, pages it shares with others included."""
        return resident_mib(self._proc("status"))

    def handles(self) -> int:
        """Threads and open descriptors together."""
        held = Path(f"/proc/{self._process.pid}")
        try:
            return sum(1 for _ in (held / "task").iterdir()) + sum(1 for _ in (held / "fd").iterdir())
        except OSError as error:
            raise BenchmarkFailed(_("{module} s'est arrêté :").format(module=self.module)) from error

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self._process.pid}/{name}").read_text(encoding="utf-8")
        except OSError as error:
            raise BenchmarkFailed(_("{module} s'est arrêté :").format(module=self.module)) from error


def resident_mib(status: str, field: str = "VmRSS") -> float:
    """A memory field of the text of `/proc/PID/status`."""
    for line in status.splitlines():
        name, _colon, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / _KIB_PER_MIB
    raise BenchmarkFailed(_("/proc ne dit pas la mémoire d'un processus"))
