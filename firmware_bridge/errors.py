"""What the bridge refuses. A lost board is an event, never an exception."""

from __future__ import annotations

from canteen.errors import CanteenError
from firmware_bridge.devices import ReaderLossReason


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


class CardKeysRefused(FirmwareBridgeError):
    """Card keys of the wrong length, publicly known, or for an impossible application."""


class CardMisused(FirmwareBridgeError):
    """A card command that no card could carry out, or a reader thread started twice."""


class ReaderUnavailable(FirmwareBridgeError):
    """No PC/SC service or no reader now; its owner tries again later.

    Attributes:
        reason: what staff would have to look at.
    """

    def __init__(self, reason: ReaderLossReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class CardError(FirmwareBridgeError):
    """The base of what can go wrong between a card and us: the reader turns each into a reason."""


class CardLost(CardError):
    """The card left the field, or the reader did, in the middle of an exchange."""


class CardUnreadable(CardError):
    """Bytes that no DESFire card would have answered."""


class CardStatusError(CardError):
    """The card answered with an error status.

    Attributes:
        status: the status byte, a `DesfireStatus` where it has a name.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"card status 0x{status:02X}")
        self.status = status


class CardKeyWrong(CardError):
    """The card does not hold the key that we hold: it refused our proof."""


class CardProofWrong(CardError):
    """The card let us in but could not prove that it holds the key: an emulator or a replayed session."""


class CardSessionSpoiled(CardError):
    """A checksum or MAC under the session key is wrong: somebody changed bytes on the way."""
