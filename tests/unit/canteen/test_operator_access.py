"""What a request's headers say of who asks, and from where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.operator_access import bearer_token, cookie_token, is_from_our_pages


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer", None), ("Bearer ", None)],
)
def test_bearer(header: str, token: str | None) -> None:
    """The scheme in any case, and something behind it."""
    assert token == bearer_token(header)


@pytest.mark.parametrize(
    ("header", "token"), [("a=1; jeton=xyz", "xyz"), ("jeton=", ""), ("autre=1", None), ("", None), ("jeton", None)]
)
def test_cookie(header: str, token: str | None) -> None:
    """The one cookie asked for."""
    assert token == cookie_token(header, "jeton")


@pytest.mark.parametrize(
    ("origin", "has_bearer", "ours"),
    [
        ("http://127.0.0.1:8001", False, True),
        ("http://127.0.0.1:8002", False, False),
        ("https://example.org", True, False),
        ("null", True, False),
        ("http://[", False, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_origin(origin: str | None, has_bearer: bool, ours: bool) -> None:
    """Another site's page is refused even with a token; a program without a page is let in with one."""
    assert ours is is_from_our_pages(origin, "127.0.0.1:8001", has_bearer=has_bearer)


@given(st.text(max_size=80))
def test_whatever_a_header_holds(header: str) -> None:
    """No header makes these raise."""
    bearer_token(header)
    cookie_token(header, "jeton")
    is_from_our_pages(header, "127.0.0.1:8001", has_bearer=True)
