"""A batch from its bytes, fast where it is written as our own devices write it, by the protocol's reader where not.

A canonical batch holds each header and body as exactly the bytes that were hashed and signed, so that they are cut out
and hashed instead of being built again. Whatever is not plainly of that form goes to `sync.messages.read_batch`, which
decides; a property test holds the two to the same answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.encoding import MESSAGE_BYTES_MAX, canonical, digest
from sync.messages import JournalEntry, read_batch

ENTRIES_MOST = 2000
"""In one batch, as in the protocol's reader."""

_OPENING, _BETWEEN, _ENDING = b'{"entries":[', b",", b'],"v":1}'
_ENTRY = re.compile(
    # A flat body without escapes, brackets or braces inside: all that terminals send hundreds of.
    rb'\{"body":(\{[^{}\[\]\\]*\}),"header":\{('
    rb'"clock_trust":"([a-z]+)",'
    rb'"device":"([a-z][a-z0-9-]{1,31})",'
    rb'"generation":"([0-9a-f]{16})",'
    rb'"kind":"([a-z-]{1,40})",'
    rb'"previous":"([0-9a-f]{64})",'
    rb'"recorded_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00)",'
    rb'"sequence":([1-9][0-9]{0,14}),'
    rb'"v":1)\},"signature":"([A-Za-z0-9+/]{86}==)"\}'
)
_TRUSTS = {trust.value.encode(): trust for trust in ClockTrust}


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An entry, not yet verified, with what its bytes hash to.

    Attributes:
        body_text: the canonical body, as it is kept.
    """

    entry: JournalEntry
    digest: str
    body_digest: str
    body_text: str


def read_entries(untrusted_payload: bytes) -> list[ReadEntry]:
    """The entries of a batch.

    Raises:
        MalformedMessage: it is none.
    """
    try:
        return list(_read_canonical(untrusted_payload))
    except _OtherwiseWritten:
        return [as_read(entry) for entry in read_batch(untrusted_payload)]


def as_read(entry: JournalEntry) -> ReadEntry:
    """The same for an entry that came some other way."""
    header = entry.header
    body_digest: str = header["body_digest"]
    return ReadEntry(entry, digest(canonical(header)), body_digest, canonical(entry.body).decode())


class _OtherwiseWritten(Exception):
    """Perhaps a batch, but not in the form that is read fast."""


def _otherwise(_: str) -> NoReturn:
    raise _OtherwiseWritten


_decode_body = json.JSONDecoder(parse_float=_otherwise, parse_constant=_otherwise).decode
_encode_body = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _read_canonical(untrusted_payload: bytes) -> Iterator[ReadEntry]:
    if len(untrusted_payload) > MESSAGE_BYTES_MAX or not untrusted_payload.startswith(_OPENING):
        raise _OtherwiseWritten
    place, count = len(_OPENING), 0
    while found := _ENTRY.match(untrusted_payload, place):
        yield _read_entry(found)
        place, count = found.end(), count + 1
        if not untrusted_payload.startswith(_BETWEEN, place):
            break
        place += len(_BETWEEN)
    if untrusted_payload[place:] != _ENDING or untrusted_payload[place - 1 : place] == _BETWEEN or count > ENTRIES_MOST:
        raise _OtherwiseWritten


def _read_entry(found: re.Match[bytes]) -> ReadEntry:
    body_octets, header, trust, device, generation, kind, previous, recorded_at, sequence, signature = found.groups()
    try:
        body_text = body_octets.decode()
        body: dict[str, Any] = _decode_body(body_text)
        if _encode_body(body) != body_text:  # keys twice or out of order, blanks, -0: not canonical
            raise _OtherwiseWritten
        body_digest = digest(body_octets)
        entry = JournalEntry(
            device=DeviceId(device.decode()),
            generation=generation.decode(),
            sequence=int(sequence),
            previous=previous.decode(),
            recorded_at=datetime.fromisoformat(recorded_at.decode()),
            clock_trust=_TRUSTS[trust],
            kind=kind.decode(),
            body=body,
            signature=base64.b64decode(signature, validate=True),
        )
    except (ValueError, KeyError, binascii.Error) as error:
        raise _OtherwiseWritten from error
    return ReadEntry(
        entry, digest(b'{"body_digest":"' + body_digest.encode() + b'",' + header + b"}"), body_digest, body_text
    )
