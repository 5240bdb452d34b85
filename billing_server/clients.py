"""Programs of others that may pull: each with a key, the schools it may read, and a pace."""

from __future__ import annotations

import hmac
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_server.configuration import UAI
from billing_server.errors import ConfigurationRefused
from billing_server.operators import checked_name
from billing_server.private_list import PrivateList
from canteen.clock import Clock
from canteen.operator_access import new_token, token_digest


@dataclass(frozen=True, slots=True)
class Client:
    """A program that may read the schools (`uais`) it was given."""

    name: str
    token_digest: str
    uais: tuple[str, ...]


class ClientBook:
    """Who may pull."""

    def __init__(self, path: Path) -> None:
        self._list = PrivateList(path, _read_client)

    def find(self, untrusted_token: str) -> Client | None:
        """The client of a token, or None."""
        wanted = token_digest(untrusted_token)
        found = None
        for client in self._list.current():
            if hmac.compare_digest(client.token_digest, wanted):
                found = client
        return found

    def add(self, name: str, uais: tuple[str, ...]) -> str:
        """Give `name` a fresh key for `uais`, in place of an earlier one; the key, said this once.

        Raises:
            ConfigurationRefused: not a name, not the numbers of schools, or the file is damaged.
        """
        name = checked_name(name)
        if not uais or not all(UAI.fullmatch(uai) for uai in uais):
            raise ConfigurationRefused("a school is named by its UAI: seven digits and a capital letter")
        token = new_token()
        others = [client for client in self._list.current() if client.name != name]
        everyone = [*others, Client(name, token_digest(token), uais)]
        self._list.write([{"name": c.name, "token_digest": c.token_digest, "uais": list(c.uais)} for c in everyone])
        return token


def _read_client(item: dict[str, Any]) -> Client:
    return Client(str(item["name"]), str(item["token_digest"]), tuple(map(str, item["uais"])))


class Pace:
    """A bucket of requests per client, filled evenly: a burst of a quarter of a minute's worth, then the rate."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._rate, self._most, self._clock = per_minute / 60, max(1.0, per_minute / 4), clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, client: str) -> int:
        """0 if `client` may ask now (and has), else in how many whole seconds it may."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            left, at_s = self._buckets.get(client, (self._most, now_s))
            left = min(self._most, left + (now_s - at_s) * self._rate)
            allowed = left >= 1
            self._buckets[client] = (left - 1 if allowed else left, now_s)
        return 0 if allowed else max(1, math.ceil((1 - left) / self._rate))
