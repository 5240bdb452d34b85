"""A frame server that remembers when it was asked: what the camera took is the pupil's and the lens's time, not ours.

It speaks the protocol of `hand_geometry.simulated_camera` (one byte asks, a length and a picture answer).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

from hand_geometry.simulated_camera import REQUEST

_LENGTH = struct.Struct(">I")
_JOIN_S = 2.0


class TimedPlaten:
    """Shows what was laid, and how long the terminal looked at it."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._lock = threading.Lock()
        self._picture = b""
        self._first_asked_s: float | None = None
        self._last_answered_s = 0.0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection: socket.socket | None = None
        self._listener.bind(str(socket_path))
        socket_path.chmod(0o600)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._accept, name="timed-platen", daemon=True)
        self._thread.start()

    def lay(self, picture: bytes) -> None:
        """Lay a hand (JPEG bytes)."""
        with self._lock:
            self._picture = picture

    def lift(self) -> None:
        self.lay(b"")

    def begin(self) -> None:
        """Forget what was asked so far."""
        with self._lock:
            self._first_asked_s = None

    @property
    def looked_for_s(self) -> float:
        """From the first frame asked for since `begin` to the last one handed over: the simulated exposure, the
        decoding of its JPEG and the wait until the hand is at rest; 0 where nothing was asked.
        """
        with self._lock:
            return 0.0 if self._first_asked_s is None else self._last_answered_s - self._first_asked_s

    def close(self) -> None:
        """Stop serving, and forget the picture."""
        self.lift()
        for end in (self._listener, self._connection):
            if end is not None:
                with contextlib.suppress(OSError):  # closed by the other side before
                    end.shutdown(socket.SHUT_RDWR)
        self._thread.join(_JOIN_S)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        """One terminal at a time; it comes again after each start."""
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with self._connection, contextlib.suppress(OSError):  # a terminal that was stopped in the middle of a frame
                self._serve(self._connection)

    def _serve(self, connection: socket.socket) -> None:
        while connection.recv(1) == REQUEST:
            asked_s = time.monotonic()
            with self._lock:
                picture = self._picture
                if self._first_asked_s is None:
                    self._first_asked_s = asked_s
            connection.sendall(_LENGTH.pack(len(picture)) + picture)
            with self._lock:
                self._last_answered_s = time.monotonic()
