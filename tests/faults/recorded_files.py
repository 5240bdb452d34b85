"""What a power cut leaves: built from a record of every write, sync, rename and unlink (`store_recorder.c`).

Between two syncs a disk keeps what it likes. Four answers are tried at every step: all that was written, only what
was synced, names but not unsynced contents, and a draw of some of the unsynced writes.
"""

from __future__ import annotations

import functools
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cQQI")
_PROJECT = Path(__file__).parents[2]
CUTS = ("all", "synced", "names", "some")


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing done to the folder."""

    kind: str
    inode: int
    offset: int
    payload: bytes = field(repr=False)


@functools.cache
def recorder() -> Path:
    """The compiled recorder."""
    library = Path(tempfile.mkdtemp()) / "store_recorder.so"
    source = Path(__file__).with_name("store_recorder.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source), "-ldl"], check=True, timeout=60
    )
    return library


def record(folder: Path, script: str) -> list[Operation]:
    """Runs `script` (its argument: the folder), and what it did to the files in `folder`."""
    log = folder.parent / "operations"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(recorder()),
        "FILE_RECORDER_FOLDER": str(folder.resolve()),
        "FILE_RECORDER_LOG": str(log),
        "PYTHONPATH": str(_PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([sys.executable, "-c", script, str(folder.resolve())], env=environment, check=True, timeout=60)
    content, at, operations = log.read_bytes(), 0, []
    while at < len(content):
        kind, inode, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        operations.append(Operation(kind.decode(), inode, offset, content[at : at + length]))
        at += length
    return operations


class Disk:
    """The folder as programs see it, and as it is on the platter."""

    def __init__(self, folder: Path) -> None:
        """As `folder` is now, all of it durable."""
        self.names: dict[str, int] = {}
        self.content: dict[int, bytearray] = {}
        for path in sorted(folder.iterdir()):
            inode = path.stat().st_ino
            self.names[path.name] = inode
            self.content[inode] = bytearray(path.read_bytes())
        self.durable_names = dict(self.names)
        self.durable_content = {inode: bytes(content) for inode, content in self.content.items()}
        self.unsynced: dict[int, list[Operation]] = {}

    def apply(self, done: Operation) -> None:
        """One more operation has been done."""
        text = done.payload.decode(errors="replace") if done.kind in "CRLU" else ""
        match done.kind:
            case "C":
                self.names[text] = done.inode
                self.content.setdefault(done.inode, bytearray())
                self.content[done.inode][:] = b""
                self.durable_content.setdefault(done.inode, b"")
            case "W" | "T":
                _write(self.content.setdefault(done.inode, bytearray()), done)
                self.unsynced.setdefault(done.inode, []).append(done)
            case "S":
                self.durable_content[done.inode] = bytes(self.content.get(done.inode, b""))
                self.unsynced.pop(done.inode, None)
            case "R":
                before, after = text.split("\x00")
                self.names[after] = self.names.pop(before)
            case "L":
                before, after = text.split("\x00")
                self.names[after] = self.names[before]
            case "U":
                self.names.pop(text, None)
            case "D":
                self.durable_names = dict(self.names)
            case _:
                raise ValueError(done.kind)

    def after_a_cut(self, cut: str, draw: random.Random) -> dict[str, bytes]:
        """The files a power cut leaves now."""
        names = self.durable_names if cut == "synced" else self.names
        left = {}
        for name, inode in names.items():
            if name.endswith("-shm"):
                continue  # an index in memory; never believed after a restart
            left[name] = self._content_after(inode, cut, draw)
        return left

    def _content_after(self, inode: int, cut: str, draw: random.Random) -> bytes:
        if cut == "all":
            return bytes(self.content.get(inode, b""))
        kept = bytearray(self.durable_content.get(inode, b""))
        if cut == "some":
            for done in self.unsynced.get(inode, []):
                if draw.random() < 0.5:
                    _write(kept, done)
        return bytes(kept)


def _write(content: bytearray, done: Operation) -> None:
    if done.kind == "T":
        del content[done.offset :]
        content.extend(bytes(done.offset - len(content)))
        return
    content.extend(bytes(max(0, done.offset - len(content))))
    content[done.offset : done.offset + len(done.payload)] = done.payload


def cuts(disk: Disk, operations: list[Operation], seed: int) -> Iterator[tuple[int, str, dict[str, bytes]]]:
    """Every step with every way a cut can end it: how many operations were done, which cut, what it left; none twice.

    `disk` is as it was before the first operation.
    """
    draw, seen = random.Random(seed), set()
    for done in range(len(operations) + 1):
        for cut in CUTS:
            left = disk.after_a_cut(cut, draw)
            mark = hash(tuple(sorted(left.items())))
            if (mark, done == len(operations)) not in seen:
                seen.add((mark, done == len(operations)))
                yield done, cut, left
        if done < len(operations):
            disk.apply(operations[done])
