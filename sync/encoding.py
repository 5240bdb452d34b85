"""Canonical JSON: one byte string per value, so that both ends sign and verify the same bytes.

Keys sorted, no white space, UTF-8, no floats: every number of the protocol is an integer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sync.errors import MalformedMessage

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""A roster of 2,000 pupils is 0.5 MiB; anything larger than this is not ours, and a Pi should not parse it."""

_DEPTH_MAX = 12


def canonical(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a JSON object."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def parse_object(untrusted_bytes: bytes | str) -> dict[str, Any]:
    """The JSON object in `untrusted_bytes`.

    Raises:
        MalformedMessage: too large, too deep, not UTF-8 (lone surrogates neither), not JSON, a repeated key, a float,
            or not an object.
    """
    if len(untrusted_bytes) > MESSAGE_BYTES_MAX:
        raise MalformedMessage("message too large")
    try:
        value = json.loads(
            untrusted_bytes,
            object_pairs_hook=_without_repeats,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("not JSON of the protocol") from error
    if not isinstance(value, dict):
        raise MalformedMessage("not a JSON object")
    _check(value, _DEPTH_MAX)
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        # Two parsers may pick different ones of two equal keys; what was signed must be what is read.
        raise MalformedMessage("a key stands twice")
    return value


def _no_float(_: str) -> Any:
    raise MalformedMessage("numbers are integers")


def _check(value: object, left: int) -> None:
    """Refuses what is nested too deep, and text that has no canonical bytes."""
    if left == 0:
        raise MalformedMessage("nested too deep")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, left - 1)
            _check(item, left - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, left - 1)
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise MalformedMessage("text with a lone surrogate") from error


_SIGNATURE_TEXT_LONGEST = 100
"""Of an Ed25519 signature: 64 bytes in base64, with room."""


class Fields:
    """Typed access to the fields of an untrusted object; every accessor raises MalformedMessage."""

    def __init__(self, untrusted: object) -> None:
        if not isinstance(untrusted, dict):
            raise MalformedMessage("an object is missing")
        self._untrusted = untrusted

    def present(self, name: str) -> bool:
        """Whether there is such a field, and it is not null."""
        return self._untrusted.get(name) is not None

    def text(self, name: str, longest: int = 200) -> str:
        value = self._untrusted.get(name)
        if not isinstance(value, str) or len(value) > longest or "\x00" in value:
            raise MalformedMessage(f"{name} is not text")
        return value

    def optional_text(self, name: str, longest: int = 200) -> str | None:
        return None if self._untrusted.get(name) is None else self.text(name, longest)

    def integer(self, name: str, least: int = 0, most: int = 2**53) -> int:
        value = self._untrusted.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise MalformedMessage(f"{name} is not a whole number in its range")
        return value

    def flag(self, name: str) -> bool:
        value = self._untrusted.get(name)
        if not isinstance(value, bool):
            raise MalformedMessage(f"{name} is not true or false")
        return value

    def optional_instant(self, name: str) -> datetime | None:
        return None if self._untrusted.get(name) is None else self.instant(name)

    def instant(self, name: str) -> datetime:
        try:
            value = datetime.fromisoformat(self.text(name, 40))
            if value.tzinfo is None:
                raise MalformedMessage(f"{name} has no time zone")
            return value.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            # OverflowError: the first day of the year 1 east of Greenwich has no UTC.
            raise MalformedMessage(f"{name} is not an instant") from error

    def octets(self, name: str, longest: int = MESSAGE_BYTES_MAX) -> bytes:
        try:
            return base64.b64decode(self.text(name, longest), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedMessage(f"{name} is not base64") from error

    def signature(self, name: str = "signature") -> bytes:
        return self.octets(name, _SIGNATURE_TEXT_LONGEST)

    def optional_signature(self, name: str) -> bytes | None:
        return None if self._untrusted.get(name) is None else self.signature(name)

    def items(self, name: str, most: int = 10_000) -> list[Any]:
        value = self._untrusted.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise MalformedMessage(f"{name} is not a list")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self._untrusted.get(name)
        if not isinstance(value, dict):
            raise MalformedMessage(f"{name} is not an object")
        return value


def instant_text(instant: datetime) -> str:
    """An aware instant as the protocol writes it: UTC, microseconds, "+00:00".

    Raises:
        ValueError: `instant` is naive.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def octets_text(content: bytes) -> str:
    """Bytes as the protocol writes them: standard base64."""
    return base64.b64encode(content).decode("ascii")
