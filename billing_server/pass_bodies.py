"""The bodies of passes, read by msgspec straight into columns: what a ledger takes by the thousand.

Fields stand in the order of canonical JSON, none is optional and none more is allowed: a body that is written again as
the same bytes was canonical. Whatever is read here means what `sync.facts.read_fact` would have read; a property test
compares them. Anything else is left to that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder

from canteen.access_decision import Reason
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassDenied, PassFact, PassGranted, PassMethod
from sync.facts import FactKind

_PassId = Annotated[str, Meta(pattern="^m-[0-9a-f]{24}$", max_length=26)]
_PupilId = Annotated[str, Meta(pattern="^p-[0-9a-f]{16}$", max_length=18)]
_Text = Annotated[str, Meta(max_length=200)]


class GrantedBody(Struct, forbid_unknown_fields=True, rename={"pass_id": "pass"}):
    """Of `pass-granted`."""

    charged_to: EntitlementKind | None
    day: date
    forced_because: _Text | None
    method: PassMethod
    nonce: str
    pass_id: _PassId
    period: _Text
    pupil: _PupilId


class DeniedBody(Struct, forbid_unknown_fields=True, rename={"pass_id": "pass"}):
    """Of `pass-denied`."""

    method: PassMethod
    nonce: str
    pass_id: _PassId
    pupil: _PupilId | None
    reason: Reason


class OutcomeBody(Struct, forbid_unknown_fields=True, rename={"pass_id": "pass"}):
    """Of what became of a grant."""

    nonce: str
    pass_id: _PassId


PassBody = GrantedBody | DeniedBody | OutcomeBody

_outcome = Decoder(OutcomeBody).decode
_DECODERS: dict[str, Callable[[bytes], PassBody]] = {
    FactKind.PASS_GRANTED.value: Decoder(GrantedBody).decode,
    FactKind.PASS_DENIED.value: Decoder(DeniedBody).decode,
    FactKind.PASS_COMPLETED.value: _outcome,
    FactKind.PASS_ABANDONED.value: _outcome,
    FactKind.PASS_UNRESOLVED.value: _outcome,
}
_encode = Encoder().encode


def read_pass_body(kind: str, untrusted_octets: bytes) -> PassBody | None:
    """The body of a pass in canonical form without escapes, or None for whatever is not plainly that."""
    decode = _DECODERS.get(kind)
    if decode is None or b"\\" in untrusted_octets:
        return None
    try:
        body = decode(untrusted_octets)
    except ValueError:  # msgspec's errors, and text that is not UTF-8
        return None
    return body if _encode(body) == untrusted_octets else None


def pass_body_of(fact: PassFact) -> PassBody:
    """The same for a fact that came some other way."""
    match fact:
        case PassGranted():
            moment = fact.moment
            return GrantedBody(
                fact.charged_to,
                moment.day,
                fact.forced_because,
                fact.method,
                "",
                fact.pass_id,
                moment.period,
                fact.pupil,
            )
        case PassDenied():
            return DeniedBody(fact.method, "", fact.pass_id, fact.pupil, fact.reason)
        case _:
            return OutcomeBody("", fact.pass_id)
