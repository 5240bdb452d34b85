"""What the station refuses, each as something a route answers differently."""

from __future__ import annotations

from canteen.consent import ConsentState
from canteen.errors import CanteenError


class StationError(CanteenError):
    """The base of this package's errors."""


class ConfigurationRefused(StationError):
    """A setting or a file it names is missing or wrong; the message says which."""


class CannotListen(StationError):
    """The page's port cannot be opened; the message is for whoever starts the station."""


class PupilNotFound(StationError):
    """No such pupil is on the roster here."""


class ConsentRequired(StationError):
    """Somebody tried to capture a hand without a consent that stands.

    Attributes:
        state: where the pupil stands instead.
    """

    def __init__(self, state: ConsentState) -> None:
        super().__init__(f"no consent: {state.value}")
        self.state = state


class ConsentRefused(StationError):
    """A consent form does not fit what is on record. `sentence` is for the operator."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class StandInRefused(StationError):
    """Nothing can stand in for a hand so. `sentence` is for the operator."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class CardRefused(StationError):
    """A card cannot be given: blocked, or somebody else's. `sentence` is for the operator."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class CardWorkFailed(StationError):
    """The work with a card broke off by a fault of this program; nothing is on record."""


class LeaseOver(StationError):
    """The station's own lease is over: it gives no reference out before a fresh one."""


class UploadRefused(StationError):
    """An upload is too large or is no form. `status` is the HTTP status that says so."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class AuditUnavailable(StationError):
    """The audit log cannot be written: nothing personal is shown."""
