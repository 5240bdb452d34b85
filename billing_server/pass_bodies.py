"""The bodies of passes, read by msgspec straight into columns: what a ledger takes by the thousand.

Fields stand in the order of canonical JSON, none is optional and none more is allowed: a body that is written again as
the same bytes was canonical. Whatever is read here means what `sync.facts.read_fact` would have read; a property test
compares them. Anything else is left to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder

from canteen.access_decision import Reason
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassDenied, PassFact, PassGranted, PassMethod
from sync.facts import FactKind

_PassId = Annotated[str, Meta(min_length=26, max_length=26)]
_PupilId = Annotated[str, Meta(min_length=18, max_length=18)]
_Text = Annotated[str, Meta(max_length=200)]


class GrantedBody(Struct, forbid_unknown_fields=True, gc=False, rename={"pass_id": "pass"}):
    """Of `pass-granted`."""

    charged_to: EntitlementKind | None
    day: date
    forced_because: _Text | None
    method: PassMethod
    nonce: str
    pass_id: _PassId
    period: _Text
    pupil: _PupilId


class DeniedBody(Struct, forbid_unknown_fields=True, gc=False, rename={"pass_id": "pass"}):
    """Of `pass-denied`."""

    method: PassMethod
    nonce: str
    pass_id: _PassId
    pupil: _PupilId | None
    reason: Reason


class OutcomeBody(Struct, forbid_unknown_fields=True, gc=False, rename={"pass_id": "pass"}):
    """Of what became of a grant."""

    nonce: str
    pass_id: _PassId


PassBody = GrantedBody | DeniedBody | OutcomeBody

_SHAPES: dict[str, type[PassBody]] = {
    FactKind.PASS_GRANTED.value: GrantedBody,
    FactKind.PASS_DENIED.value: DeniedBody,
    FactKind.PASS_COMPLETED.value: OutcomeBody,
    FactKind.PASS_ABANDONED.value: OutcomeBody,
    FactKind.PASS_UNRESOLVED.value: OutcomeBody,
}
PASS_KINDS = frozenset(_SHAPES)
_ONE: dict[type[PassBody], Callable[[bytes], PassBody]] = {
    GrantedBody: Decoder(GrantedBody).decode,
    DeniedBody: Decoder(DeniedBody).decode,
    OutcomeBody: Decoder(OutcomeBody).decode,
}
_MANY: dict[type[PassBody], Callable[[bytes], Sequence[PassBody]]] = {
    GrantedBody: Decoder(list[GrantedBody]).decode,
    DeniedBody: Decoder(list[DeniedBody]).decode,
    OutcomeBody: Decoder(list[OutcomeBody]).decode,
}
_encode = Encoder().encode

_A_PASS, _A_PUPIL = b"m-" + b"0" * 24, b"p-" + b"0" * 16
_NO_HEX = bytes.maketrans(b"123456789abcdef", b"0" * 15)
"""What names look like, all their digits alike: thousands in one go, at a tenth of the time of a pattern each."""


def _names_hold(bodies: Sequence[PassBody]) -> bool:
    """Whether passes and pupils are named as they should be; how long a name is was looked at when it was read."""
    passes = [body.pass_id for body in bodies]
    pupils = [body.pupil for body in bodies if not isinstance(body, OutcomeBody) and body.pupil is not None]
    return _look_like(_A_PASS, passes) and _look_like(_A_PUPIL, pupils)


def _look_like(one: bytes, names: Sequence[str]) -> bool:
    return "".join(names).encode().translate(_NO_HEX) == one * len(names)


def read_pass_body(kind: str, untrusted_octets: bytes) -> PassBody | None:
    """The body of a pass in canonical form without escapes, or None for whatever is not plainly that."""
    shape = _SHAPES.get(kind)
    if shape is None or b"\\" in untrusted_octets:
        return None
    try:
        body = _ONE[shape](untrusted_octets)
    except ValueError:  # msgspec's errors, and text that is not UTF-8
        return None
    return body if _encode(body) == untrusted_octets and _names_hold([body]) else None


def read_pass_bodies(kinds: Sequence[str], untrusted_octets: Sequence[bytes]) -> list[PassBody | None]:
    """The same for many, each of them one JSON value: all of a shape in one call, one by one if any is otherwise."""
    bodies: list[PassBody | None] = [None] * len(kinds)
    places: dict[type[PassBody], list[int]] = {}
    for place, kind in enumerate(kinds):
        if (shape := _SHAPES.get(kind)) is not None:
            places.setdefault(shape, []).append(place)
    for shape, at in places.items():
        together = b"[%b]" % b",".join([untrusted_octets[place] for place in at])
        read: Sequence[PassBody | None] = ()
        if b"\\" not in together:
            try:
                many = _MANY[shape](together)
            except ValueError:
                many = ()
            if many and _encode(many) == together and _names_hold(many):
                read = many
        if not read:
            read = [read_pass_body(kinds[place], untrusted_octets[place]) for place in at]
        for place, body in zip(at, read, strict=True):
            bodies[place] = body
    return bodies


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
