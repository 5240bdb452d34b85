"""One heap for all threads: what a camera's frame has held in one thread is used again in the next."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""mallopt(3)."""


def share_one_heap() -> bool:
    """Call before any thread starts; whether the C library has such a thing.

    The C library gives each thread a heap of its own and keeps what was freed there: after some hands, 30 MiB of a
    terminal were such leftovers. Python's own lock already keeps threads from asking for memory at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, 1))
