"""What the bridge refuses. A lost board is an event, never an exception."""

from __future__ import annotations

from canteen.errors import CanteenError


class FirmwareBridgeError(CanteenError):
    """The base of this package's errors."""


class ChannelKeyRefused(FirmwareBridgeError):
    """The secure channel key file is missing, readable by others, or holds no usable key."""


class SimulatedDeviceInProduction(FirmwareBridgeError):
    """A simulated device, or a pseudo-terminal, was asked to serve in production."""


class LineUnavailable(FirmwareBridgeError):
    """The serial line cannot be opened now; its owner tries again later."""


class BoardMisused(FirmwareBridgeError):
    """A command the board can never carry out, or a wait from inside its own event handler."""


class ControlRefused(FirmwareBridgeError):
    """The simulated peripheral's side door answered with an error."""
