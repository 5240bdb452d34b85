"""The cable between the school's devices and its server, with a switch in it: a relay that can be cut.

Cut, it drops every connection and refuses new ones, as an unplugged cable and a dead router do.
"""

from __future__ import annotations

import socket
import threading
import time

_CHUNK_BYTES = 65536
_CAPPED_BUFFER_BYTES = 8 * 1024


class NetworkSwitch:
    """Relays TCP from a loopback port to another one while it is closed (as a switch is, when current flows)."""

    def __init__(self, target_port: int, listen_port: int = 0, octets_a_second: float | None = None) -> None:
        """`octets_a_second` makes it a poor line, in each direction; what it has not relayed waits at the sender."""
        self._target_port, self._rate = target_port, octets_a_second
        self._server = socket.create_server(("127.0.0.1", listen_port))
        if octets_a_second is not None:
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CAPPED_BUFFER_BYTES)
        self._connected = True
        self._lock = threading.Lock()
        self._open_sockets: set[socket.socket] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, name="network-switch", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def connected(self) -> bool:
        return self._connected

    def start(self) -> None:
        self._thread.start()

    def cut(self) -> None:
        """Drop what is connected and let nobody in."""
        with self._lock:
            self._connected = False
            for connection in self._open_sockets:
                _reset(connection)
            self._open_sockets.clear()

    def restore(self) -> None:
        """The cable is back; whoever tries again gets through."""
        self._connected = True

    def stop(self) -> None:
        self._stopped = True
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return  # stopped
            if not self._connected:
                _reset(connection)
                continue
            try:
                upstream = socket.create_connection(("127.0.0.1", self._target_port), timeout=2)
                upstream.settimeout(None)
            except OSError:
                _reset(connection)
                continue
            with self._lock:
                self._open_sockets |= {connection, upstream}
            for source, sink in ((connection, upstream), (upstream, connection)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(_CHUNK_BYTES if self._rate is None else _CAPPED_BUFFER_BYTES):
                sink.sendall(chunk)
                if self._rate is not None:
                    time.sleep(len(chunk) / self._rate)
        except OSError:
            pass  # cut, or the other side is gone: both ends are closed below
        with self._lock:
            self._open_sockets -= {source, sink}
        for connection in (source, sink):
            _shut(connection)


def _reset(connection: socket.socket) -> None:
    """Close so that both threads notice at once."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed already
    connection.close()


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed already
