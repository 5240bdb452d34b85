"""The simulated peripheral's side door: a Unix socket (0600) for whoever plays the pupil; one JSON line in, one out."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware_bridge.errors import ControlRefused
from firmware_bridge.side_door_requests import LINE_BYTES_MAX, BadRequest, Request, parse_request

Reply = dict[str, object]
_CLIENTS_MAX = 16


class SideDoor:
    """Listens and answers on the owner's selector: the caller's loop stays single-threaded."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, answer: Callable[[Request], Reply]) -> None:
        """Listen at `path`, in place of a dead socket left by a killed process.

        Raises:
            ControlRefused: another process answers there.
        """
        self._path = path
        self._selector = selector
        self._answer = answer
        self._partial: dict[socket.socket, bytearray] = {}
        _remove_dead_socket(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        earlier_umask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(earlier_umask)
        self._listener.listen(_CLIENTS_MAX)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        for client in list(self._partial):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if len(self._partial) >= _CLIENTS_MAX:
            client.close()
            return
        client.setblocking(False)
        self._partial[client] = bytearray()
        self._selector.register(client, selectors.EVENT_READ, lambda: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        """Answer every complete line; a line without an end is refused once it is too long."""
        try:
            chunk = client.recv(LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return
        partial = self._partial[client]
        partial += chunk
        while (end := partial.find(b"\n")) >= 0:
            line = bytes(partial[:end])
            del partial[: end + 1]
            if not self._reply(client, self._answer(parse_request(line))):
                return
        if len(partial) > LINE_BYTES_MAX:
            self._reply(client, self._answer(BadRequest("line too long")))
            self._drop(client)

    def _reply(self, client: socket.socket, reply: Reply) -> bool:
        """Send one line; a client that does not read is dropped, so that it cannot hold the peripheral up."""
        try:
            client.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            self._drop(client)
            return False
        return True

    def _drop(self, client: socket.socket) -> None:
        if self._partial.pop(client, None) is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(client)
            client.close()


def _remove_dead_socket(path: Path) -> None:
    """Make way for a new socket, unless somebody answers on the old one."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise ControlRefused(f"{path}: another simulated peripheral answers there")


def ask(path: Path, request: dict[str, Any], timeout_s: float) -> Reply:
    """One request and its reply over a connection of its own.

    Raises:
        ControlRefused: nobody answers, in time or with sense, or the answer is an error.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(timeout_s)
            door.connect(str(path))
            door.sendall(json.dumps(request).encode() + b"\n")
            with door.makefile("rb") as lines:
                reply = json.loads(lines.readline(65536))
    except (OSError, ValueError) as error:
        raise ControlRefused(f"{path}: no answer") from error
    if not isinstance(reply, dict) or "error" in reply:
        raise ControlRefused(str(reply.get("error") if isinstance(reply, dict) else "no object"))
    return reply
