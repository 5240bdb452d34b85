"""A batch from its bytes, fast where it is written as our own devices write it, by the protocol's reader where not.

A canonical batch holds each header and body as exactly the bytes that were hashed and signed, so that they are cut out
and hashed instead of being built again: msgspec reads them into structs whose fields stand in canonical order, and what
is written again as the same bytes was canonical. Whatever is not plainly of that form goes to
`sync.messages.read_batch`, which decides; a property test holds the two to the same answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, NoReturn

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, Encoder

from billing_server.bulk import instant_field
from billing_server.entry_rows import entry_row
from billing_server.pass_bodies import PassBody, read_pass_bodies, read_pass_body
from canteen.clock import ClockTrust
from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from sync.encoding import MESSAGE_BYTES_MAX, canonical, digest, instant_text
from sync.messages import JournalEntry, read_batch

ENTRIES_MOST = 2000
"""In one batch, as in the protocol's reader."""

_GENERATION = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_DIGITS, _INSTANT, _UTC = bytes.maketrans(b"123456789", b"0" * 9), b"0000-00-00T00:00:00.000000+00:00", b"+00:00"
"""What an instant looks like, all digits alike (in its zone, too): those of a batch in one go."""
_KIND = re.compile(r"[a-z-]{1,40}")
_SIGNATURE_BYTES = 64
_TRUSTS = frozenset(trust.value for trust in ClockTrust)


class ReadEntry(Struct, frozen=True, gc=False):
    """An entry, not yet verified, with what its bytes hash to.

    Attributes:
        recorded_at: as the protocol writes it; `instant` the same as a field of a row.
        body: in canonical form, as it is kept.
        pass_body: the same read, if it is plainly a pass.
        row: of `entries`, without what all rows of a journal share.
    """

    device: DeviceId
    generation: str
    sequence: int
    previous: str
    recorded_at: str
    instant: bytes
    clock_trust: str
    kind: str
    signature: bytes
    body: bytes
    body_digest: str
    digest: str
    pass_body: PassBody | None
    row: bytes

    @property
    def entry(self) -> JournalEntry:
        """The same as the protocol has it."""
        return JournalEntry(
            self.device,
            self.generation,
            self.sequence,
            self.previous,
            self.at,
            ClockTrust(self.clock_trust),
            self.kind,
            json.loads(self.body),
            self.signature,
        )

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.recorded_at)


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
    body = canonical(entry.body)
    hashed, body_hashed = digest(canonical(header)), header["body_digest"]
    instant = instant_field(entry.recorded_at)
    return ReadEntry(
        entry.device,
        entry.generation,
        entry.sequence,
        entry.previous,
        instant_text(entry.recorded_at),
        instant,
        entry.clock_trust.value,
        entry.kind,
        entry.signature,
        body,
        body_hashed,
        hashed,
        read_pass_body(entry.kind, body),
        entry_row(
            entry.clock_trust.value,
            entry.kind,
            entry.sequence,
            entry.previous.encode(),
            hashed.encode(),
            instant,
            body_hashed.encode(),
            entry.signature,
            body,
        ),
    )


class _OtherwiseWritten(Exception):
    """Perhaps a batch, but not in the form that is read fast."""


class _Wire(Struct, gc=False):
    body: Raw
    header: Raw
    signature: bytes


class _Batch(Struct):
    entries: list[_Wire]
    v: Literal[1]


class _Header(Struct, forbid_unknown_fields=True, gc=False):
    clock_trust: str
    device: str
    generation: str
    kind: str
    previous: str
    recorded_at: Annotated[str, Meta(min_length=len(_INSTANT), max_length=len(_INSTANT))]
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    v: Literal[1]


_decode_batch, _decode_headers, _encode = Decoder(_Batch).decode, Decoder(list[_Header]).decode, Encoder().encode


def _read_canonical(untrusted_payload: bytes) -> Iterator[ReadEntry]:
    if len(untrusted_payload) > MESSAGE_BYTES_MAX:
        raise _OtherwiseWritten
    try:
        batch = _decode_batch(untrusted_payload)
        # Whole JSON values side by side: what reads and writes as the same bytes together does so one by one.
        header_octets = [bytes(wire.header) for wire in batch.entries]
        headers_octets = b"[%b]" % b",".join(header_octets)
        headers = _decode_headers(headers_octets)
    except (ValueError, RecursionError) as error:
        raise _OtherwiseWritten from error
    if len(headers) > ENTRIES_MOST or _encode(batch) != untrusted_payload or _encode(headers) != headers_octets:
        raise _OtherwiseWritten
    instants = "".join([header.recorded_at for header in headers]).encode()
    if instants.translate(_NO_DIGITS) != _INSTANT * len(headers) or instants.count(_UTC) != len(headers):
        raise _OtherwiseWritten
    bodies_octets = [bytes(wire.body) for wire in batch.entries]
    pass_bodies = read_pass_bodies([header.kind for header in headers], bodies_octets)
    device, generation, last, last_octets = DeviceId(""), "", "", b""
    for wire, header, octets, body_octets, pass_body in zip(
        batch.entries, headers, header_octets, bodies_octets, pass_bodies, strict=True
    ):
        try:
            recorded_at = datetime.fromisoformat(header.recorded_at)
            if header.device != device:
                device = parse_device_id(header.device)
        except (ValueError, InvalidIdentifier) as error:
            raise _OtherwiseWritten from error
        if (
            (header.generation != generation and _GENERATION.fullmatch(header.generation) is None)
            or (header.previous != last and _DIGEST.fullmatch(header.previous) is None)
            or header.clock_trust not in _TRUSTS
            or len(wire.signature) != _SIGNATURE_BYTES
        ):
            raise _OtherwiseWritten
        if pass_body is None:
            _check_other(header.kind, body_octets)
        previous = last_octets if header.previous == last else header.previous.encode()
        body_digest = sha256(body_octets).hexdigest()
        body_digest_octets = body_digest.encode()
        last = sha256(b"".join((b'{"body_digest":"', body_digest_octets, b'",', octets[1:]))).hexdigest()
        last_octets = last.encode()
        generation, instant = header.generation, instant_field(recorded_at)
        clock_trust, kind, signature = header.clock_trust, header.kind, wire.signature
        yield ReadEntry(
            device,
            generation,
            header.sequence,
            header.previous,
            header.recorded_at,
            instant,
            clock_trust,
            kind,
            signature,
            body_octets,
            body_digest,
            last,
            pass_body,
            entry_row(
                clock_trust,
                kind,
                header.sequence,
                previous,
                last_octets,
                instant,
                body_digest_octets,
                signature,
                body_octets,
            ),
        )


def _otherwise(_: str) -> NoReturn:
    raise _OtherwiseWritten


_decode_body = json.JSONDecoder(parse_float=_otherwise, parse_constant=_otherwise).decode


def _check_other(kind: str, body_octets: bytes) -> None:
    """Raises _OtherwiseWritten unless it is a flat body in canonical form: no escapes, nothing nested."""
    if _KIND.fullmatch(kind) is None or any(mark in body_octets for mark in (b"\\", b"[")) or b"{" in body_octets[1:]:
        raise _OtherwiseWritten
    try:
        body: Any = _decode_body(body_octets.decode())
    except ValueError as error:
        raise _OtherwiseWritten from error
    # Keys twice or out of order, blanks, -0: not canonical.
    if not isinstance(body, dict) or canonical(body) != body_octets:
        raise _OtherwiseWritten
