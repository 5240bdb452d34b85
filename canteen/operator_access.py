"""Who of the staff may open a page: a random token a person, handed over as a link, kept here only as its digest."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Operator:
    """A member of staff, as the audit log names them."""

    name: str
    token_digest: str = field(repr=False)


def new_token() -> str:
    """A fresh token, 192 bits, fit for a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_digest(token: str) -> str:
    """What is kept of a token. A plain hash will do: the token is random, not chosen by a person."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_operator(operators: Iterable[Operator], untrusted_token: str) -> Operator | None:
    """The operator whose token this is; every operator is looked at, so that time tells nothing."""
    presented = token_digest(untrusted_token)
    found = None
    for operator in operators:
        if hmac.compare_digest(operator.token_digest, presented):
            found = operator
    return found
