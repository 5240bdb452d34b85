"""The server's greeting: at its own start and at every reconnection to all devices, and as a question to one.

A server that comes back with an older database does not know what it has forgotten; a broker that stayed up keeps the
devices connected, so they would not say hello by themselves. Greeted, they do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from billing_server.authority import Authority
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.errors import TransportLost
from sync.greeting import Greeting, write_greeting
from sync.messages import topic_down
from sync.signing import SigningKey
from sync.transport import Publish


@dataclass(frozen=True, slots=True)
class Greeter:
    """Signs and publishes greetings. One that does not go out is said again at the next connection."""

    signing_key: SigningKey = field(repr=False)
    authority: Authority | None
    clock: Clock
    publish: Publish

    def greet(self, device: str, *, asks: bool = False) -> None:
        """Say to `device` that we are here; with `asks`, that it is to state under its key which orders it holds."""
        authority = None if self.authority is None else self.authority.fingerprint()
        greeting = Greeting(DeviceId(device), self.clock.utc_now(), asks, authority)
        try:
            self.publish(topic_down(device, "greeting"), write_greeting(greeting, self.signing_key))
        except TransportLost:
            return
