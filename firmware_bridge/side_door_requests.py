"""What one may ask the simulated peripheral through its side door: one JSON object a line, parsed without trust."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from canteen.credentials import CardNumber
from canteen.errors import InvalidCardNumber

LINE_BYTES_MAX = 4096
GARBAGE_BYTES_MAX = 65536
KEYS = "0123456789*#C"
"""The keys one can press: a twelve-key pad and a cancel key."""


@dataclass(frozen=True, slots=True)
class PressKey:
    """Press one key."""

    key: str

    def __repr__(self) -> str:
        return "PressKey(…)"


@dataclass(frozen=True, slots=True)
class PresentCard:
    """Hold a card to the reader."""

    card: CardNumber


@dataclass(frozen=True, slots=True)
class PresentRawCard:
    """Hold something to the reader that may not be a card number: for tests of refusals."""

    number: bytes

    def __repr__(self) -> str:
        return "PresentRawCard(…)"


@dataclass(frozen=True, slots=True)
class WriteGarbage:
    """Put random bytes on the line."""

    count: int


@dataclass(frozen=True, slots=True)
class Act:
    """What needs no argument."""

    what: Literal[
        "push",
        "unplug",
        "plug",
        "cut",
        "restore",
        "tamper",
        "jam",
        "clear",
        "empty",
        "refill",
        "alarm",
        "calm",
        "state",
    ]
    """`unplug` pulls the adapter of the line, `cut` takes one peripheral's power."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """Why a line was not understood; never repeats the line."""

    why: str


_ACTS: tuple[str, ...] = get_args(get_type_hints(Act)["what"])

Request = PressKey | PresentCard | PresentRawCard | WriteGarbage | Act | BadRequest


def parse_request(untrusted_line: bytes) -> Request:
    """The request in one line; a BadRequest for everything else, never an exception."""
    if len(untrusted_line) > LINE_BYTES_MAX:
        return BadRequest("line too long")
    try:
        untrusted = json.loads(untrusted_line)
    except (ValueError, RecursionError):
        return BadRequest("not JSON")
    if not isinstance(untrusted, dict):
        return BadRequest("not an object")
    match untrusted.get("do"):
        case "press":
            key = untrusted.get("key")
            if not isinstance(key, str) or len(key) != 1 or key not in KEYS:
                return BadRequest(f"key: one of {KEYS}")
            return PressKey(key)
        case "card":
            return _card(untrusted.get("number"), raw=untrusted.get("raw") is True)
        case "garbage":
            count = untrusted.get("bytes")
            if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= GARBAGE_BYTES_MAX:
                return BadRequest(f"bytes: 1 to {GARBAGE_BYTES_MAX}")
            return WriteGarbage(count)
        case str(what) if what in _ACTS:
            return Act(what)  # type: ignore[arg-type] # one of them, as the line above has seen
        case _:
            return BadRequest(f"do: press, card, garbage, {', '.join(_ACTS)}")


def _card(untrusted_number: object, *, raw: bool) -> Request:
    """A card request; `raw` lets 1 to 60 bytes of any kind through."""
    if not isinstance(untrusted_number, str):
        return BadRequest("number: hexadecimal")
    if not raw:
        try:
            return PresentCard(CardNumber(untrusted_number))
        except InvalidCardNumber:
            return BadRequest("number: 4 to 10 bytes in upper-case hexadecimal")
    try:
        number = bytes.fromhex(untrusted_number)
    except ValueError:
        return BadRequest("number: hexadecimal")
    return PresentRawCard(number) if 1 <= len(number) <= 60 else BadRequest("number: 1 to 60 bytes")
