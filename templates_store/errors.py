"""What can be wrong with the store."""

from __future__ import annotations

from canteen.errors import CanteenError


class StoreError(CanteenError):
    """The base of this package's errors."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written: wrong key, damaged file, full disk. Deny, and tell staff."""


class StoreRolledBack(StoreUnavailable):
    """The file is of an earlier epoch than its keys: an older copy was put back. Nothing of it is served.

    It may hold pupils who have been purged since. Make the device anew: the station seals again what it should hold.
    """


class KeyUnavailable(StoreUnavailable):
    """The key source does not give its secret: missing, open to others, or a TPM that refuses."""


class SelfTestFailed(StoreUnavailable):
    """A primitive does not give its published answer on this machine: nothing it says is to be believed."""


class ConsentMissing(StoreError):
    """Somebody tried to store or export a reference without a valid consent; the code path is wrong."""


class UnknownPupil(StoreError):
    """No such pupil is on the roster of this store."""


class CodeTaken(StoreError):
    """Another pupil already has this code."""
