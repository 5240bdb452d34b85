"""Untrusted bytes become a picture, or nothing: no header makes it allocate gigabytes, no content makes it raise."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

# An uploaded picture: a 40-megapixel camera's JPEG. A bomb of a few kilobytes that unfolds to gigabytes is stopped by
# its header.
LARGEST_IMAGE_BYTES = 32 * 1024 * 1024
LARGEST_IMAGE_PIXELS = 40_000_000


def decode_image(untrusted_bytes: bytes) -> NDArray[np.uint8] | None:
    """Decodes a PNG, JPEG or BMP picture to (H, W, 3) uint8 BGR; None for anything else, too small or too large."""
    if not 0 < len(untrusted_bytes) <= LARGEST_IMAGE_BYTES:
        return None
    size = _size_in_header(untrusted_bytes)
    if size is None or min(size) < 1 or size[0] * size[1] > LARGEST_IMAGE_PIXELS:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(untrusted_bytes, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if image is None or image.size == 0:
        return None
    return np.asarray(image, dtype=np.uint8)


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """Decodes a picture's file; None where there is none, or nothing that can be decoded."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            return decode_image(file.read(LARGEST_IMAGE_BYTES + 1))
    except (OSError, ValueError):
        return None


def _size_in_header(untrusted_bytes: bytes) -> tuple[int, int] | None:
    """Width and height as the header claims them, read without decoding anything."""
    data = untrusted_bytes
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return int(width), abs(int(height))
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks over the JPEG segments up to the frame header."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(width), int(height)
        if marker in (0x01, *range(0xD0, 0xD9)):
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
