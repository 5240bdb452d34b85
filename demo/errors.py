"""What can keep the demonstration from starting; every message says what to do next."""

from __future__ import annotations

from canteen.errors import CanteenError


class DemoError(CanteenError):
    """The base of this package's errors: one sentence for the person at the keyboard."""


class ProgramMissing(DemoError):
    """A program of the operating system is not installed."""


class PortInUse(DemoError):
    """Somebody listens where one of our servers should."""


class ProcessFailed(DemoError):
    """One of the canteen's processes ended, or was not ready in time."""


class HandsFolderRefused(DemoError):
    """HANDS names a folder that has no people in it."""
