"""Memory with keys in it: not dumped, not read by others, not swapped where the system allows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROTECTED = """
import resource
from templates_store.memory import protect_memory
protection = protect_memory()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(protection.no_core_dumps, protection.not_readable_by_others, protection.not_swappable)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], int(status["VmLck"].split()[0]) > 0)
"""
_LIMITED = """
import os, resource
from templates_store import memory
os.geteuid = lambda: 1000
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
print(memory.protect_memory().not_swappable)
held = [bytes(1 << 20) for _ in range(64)]
print(len(held))
"""


def _run(code: str) -> list[str]:
    """In a process of its own: what is locked stays locked."""
    project = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split("\n")[:-1]


def test_what_was_told_was_reached() -> None:
    """No core, no reading by others; where it says that pages are locked, the kernel says so too."""
    told, seen = _run(_PROTECTED)
    no_core, not_readable, not_swappable = told.split()
    assert ("True", "True") == (no_core, not_readable)
    assert f"0 {not_swappable}" == seen


def test_under_a_limit_nothing_is_locked_and_nothing_fails() -> None:
    """A program that may lock 64 KiB goes on unlocked, and says so."""
    assert ["False", "64"] == _run(_LIMITED)
