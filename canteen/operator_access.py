"""Who of the staff may open a page: a random token a person, handed over as a link, kept here only as its digest.

Also what a request says of it: pure functions on headers, said once for every program that has pages.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

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


def bearer_token(untrusted_authorization: str) -> str | None:
    """The token in an Authorization header of the Bearer scheme, or None."""
    scheme, _, token = untrusted_authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def cookie_token(untrusted_cookie: str, name: str) -> str | None:
    """The value of the cookie `name` in a Cookie header, or None."""
    try:
        morsel = SimpleCookie(untrusted_cookie).get(name)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def is_from_our_pages(untrusted_origin: str | None, host: str | None, *, has_bearer: bool) -> bool:
    """Whether a request that changes something comes from a page of `host`, or from a program with a token of its own.

    A browser always sends an Origin with a POST; without one, a cookie alone is not enough.
    """
    if untrusted_origin is None:
        return has_bearer
    try:
        return host is not None and urlsplit(untrusted_origin).netloc == host
    except ValueError:
        return False  # no address at all, such as "http://["
