"""A serial line made of a pseudo-terminal, named by a symbolic link; it can be unplugged like a USB adapter."""

from __future__ import annotations

import contextlib
import os
import pty
import tty
from pathlib import Path

_READ_BYTES = 4096


class PseudoTerminalLine:
    """Our end of a line whose other end is a serial device named `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ours: int | None = None
        self._theirs: int | None = None

    @property
    def plugged(self) -> bool:
        """Whether the device exists now."""
        return self._ours is not None

    def fileno(self) -> int:
        """The descriptor to wait on; -1 while unplugged."""
        return -1 if self._ours is None else self._ours

    def plug(self) -> None:
        """Make the device appear at its name, in place of a dead link left by a killed process."""
        if self._ours is not None:
            return
        # Their end stays open here too: else our reads would fail whenever nobody else has it open.
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        name = os.ttyname(self._theirs)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        fresh.rename(self._path)

    def unplug(self) -> None:
        """Make the device disappear: whoever has it open gets an error."""
        if self._ours is None or self._theirs is None:
            return
        with contextlib.suppress(OSError):
            if self._path.is_symlink() and str(self._path.readlink()) == os.ttyname(self._theirs):
                self._path.unlink()
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = self._theirs = None

    def read(self) -> bytes:
        """What has come in; empty when nothing has."""
        if self._ours is None:
            return b""
        try:
            return os.read(self._ours, _READ_BYTES)
        except OSError:
            return b""

    def write(self, chunk: bytes) -> int:
        """Send what fits; the rest is lost, as on a line nobody listens to."""
        if self._ours is None:
            return 0
        try:
            return os.write(self._ours, chunk)
        except OSError:
            return 0
