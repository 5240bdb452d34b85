"""The access decision: one ordered chain, every exit with *granted* and a *reason*.

The order is the order in which a pupil can do something about it: what concerns the gate first, then the credential,
then
the meal, then the hand. A hand is asked for only when everything else is in order, and never without consent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from canteen.clock import ClockTrust
from canteen.entitlements import EntitlementKind
from canteen.serving_periods import ServiceMoment


class Reason(StrEnum):
    """Why. Values are part of the protocol and of the ledger; never renamed."""

    GRANTED = "granted"
    FORCED = "forced"
    """Staff vouched for the pupil."""
    HAND_NEEDED = "hand-needed"
    """Not a denial yet: lay the hand on the reader."""
    OUT_OF_SERVICE = "out-of-service"
    CLOCK_UNTRUSTED = "clock-untrusted"
    UNKNOWN_CODE = "unknown-code"
    UNKNOWN_CARD = "unknown-card"
    CARD_BLOCKED = "card-blocked"
    OUTSIDE_SERVING_PERIOD = "outside-serving-period"
    NO_ENTITLEMENT_TODAY = "no-entitlement-today"
    NO_MEALS_LEFT = "no-meals-left"
    """An external's prepaid meals are used up, and the school chose to deny then."""
    ALREADY_SERVED = "already-served"
    CARD_REQUIRED = "card-required"
    """The code alone opens nothing, and no hand is enrolled (no consent, or opposition)."""
    REFERENCE_EXPIRED = "reference-expired"
    """The lease ran out without a word from the server: the hand is no longer compared."""
    HAND_NOT_READ = "hand-not-read"
    HAND_NOT_MATCHED = "hand-not-matched"
    JOURNAL_UNAVAILABLE = "journal-unavailable"
    """What cannot be recorded is not granted."""
    TOO_SLOW = "too-slow"
    """The pupil stopped typing or laid no hand; nobody is refused, the lane goes back to rest."""


class CredentialStatus(StrEnum):
    """What the store said of the credential."""

    KNOWN_CODE = "known-code"
    KNOWN_CARD = "known-card"
    UNKNOWN_CODE = "unknown-code"
    UNKNOWN_CARD = "unknown-card"
    BLOCKED_CARD = "blocked-card"


class HandStatus(StrEnum):
    """What is known of the hand so far."""

    NO_REFERENCE = "no-reference"
    REFERENCE_EXPIRED = "reference-expired"
    NOT_LAID_YET = "not-laid-yet"
    NOT_READ = "not-read"
    MATCHED = "matched"
    NOT_MATCHED = "not-matched"


class MissingEntitlement(StrEnum):
    """What the school does where a meal is not booked, or not paid in advance (its own choice)."""

    DENY = "deny"
    SERVE_AND_BILL = "serve-and-bill"


class StaffSign(StrEnum):
    """What staff may see beside a grant, and nobody else reads: a debt never stops a child by itself."""

    NO_BOOKING = "no-booking"
    NO_MEALS_LEFT = "no-meals-left"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """All that the decision needs; nothing else may sway it.

    Attributes:
        meals_left: prepaid meals of an external, or None where nobody counts them.
    """

    credential: CredentialStatus
    clock_trust: ClockTrust
    moment: ServiceMoment | None
    charged_to: EntitlementKind | None
    already_served: bool
    hand: HandStatus
    missing_entitlement: MissingEntitlement = MissingEntitlement.DENY
    meals_left: int | None = None
    without_meals: MissingEntitlement = MissingEntitlement.SERVE_AND_BILL


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """`granted` opens the turnstile; `reason` is shown, journalled and billed by; `sign` is for staff alone."""

    granted: bool
    reason: Reason
    sign: StaffSign | None = None


_CREDENTIAL_REFUSALS = {
    CredentialStatus.UNKNOWN_CODE: Reason.UNKNOWN_CODE,
    CredentialStatus.UNKNOWN_CARD: Reason.UNKNOWN_CARD,
    CredentialStatus.BLOCKED_CARD: Reason.CARD_BLOCKED,
}

_HAND_REFUSALS = {
    HandStatus.NO_REFERENCE: Reason.CARD_REQUIRED,
    HandStatus.REFERENCE_EXPIRED: Reason.REFERENCE_EXPIRED,
    HandStatus.NOT_LAID_YET: Reason.HAND_NEEDED,
    HandStatus.NOT_READ: Reason.HAND_NOT_READ,
    HandStatus.NOT_MATCHED: Reason.HAND_NOT_MATCHED,
}


def decide_access(request: AccessRequest) -> AccessDecision:
    """The one place that says who eats. Called when the credential is known and again when the hand has been seen."""
    if request.clock_trust is ClockTrust.UNTRUSTED:
        return _denied(Reason.CLOCK_UNTRUSTED)
    if request.credential in _CREDENTIAL_REFUSALS:
        return _denied(_CREDENTIAL_REFUSALS[request.credential])
    if request.moment is None:
        return _denied(Reason.OUTSIDE_SERVING_PERIOD)
    if request.charged_to is None and request.missing_entitlement is MissingEntitlement.DENY:
        return _denied(Reason.NO_ENTITLEMENT_TODAY)
    if request.already_served:
        return _denied(Reason.ALREADY_SERVED)
    sign = _sign(request)
    if sign is StaffSign.NO_MEALS_LEFT and request.without_meals is MissingEntitlement.DENY:
        return _denied(Reason.NO_MEALS_LEFT)
    if request.credential is CredentialStatus.KNOWN_CODE and request.hand in _HAND_REFUSALS:
        return _denied(_HAND_REFUSALS[request.hand])
    return AccessDecision(granted=True, reason=Reason.GRANTED, sign=sign)


def _sign(request: AccessRequest) -> StaffSign | None:
    if request.charged_to is None:
        return StaffSign.NO_BOOKING
    prepaid = request.charged_to is EntitlementKind.EXTERNAL_MEAL
    return StaffSign.NO_MEALS_LEFT if prepaid and request.meals_left is not None and request.meals_left <= 0 else None


def _denied(reason: Reason) -> AccessDecision:
    return AccessDecision(granted=False, reason=reason)
