"""What the neighbouring terminals served: their signed passes, out of the order box, into the table of meals served.

So that a code is not served twice in one service while the server is gone. Sync only carries: each entry is checked
here with its terminal's key from the devices order. Nothing is kept but the table; the box holds two days, and is read
again from its beginning at a start and when the devices change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from canteen.clock import Clock
from canteen.errors import CanteenError
from canteen.identifiers import DeviceId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassUnresolved
from sync.errors import BadSignature, MalformedMessage, OrderBoxUnavailable
from sync.fact_bodies import read_fact
from sync.messages import JournalEntry
from sync.order_bodies import read_order
from sync.order_box import OrderBox
from sync.orders import DeviceRole, DevicesOrder
from sync.signing import VerifyingKey
from templates_store.errors import StoreUnavailable
from templates_store.store import TemplateStore
from terminal.orders import DEVICES_DOCUMENT
from terminal.prepaid import Prepaid
from terminal.served import Served

_log = logging.getLogger("canteen.terminal.neighbours")

AT_START_S = 1.0
"""A terminal that starts in the middle of lunch takes this long at most to hear who has eaten; the rest comes later."""
_AT_ONCE_S = 0.02
"""Between two keys of a pupil nobody notices this."""
_BATCH = 40
_PAUSE_S = 5.0
_COUNTS = timedelta(days=1)
"""Passes of other days stand in nobody's way: not even their signature is looked at."""


class Neighbours:
    """Listens to the neighbours, a little at a time."""

    def __init__(
        self, device: DeviceId, box: OrderBox, store: TemplateStore, served: Served, prepaid: Prepaid, clock: Clock
    ) -> None:
        self._device, self._box, self._store = device, box, store
        self._served, self._prepaid, self._clock = served, prepaid, clock
        self._arrival = 0
        self._keys: dict[DeviceId, VerifyingKey] | None = None
        self._not_before_s = 0.0
        self._refused: set[tuple[DeviceId, str]] = set()

    def devices_changed(self) -> None:
        """An order has replaced the directory: what was refused may be good now, and the other way round."""
        self._keys, self._arrival = None, 0
        self._refused.clear()

    def listen_again(self) -> None:
        """Begin again with what the box still has: somebody else listens now."""
        self._arrival = 0

    def listen(self, may_go_on: Callable[[], bool] = lambda: True, for_s: float = _AT_ONCE_S) -> bool:
        """Take in what has come, for a moment and while `may_go_on`; whether more waits. No broken box stops it."""
        if self._clock.monotonic_s() < self._not_before_s:
            return False
        stop_at_s = time.monotonic() + for_s
        try:
            while may_go_on() and time.monotonic() < stop_at_s:
                if not self._listen_once(may_go_on, stop_at_s):
                    return False
        except (OrderBoxUnavailable, StoreUnavailable) as error:
            _log.warning("the neighbours are not heard: %s", type(error).__name__)
            self._not_before_s = self._clock.monotonic_s() + _PAUSE_S
            return False
        return True

    def _listen_once(self, may_go_on: Callable[[], bool], stop_at_s: float) -> bool:
        try:
            arrived = self._box.neighbours_after(self._arrival, _BATCH)
        except MalformedMessage:
            arrived = self._first_alone()
            if not arrived:
                return True
        for arrival, entry in arrived:
            if not may_go_on() or time.monotonic() > stop_at_s:
                return True
            self._take(entry)
            self._arrival = arrival
        return bool(arrived)

    def _first_alone(self) -> list[tuple[int, JournalEntry]]:
        """The next one, where something among the next ones is no entry; without it if that is the one."""
        try:
            return self._box.neighbours_after(self._arrival, 1)
        except MalformedMessage:
            self._refuse(self._device, "malformed")
            self._arrival += 1
            return []

    def _take(self, entry: JournalEntry) -> None:
        try:
            fact = read_fact(entry.kind, entry.body)
        except CanteenError:
            self._refuse(entry.device, "malformed")
            return
        if isinstance(fact, PassGranted):
            today = self._clock.utc_now().date()
            if not today - _COUNTS <= fact.moment.day <= today + _COUNTS:
                return
        elif not isinstance(fact, PassCompleted | PassAbandoned | PassUnresolved):
            return
        key = self._key_of(entry.device)
        if key is None:
            self._refuse(entry.device, "unknown")
            return
        try:
            entry.verify(key)
        except BadSignature:
            self._refuse(entry.device, "bad-signature")
            return
        self._served.note(fact, entry.device)
        self._prepaid.note(entry, fact)

    def _key_of(self, neighbour: DeviceId) -> VerifyingKey | None:
        if self._keys is None:
            self._keys = self._read_keys()
        return self._keys.get(neighbour)

    def _read_keys(self) -> dict[DeviceId, VerifyingKey]:
        document = self._store.document(DEVICES_DOCUMENT)
        try:
            directory = None if document is None else read_order(document)
        except MalformedMessage:
            _log.warning("the devices in the store cannot be read")
            directory = None
        if not isinstance(directory, DevicesOrder):
            return {}
        return {
            entry.device: entry.verifying_key
            for entry in directory.devices
            if entry.role is DeviceRole.TERMINAL and entry.device != self._device
        }

    def _refuse(self, neighbour: DeviceId, why: str) -> None:
        if (neighbour, why) not in self._refused:
            self._refused.add((neighbour, why))
            _log.warning("passes told under the name of %s are refused: %s", neighbour, why)
