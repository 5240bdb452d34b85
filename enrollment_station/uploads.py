"""Uploads, in memory alone: the framework's own parser spools files past 1 MiB to disk, where no hand may ever be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from enrollment_station.errors import UploadRefused
from enrollment_station.language import marked

if TYPE_CHECKING:  # the library names this type for checkers only
    from python_multipart.multipart import MultipartCallbacks

PLACEMENT_BYTES_MAX = 12 * 1024 * 1024
"""A 12-megapixel camera's JPEG at its best quality."""

_JSON_BYTES_MAX = 16 * 1024
_PARTS_MOST = 8
_ENVELOPE_BYTES = 64 * 1024
"""Boundaries, headers and small fields around the pictures."""

TOO_LARGE = marked("L’envoi est trop gros : 12 Mio par image au plus.")
NOT_A_FORM = marked("L’envoi n’est pas un formulaire lisible.")


class _Parts:
    """Collects the parts of a form in memory; `name` decides which are kept."""

    def __init__(self, name: str) -> None:
        self._wanted = name.encode()
        self._field, self._value = b"", b""
        self._keep: bytearray | None = None
        self._seen = 0
        self.kept: list[bytes] = []
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }

    def _part_begins(self) -> None:
        self._seen += 1
        self._keep = None
        if self._seen > _PARTS_MOST:
            raise UploadRefused(413, TOO_LARGE)

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == self._wanted:
                self._keep = bytearray()
        self._field, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._keep is None:
            return
        if len(self._keep) + end - start > PLACEMENT_BYTES_MAX:
            raise UploadRefused(413, TOO_LARGE)
        self._keep += data[start:end]

    def _part_ends(self) -> None:
        if self._keep is not None:
            self.kept.append(bytes(self._keep))
        self._keep = None

    def _ends(self) -> None:
        self.ended = True


async def read_files(request: Request, name: str, most: int) -> list[bytes]:
    """The contents of the form's files called `name`, at most `most` of them.

    Raises:
        UploadRefused: not a multipart form, cut off, or too large.
    """
    content_type, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if content_type != b"multipart/form-data" or not boundary:
        raise UploadRefused(400, NOT_A_FORM)
    parts = _Parts(name)
    left = most * PLACEMENT_BYTES_MAX + _ENVELOPE_BYTES
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0 or len(parts.kept) > most:
                raise UploadRefused(413, TOO_LARGE)
            parser.write(chunk)
        parser.finalize()
    except (FormParserError, ClientDisconnect) as error:
        raise UploadRefused(400, NOT_A_FORM) from error
    if not parts.ended or len(parts.kept) > most:
        raise UploadRefused(400, NOT_A_FORM)
    return parts.kept


async def discard_body(request: Request) -> None:
    """Reads an upload away without keeping a byte: a client still sending would not see the answer otherwise."""
    left = 4 * PLACEMENT_BYTES_MAX
    try:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return
    except ClientDisconnect:
        return


async def read_json_object(request: Request) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        UploadRefused: too large, or none.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _JSON_BYTES_MAX:
                raise UploadRefused(413, NOT_A_FORM)
        value = json.loads(bytes(body))
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise UploadRefused(400, NOT_A_FORM) from error
    if not isinstance(value, dict):
        raise UploadRefused(400, NOT_A_FORM)
    return value
