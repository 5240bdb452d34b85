"""Memory of one thread is used again by the next."""

from __future__ import annotations

import subprocess
import sys

_THREADS = """
import sys, threading, numpy as np
from pathlib import Path
from terminal.allocation import share_one_heap
assert sys.argv[1] == "no" or share_one_heap()
def work():
    kept = [np.ones(100_000, dtype=np.uint8) for _ in range(300)]
pause = threading.Barrier(4)
def wait_and_work():
    work(); pause.wait()
threads = [threading.Thread(target=wait_and_work) for _ in range(3)]
for thread in threads: thread.start()
pause.wait()
for thread in threads: thread.join()
maps = Path("/proc/self/maps").read_text().splitlines()
print(sum("rw-p" in line and " 00:00 0 " in line for line in maps))
"""


def test_no_heap_of_its_own_for_each_thread() -> None:
    """Said by the C library, and seen: the same work in three threads maps fewer regions."""
    answers = [
        subprocess.run([sys.executable, "-c", _THREADS, how], capture_output=True, text=True, check=True, timeout=60)
        for how in ("no", "yes")
    ]
    without, with_one = (int(answer.stdout) for answer in answers)
    assert with_one < without
