"""Consent to biometrics: none by default, explicit, versioned, withdrawn at any time (GDPR art. 9(2)(a))."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from canteen.errors import InvalidConsent


class ConsentState(StrEnum):
    """Where a pupil stands. Only GIVEN lets a reference be captured, stored, sent or compared."""

    NONE = "none"
    """Nobody has answered: the card, as by default."""
    GIVEN = "given"
    OPPOSED = "opposed"
    """Refused, and remembered, so that nobody enrols the child by mistake."""
    WITHDRAWN = "withdrawn"
    """Given once, taken back: what was held has been ordered away."""


class GivenBy(StrEnum):
    """Who may consent: the legal representatives of a minor, or a pupil of age."""

    LEGAL_REPRESENTATIVE = "legal-representative"
    ADULT_PUPIL = "adult-pupil"


@dataclass(frozen=True, slots=True)
class Consent:
    """The proof that travels with every reference: which notice, who, when. No name in it."""

    notice_version: str
    given_by: GivenBy
    given_at: datetime

    def __post_init__(self) -> None:
        if not self.notice_version or self.given_at.tzinfo is None:
            raise InvalidConsent("a consent names its notice version and an aware instant")


def may_use_biometrics(state: ConsentState) -> bool:
    """The consent gate, said once."""
    return state is ConsentState.GIVEN
