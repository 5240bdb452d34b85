"""Identifiers, each parsed once at the border and then trusted by its type."""

from __future__ import annotations

import re
import secrets
from typing import NewType

from canteen.errors import InvalidIdentifier

PupilId = NewType("PupilId", str)
"""A pupil's pseudonym: says nothing about who it is; only the roster links it to a name."""

DeviceId = NewType("DeviceId", str)
"""A terminal or station; also the common name of its certificate and its place in the topic tree."""

PassId = NewType("PassId", str)
"""One meal pass, drawn by the terminal at its first fact; later facts of the same pass repeat it."""

PurgeId = NewType("PurgeId", str)
"""One purge, drawn by the billing server; every holder's receipt repeats it."""

_PUPIL = re.compile(r"p-[0-9a-f]{16}")
_DEVICE = re.compile(r"[a-z][a-z0-9-]{1,31}")
_PASS = re.compile(r"m-[0-9a-f]{24}")
_PURGE = re.compile(r"u-[0-9a-f]{16}")


def _parse(untrusted: object, form: re.Pattern[str], what: str) -> str:
    if isinstance(untrusted, str) and form.fullmatch(untrusted):
        return untrusted
    raise InvalidIdentifier(f"not a {what} identifier")


def parse_pupil_id(untrusted: object) -> PupilId:
    """Raises InvalidIdentifier unless `untrusted` is a pupil's pseudonym."""
    return PupilId(_parse(untrusted, _PUPIL, "pupil"))


def parse_device_id(untrusted: object) -> DeviceId:
    """Raises InvalidIdentifier unless `untrusted` may name a device (and stand in an MQTT topic)."""
    return DeviceId(_parse(untrusted, _DEVICE, "device"))


def parse_pass_id(untrusted: object) -> PassId:
    """Raises InvalidIdentifier unless `untrusted` is a meal pass's identifier."""
    return PassId(_parse(untrusted, _PASS, "pass"))


def parse_purge_id(untrusted: object) -> PurgeId:
    """Raises InvalidIdentifier unless `untrusted` is a purge's identifier."""
    return PurgeId(_parse(untrusted, _PURGE, "purge"))


def new_pupil_id() -> PupilId:
    """A fresh random pseudonym, 64 bits: no two pupils of a country meet."""
    return PupilId(f"p-{secrets.token_hex(8)}")


def new_pass_id() -> PassId:
    """A fresh random pass identifier, 96 bits."""
    return PassId(f"m-{secrets.token_hex(12)}")


def new_purge_id() -> PurgeId:
    """A fresh random purge identifier."""
    return PurgeId(f"u-{secrets.token_hex(8)}")
