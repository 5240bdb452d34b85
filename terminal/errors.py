"""What keeps a terminal from starting. What goes wrong later is an event of the state machine."""

from __future__ import annotations

from canteen.errors import CanteenError


class TerminalError(CanteenError):
    """The base of this package's errors."""


class ConfigurationRefused(TerminalError):
    """The configuration is missing, incomplete or unsafe; the message says where and what to write instead."""


class DisplayUnavailable(TerminalError):
    """The pupil's screen cannot be served: its port is taken."""
