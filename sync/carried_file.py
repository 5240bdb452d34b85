"""The same messages as over the network, in a file on a stick: for the weeks in which a network is quarantined.

One JSON object a line. Up: batches of the journal and the wish for another certificate, each sealed for the server.
Down: orders, acknowledgements and the newest certificate as the server would publish them (each sealed or signed by
itself). Every line stands alone: a stick pulled out too early costs the lines behind the cut, and a second copy of a
file is harmless.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from sync.encoding import MESSAGE_BYTES_MAX, Fields, canonical, octets_text, parse_object
from sync.errors import MalformedMessage, SealBroken
from sync.messages import read_topic, topic_up, write_batch
from sync.pass_journal import JournalReader
from sync.provisioning import RenewalWish
from sync.sealing import OpeningKey, SealingKey

_ENTRIES_A_LINE = 200
_VERSION = 1
_UP = {"up": "journal", "renewal": "renewal"}
"""What a line up is, and the topic on which the network would carry it."""


@dataclass(frozen=True, slots=True)
class CarriedMessage:
    """A message that came by file; as untrusted as one that came by network."""

    untrusted_topic: str
    untrusted_payload: bytes


@dataclass(frozen=True, slots=True)
class CarriedCount:
    """What became of a file's lines."""

    taken: int
    refused: int


def journal_lines(journal: JournalReader, device: DeviceId, server: SealingKey) -> Iterator[bytes]:
    """Everything that the ledger has not acknowledged, sealed for the server, a line a batch."""
    sequence = journal.acknowledged_up_to
    while entries := journal.entries_after(sequence, _ENTRIES_A_LINE):
        yield _line_up("up", device, write_batch(entries), server)
        sequence = entries[-1].sequence


def renewal_line(wish: RenewalWish, device: DeviceId, server: SealingKey) -> bytes:
    """The wish for another certificate, for a device whose own has run out, or soon will, without a network."""
    return _line_up("renewal", device, canonical(wish.write()), server)


def order_lines(messages: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """What the server publishes to a device: (topic, payload)."""
    for topic, payload in messages:
        yield canonical({"v": _VERSION, "what": "down", "topic": topic, "payload": octets_text(payload)})


def write_carried_file(path: Path, lines: Iterable[bytes], folder: int | None = None) -> int:
    """Write a whole file and force it onto the stick before it gets its name; returns how many lines it has.

    `folder` is an open folder that `path` is in. What already lies there under either name is replaced, not followed:
    a link on somebody's stick must not make us write elsewhere.

    Raises:
        OSError: the stick is full, gone or write-protected; no half file is left under `path`.
    """
    draft = path.with_name(path.name + ".part")
    count = 0
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o644, dir_fd=folder), "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # the journal may fail as well as the stick
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
    return count


def read_carried_up(untrusted_file: IO[bytes], key: OpeningKey) -> Iterator[CarriedMessage | None]:
    """At the server: the journal batches and wishes in a file; None for each line that is none or does not open."""
    for fields in _lines(untrusted_file):
        yield None if fields is None else _opened(fields, key)


def read_carried_down(untrusted_file: IO[bytes], device: DeviceId) -> Iterator[CarriedMessage | None]:
    """At a device: the messages for it; None for each line that is none. Another device's lines are passed over."""
    for fields in _lines(untrusted_file):
        try:
            if fields is None or fields.text("what") != "down":
                raise MalformedMessage("not an order line")
            message = CarriedMessage(fields.text("topic"), fields.octets("payload"))
            recipient, direction, _ = read_topic(message.untrusted_topic)
            if direction != "down":
                raise MalformedMessage("not an order line")
        except MalformedMessage:
            yield None
        else:
            if recipient == device:
                yield message


def _line_up(what: str, device: DeviceId, payload: bytes, server: SealingKey) -> bytes:
    sealed = server.seal(payload, _up_context(device, _UP[what]))
    return canonical({"v": _VERSION, "what": what, "device": device, "sealed": octets_text(sealed)})


def _opened(fields: Fields, key: OpeningKey) -> CarriedMessage | None:
    try:
        topic = _UP.get(fields.text("what"))
        if topic is None:
            return None
        device = parse_device_id(fields.text("device"))
        payload = key.open(fields.octets("sealed"), _up_context(device, topic))
    except (MalformedMessage, SealBroken, InvalidIdentifier):
        return None
    return CarriedMessage(topic_up(device, topic), payload)


def _lines(untrusted_file: IO[bytes]) -> Iterator[Fields | None]:
    while line := untrusted_file.readline(MESSAGE_BYTES_MAX):
        if not line.strip():
            continue
        try:
            fields = Fields(parse_object(line))
            if fields.integer("v") != _VERSION:
                raise MalformedMessage("another version")
        except MalformedMessage:
            yield None
        else:
            yield fields


def _up_context(device: DeviceId, topic: str) -> dict[str, Any]:
    return {"v": _VERSION, "what": f"carried {topic}", "device": device}
