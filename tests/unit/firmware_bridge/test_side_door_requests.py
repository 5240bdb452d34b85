"""The side door understands its requests and refuses the rest without an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.credentials import CardNumber
from firmware_bridge.side_door_requests import (
    Act,
    BadRequest,
    PresentCard,
    PresentRawCard,
    PressKey,
    Request,
    WriteGarbage,
    parse_request,
)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_requests = st.fixed_dictionaries(
    {"do": st.sampled_from(["press", "card", "garbage", "push", "state", "nothing"]) | _json},
    optional={"key": _json, "number": _json, "bytes": _json, "raw": _json},
)


@given(st.binary(max_size=5000) | _requests.map(lambda request: json.dumps(request).encode()))
def test_no_line_raises(untrusted_line: bytes) -> None:
    """Any bytes and any JSON give a request or a BadRequest."""
    assert isinstance(parse_request(untrusted_line), Request)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"do":"press","key":"7"}', PressKey("7")),
        ('{"do":"card","number":"04A1B2C3D4E5F6"}', PresentCard(CardNumber("04A1B2C3D4E5F6"))),
        ('{"do":"card","number":"0a","raw":true}', PresentRawCard(b"\x0a")),
        ('{"do":"garbage","bytes":12}', WriteGarbage(12)),
        ('{"do":"push"}', Act("push")),
        ('{"do":"state"}', Act("state")),
    ],
)
def test_requests(line: str, expected: Request) -> None:
    """One line of JSON is one request."""
    assert parse_request(line.encode()) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        "{",
        '{"do":"reboot"}',
        '{"do":["push"]}',
        '{"do":"press"}',
        '{"do":"press","key":"12"}',
        '{"do":"press","key":"A"}',
        '{"do":"press","key":7}',
        '{"do":"card","number":"04A1B2"}',
        '{"do":"card","number":"04a1b2c3"}',
        '{"do":"card","number":"","raw":true}',
        '{"do":"garbage","bytes":0}',
        '{"do":"garbage","bytes":true}',
        '{"do":"garbage","bytes":1e9}',
        "[" * 4000,
    ],
)
def test_malformed_requests_are_refused(line: str) -> None:
    """A refusal says what is expected and never repeats the line."""
    assert isinstance(parse_request(line.encode()), BadRequest)


def test_requests_hide_what_is_pressed_and_presented() -> None:
    """Codes and card numbers stay out of representations."""
    assert repr(PressKey("7")) == "PressKey(…)"
    assert "04" not in repr(PresentRawCard(b"\x04"))
    assert "04A1" not in repr(PresentCard(CardNumber("04A1B2C3")))
