"""What can be wrong with what is recorded, sent and received."""

from __future__ import annotations

from canteen.errors import CanteenError


class SyncError(CanteenError):
    """The base of this package's errors."""


class MalformedMessage(SyncError):
    """Bytes from outside that are not a message of the protocol. Refuse them; the next may be good."""


class BadSignature(SyncError):
    """A message is not signed by whom it should be."""


class SealBroken(SyncError):
    """A sealed body was not made for us, or was changed."""


class JournalUnavailable(SyncError):
    """The journal cannot be written or read (disk full, file damaged, locked): deny, and tell staff."""


class JournalBroken(SyncError):
    """The journal's chain does not hold: somebody changed it."""


class OrderBoxUnavailable(SyncError):
    """The order box cannot be written or read; sync retries, the gate works on with what it has."""


class TransportLost(SyncError):
    """No connection to the broker just now; recoverable, the agent retries."""
