"""The port between the agent and whatever carries messages. What arrives is untrusted; what is sent may arrive
twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

MessageHandler = Callable[[str, bytes], None]
"""Called with (untrusted topic, untrusted payload) on the transport's own thread; when it returns, the message counts
as received, so whatever must be durable has to be by then. It must not raise."""

StateHandler = Callable[[], None]
"""Called on the transport's own thread when the connection comes or goes."""

Publish = Callable[[str, bytes], None]
"""Hands over one message: (topic, payload). Raises TransportLost."""


class Transport(Protocol):
    """At-least-once delivery to named topics, reconnecting by itself until stopped."""

    @property
    def connected(self) -> bool: ...

    @property
    def unconfirmed(self) -> int:
        """Messages handed over that are still on the line, as far as this side knows."""
        ...

    def start(self) -> None:
        """Begin to connect, and go on trying; returns at once."""
        ...

    def stop(self) -> None:
        """Disconnect and end the thread."""
        ...

    def subscribe(self, pattern: str) -> None:
        """Ask for a topic pattern, now and after every reconnection."""
        ...

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand over one message.

        Raises:
            TransportLost: there is no connection just now.
        """
        ...
