"""Keys and references stay out of the swap file and out of core dumps, as far as the system lets us.

Python cannot wipe what it has held: bytes are copied and freed where we do not see it. So the whole process is kept in
memory instead, and nothing of it is ever written out. The units ask systemd for the same (`MemorySwapMax=0`,
`LimitCORE=0`); this is for whoever starts a program by hand, and the second lock on the door.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
from dataclasses import dataclass

_log = logging.getLogger("canteen.store.memory")

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class MemoryProtection:
    """What was reached."""

    no_core_dumps: bool
    not_readable_by_others: bool
    not_swappable: bool


def protect_memory() -> MemoryProtection:
    """Ask for all three; what is refused is logged and told."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass  # a unit may forbid the call, having set the limit itself
    protection = MemoryProtection(
        no_core_dumps=resource.getrlimit(resource.RLIMIT_CORE)[0] == 0,
        not_readable_by_others=libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0,
        not_swappable=_lock_pages(libc),
    )
    if not protection.not_swappable:
        _log.info("memory may be swapped unless the unit forbids it (MemorySwapMax=0)")
    return protection


def _lock_pages(libc: ctypes.CDLL) -> bool:
    """Locks every page, present and future. Under a limit nothing is locked: the next allocation would fail instead."""
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if not (unlimited or os.geteuid() == 0):
        return False
    # ONFAULT: what is only reserved (a camera's buffers, thread stacks) takes no memory until it is touched.
    return bool(libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)
