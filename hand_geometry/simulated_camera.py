"""The camera's twin: it asks a frame server on a Unix socket what lies on the platen.

The protocol is one byte ``F`` for a frame; the answer is a length (4 bytes, big-endian) and that many bytes of an
encoded picture, or length 0 for the empty platen. Frames exist in memory only, and the socket has mode 0600.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hand_geometry.capture_device import Frame, refuse_in_production
from hand_geometry.image_decoding import decode_image

REQUEST = b"F"
LARGEST_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")
EMPTY_WIDTH_PX, EMPTY_HEIGHT_PX = 1600, 1200
# Black cloth under the reader's lamp is not quite black.
EMPTY_GREY = 18
TIMEOUT_S = 2.0

_log = logging.getLogger("canteen.hand_geometry.simulated_camera")


def empty_platen() -> NDArray[np.uint8]:
    """A dark platen with nothing on it, (1200, 1600, 3) uint8."""
    return np.full((EMPTY_HEIGHT_PX, EMPTY_WIDTH_PX, 3), EMPTY_GREY, dtype=np.uint8)


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    """``count`` bytes, or None when the other side ends first."""
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 16))
        if not part:
            return None
        parts += part
    return bytes(parts)


class SimulatedCamera:
    """A capture device that shows what was laid on a ``FrameServer``."""

    def __init__(self, socket_path: Path, *, production: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Connects at the first capture; refused in production."""
        refuse_in_production("a simulated camera", production=production)
        self._path = Path(socket_path)
        self._monotonic = monotonic
        self._connection: socket.socket | None = None
        # The same picture is asked for many times a second while a hand lies there: it is decoded once.
        self._last: tuple[bytes, NDArray[np.uint8]] | None = None

    def capture(self) -> Frame | None:
        """The frame of now; None when the server is gone or sends no picture. The next call connects again."""
        try:
            untrusted_bytes = self._ask()
        except OSError:
            untrusted_bytes = None
        if untrusted_bytes is None:
            self._disconnect()
            return None
        if not untrusted_bytes:
            self._last = None
            return Frame(empty_platen(), self._monotonic())
        if self._last is not None and self._last[0] == untrusted_bytes:
            return Frame(self._last[1], self._monotonic())
        image = decode_image(untrusted_bytes)
        if image is None:
            _log.warning("the frame server sent something that is no picture")
            return None
        self._last = (untrusted_bytes, image)
        return Frame(image, self._monotonic())

    def _ask(self) -> bytes | None:
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(TIMEOUT_S)
            self._connection = connection
            connection.connect(str(self._path))
        self._connection.sendall(REQUEST)
        head = _receive_exactly(self._connection, _LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > LARGEST_FRAME_BYTES:
            return None
        return _receive_exactly(self._connection, length) if length else b""

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Closes the connection and forgets the last picture."""
        self._disconnect()
        self._last = None


class FrameServer:
    """The world's side: what somebody lays on the platen is what the camera sees."""

    def __init__(self, socket_path: Path, empty: bytes = b"") -> None:
        """Prepare.

        Args:
            socket_path: Where a ``SimulatedCamera`` connects.
            empty: What the camera sees of the empty platen, encoded: the printed sheet; by default black cloth.
        """
        self._path = Path(socket_path)
        self._lock = threading.Lock()
        self._empty = empty
        self._frame = empty
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens on the socket; a socket left over by a killed server is replaced."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode is set before anybody can connect: bind creates the file, listen opens it.
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        listener.listen(4)
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,), name="frame-server", daemon=True)
        self._thread.start()

    def lay(self, encoded_image: bytes) -> None:
        """Lays a picture (JPEG or PNG bytes) on the platen until it is lifted or replaced.

        Raises:
            ValueError: Empty, or over 16 MiB.
        """
        if not 0 < len(encoded_image) <= LARGEST_FRAME_BYTES:
            raise ValueError("an encoded picture has between 1 byte and 16 MiB")
        with self._lock:
            self._frame = bytes(encoded_image)

    def lift(self) -> None:
        """Empties the platen."""
        with self._lock:
            self._frame = self._empty

    def stop(self) -> None:
        """Stops listening, drops the connections and forgets the picture."""
        self.lift()
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # Closing alone does not wake a thread that waits in accept.
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("the listener was already shut down")
        listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("a connection was already closed")
        if self._thread is not None:
            self._thread.join(TIMEOUT_S)
        self._path.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="frame-connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while connection.recv(1) == REQUEST:
                with self._lock:
                    frame = self._frame
                connection.sendall(_LENGTH.pack(len(frame)) + frame)
        except OSError:
            _log.debug("a camera left in the middle of a frame")
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
