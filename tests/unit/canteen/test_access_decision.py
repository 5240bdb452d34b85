"""The access decision: every reason is reached, in its order, and a grant has exactly one way."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.access_decision import (
    AccessRequest,
    CredentialStatus,
    HandStatus,
    MissingEntitlement,
    Reason,
    decide_access,
)
from canteen.clock import ClockTrust
from canteen.entitlements import EntitlementKind
from canteen.serving_periods import ServiceMoment

LUNCH = ServiceMoment(date(2026, 11, 23), "midi")
BY_HAND = AccessRequest(
    credential=CredentialStatus.KNOWN_CODE,
    clock_trust=ClockTrust.TRUSTED,
    moment=LUNCH,
    charged_to=EntitlementKind.FORFAIT_4_DAYS,
    already_served=False,
    hand=HandStatus.MATCHED,
)
BY_CARD = replace(BY_HAND, credential=CredentialStatus.KNOWN_CARD, hand=HandStatus.NO_REFERENCE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"clock_trust": ClockTrust.UNTRUSTED}, Reason.CLOCK_UNTRUSTED),
        ({"credential": CredentialStatus.UNKNOWN_CODE}, Reason.UNKNOWN_CODE),
        ({"credential": CredentialStatus.UNKNOWN_CARD}, Reason.UNKNOWN_CARD),
        ({"credential": CredentialStatus.BLOCKED_CARD}, Reason.CARD_BLOCKED),
        ({"moment": None}, Reason.OUTSIDE_SERVING_PERIOD),
        ({"charged_to": None}, Reason.NO_ENTITLEMENT_TODAY),
        (
            {
                "charged_to": EntitlementKind.EXTERNAL_MEAL,
                "meals_left": 0,
                "without_meals": MissingEntitlement.DENY,
            },
            Reason.NO_MEALS_LEFT,
        ),
        ({"already_served": True}, Reason.ALREADY_SERVED),
        ({"hand": HandStatus.NO_REFERENCE}, Reason.CARD_REQUIRED),
        ({"hand": HandStatus.REFERENCE_EXPIRED}, Reason.REFERENCE_EXPIRED),
        ({"hand": HandStatus.NOT_LAID_YET}, Reason.HAND_NEEDED),
        ({"hand": HandStatus.NOT_READ}, Reason.HAND_NOT_READ),
        ({"hand": HandStatus.NOT_MATCHED}, Reason.HAND_NOT_MATCHED),
    ],
)
def test_each_thing_that_is_wrong_has_its_reason(change: dict[str, object], reason: Reason) -> None:
    """One thing wrong, one reason, no grant."""
    decision = decide_access(replace(BY_HAND, **change))  # type: ignore[arg-type]  # fields by name
    assert (False, reason) == (decision.granted, decision.reason)


def test_a_card_needs_no_hand() -> None:
    """The same lane: a card passes as a hand does."""
    assert decide_access(BY_HAND) == decide_access(BY_CARD)
    assert decide_access(BY_CARD).granted


def test_a_school_may_serve_and_bill_a_missing_entitlement() -> None:
    """The bill changes, not the gate."""
    request = replace(BY_CARD, charged_to=None, missing_entitlement=MissingEntitlement.SERVE_AND_BILL)
    assert decide_access(request).granted


requests = st.builds(
    AccessRequest,
    credential=st.sampled_from(CredentialStatus),
    clock_trust=st.sampled_from(ClockTrust),
    moment=st.sampled_from([None, LUNCH]),
    charged_to=st.sampled_from([None, *EntitlementKind]),
    already_served=st.booleans(),
    hand=st.sampled_from(HandStatus),
    missing_entitlement=st.sampled_from(MissingEntitlement),
)


@given(requests)
def test_a_grant_always_has_a_known_credential_a_service_and_a_hand_or_a_card(request: AccessRequest) -> None:
    """Whatever comes together, these hold; and a reason always says the same as `granted`."""
    decision = decide_access(request)
    assert decision.granted == (decision.reason is Reason.GRANTED)
    if decision.granted:
        assert request.moment is not None
        assert not request.already_served
        assert request.clock_trust is not ClockTrust.UNTRUSTED
        assert request.credential is CredentialStatus.KNOWN_CARD or request.hand is HandStatus.MATCHED
        assert request.credential in {CredentialStatus.KNOWN_CARD, CredentialStatus.KNOWN_CODE}
