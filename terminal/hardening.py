"""What the process does against leaving secrets about; the systemd unit does the rest."""

from __future__ import annotations

import logging

from templates_store.memory import protect_memory

_log = logging.getLogger("canteen.terminal.hardening")


def harden_process() -> None:
    """No core dumps, no reading of this memory by other programs of the same user, no swapping where it may be had."""
    protection = protect_memory()
    if not protection.no_core_dumps:
        _log.warning("a crash may leave this memory in a core dump")
    if not protection.not_readable_by_others:
        _log.warning("memory stays readable to this user's other programs")
