"""What can be wrong with the store."""

from __future__ import annotations

from canteen.errors import CanteenError


class StoreError(CanteenError):
    """The base of this package's errors."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written: wrong key, damaged file, full disk. Deny, and tell staff."""


class ConsentMissing(StoreError):
    """Somebody tried to store or export a reference without a valid consent; the code path is wrong."""


class UnknownPupil(StoreError):
    """No such pupil is on the roster of this store."""


class CodeTaken(StoreError):
    """Another pupil already has this code."""
