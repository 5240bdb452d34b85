"""The same messages as over the network, in a file on a stick: for the weeks in which a network is quarantined.

One JSON object a line. Up: batches of the journal, each sealed for the server. Down: orders and acknowledgements as
the server would publish them (sealed and signed one by one). Every line stands alone: a stick pulled out too early
costs the lines behind the cut, and a second copy of a file is harmless.
"""

from __future__ import annotations

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
from sync.sealing import OpeningKey, SealingKey

_ENTRIES_A_LINE = 200
_VERSION = 1


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
        sealed = server.seal(write_batch(entries), _up_context(device))
        yield canonical({"v": _VERSION, "what": "up", "device": device, "sealed": octets_text(sealed)})
        sequence = entries[-1].sequence


def order_lines(messages: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Orders and acknowledgements as the server publishes them: (topic, payload)."""
    for topic, payload in messages:
        yield canonical({"v": _VERSION, "what": "down", "topic": topic, "payload": octets_text(payload)})


def write_carried_file(path: Path, lines: Iterable[bytes]) -> int:
    """Write a whole file and force it onto the stick before it gets its name; returns how many lines it has.

    Raises:
        OSError: the stick is full, gone or write-protected; no half file is left under `path`.
    """
    draft = path.with_name(path.name + ".part")
    count = 0
    try:
        with draft.open("wb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return count


def read_carried_up(untrusted_file: IO[bytes], key: OpeningKey) -> Iterator[CarriedMessage | None]:
    """At the server: the journal batches in a file; None for each line that is none or does not open."""
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


def _opened(fields: Fields, key: OpeningKey) -> CarriedMessage | None:
    try:
        if fields.text("what") != "up":
            return None
        device = parse_device_id(fields.text("device"))
        return CarriedMessage(topic_up(device, "journal"), key.open(fields.octets("sealed"), _up_context(device)))
    except (MalformedMessage, SealBroken, InvalidIdentifier):
        return None


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


def _up_context(device: DeviceId) -> dict[str, Any]:
    return {"v": _VERSION, "what": "carried journal", "device": device}
