"""The line to the devices: the transport's thread only queues, one thread reads, one stores, one sends orders.

Reading and storing are two, because one waits for the database while the other reads what comes next; sending is by
itself, because a lost card must reach the terminals within two seconds even while a month of passes comes in.
"""

from __future__ import annotations

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Generic, TypeVar

from billing_server.downlink import Downlink
from billing_server.ingest import Ingest
from billing_server.read_batch import ReadBatch
from billing_server.refusals import Refusals, WhyRefused
from billing_server.renewals import RenewalDesk
from billing_server.turns import LOOK_EVERY_S, Turns
from sync.errors import TransportLost
from sync.transport import MessageHandler, StateHandler, Transport

_log = logging.getLogger("canteen.billing.line")

TransportFactory = Callable[[MessageHandler, StateHandler, StateHandler], Transport]

TOGETHER_MOST = 20
"""Messages handed on at once."""

ENTRIES_TOGETHER = 6000
"""In one transaction, about: 0.2 s, which another terminal's pass may have to wait."""

NEWS_WAIT_S = 5.0
"""What terminals tell each other is looked at this late: by then a healthy journal has brought the same, and the look
costs nothing."""

READ_AHEAD = 20
"""Messages read and not yet stored: enough for the next transaction, not more."""

WAITING_MOST = 2000
"""Messages held for the ingest thread: the devices' own windows close long before."""

_SWITCH_S = 0.0005
"""How long a thread of ours may keep the interpreter from another one. Python's own 5 ms would let PostgreSQL wait, at
each of the twenty answers in a transaction, until the thread that reads has had its turn."""

_Work = TypeVar("_Work")

_Read = ReadBatch | tuple[str, bytes]
"""A batch, or a hello: (untrusted topic, untrusted payload)."""


def settle_process() -> None:
    """Make a process ready for a line's threads: all that is loaded by now stays.

    Looking through it for garbage at every few thousand entries cost a fifth of an entry.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()


class Outlet:
    """Where messages go out; before there is a transport, nowhere."""

    def __init__(self) -> None:
        self._transport: Transport | None = None

    def connect(self, transport: Transport) -> None:
        self._transport = transport

    def publish(self, topic: str, payload: bytes) -> None:
        """Raises TransportLost if there is no connection just now."""
        if self._transport is None:
            raise TransportLost
        self._transport.publish(topic, payload)


class _Worker(Generic[_Work]):
    """A thread that does what is queued, in order, as much as waits at once; a failure does not stop the next."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[_Work]], None],
        on_fault: Callable[[], None],
        most: int = 0,
        every_s: float | None = None,
    ) -> None:
        """`work` is called with nothing after `every_s` in which nothing came."""
        self._every_s = every_s
        self._queue: queue.Queue[_Work | None] = queue.Queue(most)
        self._work, self._on_fault, self._name = work, on_fault, name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, item: _Work) -> bool:
        """Queue `item`; False if there is no room."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            return False
        return True

    def put(self, item: _Work) -> None:
        """Queue `item`, waiting for room."""
        self._queue.put(item)

    def stop(self, timeout_s: float) -> None:
        """Finish what is queued, but not for longer than `timeout_s`: the devices send again what is not done."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (items := self._next()) is not None:
            try:
                self._work(items)
            except Exception as error:  # noqa: BLE001 - the per-message frame: one bad message must not stop the next
                # Its text may hold what was in the message; where it happened is enough to find it.
                _log.error("%s: unhandled %s in %s", self._name, type(error).__name__, _where(error))
                self._on_fault()

    def _next(self) -> list[_Work] | None:
        """What waits; None when it is time to stop."""
        try:
            item = self._queue.get(timeout=self._every_s)
        except queue.Empty:
            return []
        items: list[_Work] = []
        while item is not None:
            items.append(item)
            if len(items) == TOGETHER_MOST:
                return items
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return items
        if not items:
            return None
        self._queue.put(None)  # first finish these; there is room, one was just taken out
        return items


class Share(Enum):
    """Which part of what comes in is ours; the broker deals out what is shared (MQTT v5)."""

    ALL = ("canteen/+/up/#", "canteen/+/lane/passes")
    WITH_WORKERS = (
        "$share/ingest/canteen/+/up/journal",
        "canteen/+/up/hello",
        "canteen/+/up/renewal",
        "canteen/+/lane/passes",
    )
    WORKER = ("$share/ingest/canteen/+/up/journal",)

    @property
    def patterns(self) -> tuple[str, ...]:
        patterns: tuple[str, ...] = self.value
        return patterns


