"""What the process does against leaving secrets about; the systemd unit does the rest."""

from __future__ import annotations

import ctypes
import logging
import os
import resource

_log = logging.getLogger("canteen.terminal.hardening")

_PR_SET_DUMPABLE = 4


def harden_process() -> None:
    """No core dumps, and no reading of this memory by other programs of the same user."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:  # the unit forbids the call, having set the limit itself
        _log.info("the core dump limit is the unit's: %s", error)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("memory stays readable to this user's other programs: %s", os.strerror(ctypes.get_errno()))