class Line:
    """Owns the transport and both threads."""

    def __init__(
        self,
        ingest: Ingest,
        renewals: RenewalDesk,
        downlink: Downlink,
        refusals: Refusals,
        outlet: Outlet,
        share: Share,
        turns: Turns,
    ) -> None:
        self._share, self._turns = share, turns
        self._renewals = renewals
        self._ingest, self._downlink, self._refusals, self._outlet = ingest, downlink, refusals, outlet
        self._transport: Transport | None = None
        self._stopped = threading.Event()
        self._incoming: _Worker[tuple[str, bytes]] = _Worker("reading", self._read, self._count_fault, WAITING_MOST)
        self._storing: _Worker[_Read] = _Worker(
            "storing", self._store, self._count_fault, READ_AHEAD, None if share is Share.ALL else LOOK_EVERY_S
        )
        self._news: _Worker[tuple[float, str, bytes]] = _Worker(
            "news", self._take_news, self._count_fault, WAITING_MOST
        )
        self._outgoing: _Worker[Callable[[], None]] = _Worker("downlink", self._send, self._count_fault)

    @property
    def connected(self) -> bool:
        return self._transport is not None and self._transport.connected

    def start(self, make_transport: TransportFactory | None) -> None:
        """Start the threads and, if there is a broker, connect to it."""
        if make_transport is not None:
            self._transport = make_transport(self.handle, self._came, self._went)
            for pattern in self._share.patterns:
                self._transport.subscribe(pattern)
            self._outlet.connect(self._transport)
        self._incoming.start()
        self._storing.start()
        self._news.start()
        self._outgoing.start()
        if self._transport is not None:
            self._transport.start()

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.stop()
        self._incoming.stop(3.0)
        self._storing.stop(3.0)
        self._stopped.set()
        self._news.stop(1.0)
        self._outgoing.stop(1.0)

    def handle(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Queue a message; it is durable when the ledger's own acknowledgement goes out, not before."""
        if not self._incoming.offer((untrusted_topic, untrusted_payload)):
            self._refusals.count(None, WhyRefused.TOO_BUSY)

    def wake(self, devices: set[str]) -> None:
        """These devices have new orders."""
        for device in sorted(devices):
            self._outgoing.offer(lambda device=device: self._downlink.send_new(device))  # type: ignore[misc]  # mypy: lambda default

    def _read(self, messages: list[tuple[str, bytes]]) -> None:
        for untrusted_topic, untrusted_payload in messages:
            with self._faults_counted("reading"):
                what = untrusted_topic.rpartition("/")[2]
                if what == "journal":
                    batch = self._ingest.read_journal(untrusted_topic, untrusted_payload)
                    if batch is not None:
                        self._storing.put(batch)
                elif what == "passes":
                    self._news.offer((time.monotonic() + NEWS_WAIT_S, untrusted_topic, untrusted_payload))
                elif what == "hello":
                    # Through the same queue: a hello that overtook its journal would look like a device that forgot.
                    self._storing.put((untrusted_topic, untrusted_payload))
                elif what == "renewal":
                    self._renewals.take(untrusted_topic, untrusted_payload)
                else:
                    self._refusals.count(None, WhyRefused.GARBAGE)

    def _store(self, items: list[_Read]) -> None:
        """What was read, in the order in which it came; batches of one device that follow each other go together."""
        together: list[ReadBatch] = []
        for item in items:
            if isinstance(item, ReadBatch) and self._share is not Share.ALL:
                self._turns.hold(item)
            elif isinstance(item, ReadBatch):
                if together and (item.device != together[0].device or _entries(together) >= ENTRIES_TOGETHER):
                    self._store_together(together)
                    together = []
                together.append(item)
            else:
                self._store_together(together)
                together = []
                with self._faults_counted("storing"):
                    self._take_hello(*item)
        self._store_together(together)
        if self._turns.waiting:
            for batches in self._turns.due():
                self._store_together(batches)

    def _store_together(self, batches: list[ReadBatch]) -> None:
        if batches:
            with self._faults_counted("storing"):
                self._ingest.store(batches)

    def _take_hello(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        heard = self._ingest.take_hello(untrusted_topic, untrusted_payload)
        if heard is not None:
            self._catch_up(*heard)

    def _take_news(self, messages: list[tuple[float, str, bytes]]) -> None:
        for due_s, untrusted_topic, untrusted_payload in messages:
            if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                return  # told again at the terminal's next connection
            with self._faults_counted("news"):
                self._ingest.take_news(untrusted_topic, untrusted_payload)

    @contextmanager
    def _faults_counted(self, where: str) -> Iterator[None]:
        """The per-message frame: one bad message must not stop the next."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            # Its text may hold what was in the message; where it happened is enough to find it.
            _log.error("%s: unhandled %s in %s", where, type(error).__name__, _where(error))
            self._count_fault()

    def _catch_up(self, device: str, above: int) -> None:
        self._outgoing.offer(lambda: self._downlink.catch_up(device, above))

    def _send(self, sendings: list[Callable[[], None]]) -> None:
        for send in sendings:
            send()

    def _came(self) -> None:
        _log.info("connected to the broker")
        if self._share is not Share.WORKER:
            self._outgoing.offer(self._downlink.send_all)

    def _went(self) -> None:
        _log.info("not connected to the broker")

    def _count_fault(self) -> None:
        self._refusals.count(None, WhyRefused.UNHANDLED)


def _entries(batches: list[ReadBatch]) -> int:
    return sum(len(batch.untrusted_entries) for batch in batches)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
