"""The line to the devices: the transport's thread only queues, one thread ingests, one sends orders.

Two, because a lost card must reach the terminals within two seconds even while a month of passes comes in.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from billing_server.downlink import Downlink
from billing_server.ingest import Ingest
from billing_server.refusals import Refusals, WhyRefused
from sync.errors import TransportLost
from sync.transport import MessageHandler, StateHandler, Transport

_log = logging.getLogger("canteen.billing.line")

TransportFactory = Callable[[MessageHandler, StateHandler, StateHandler], Transport]

WAITING_MOST = 2000
"""Messages held for the ingest thread: with the devices' own windows (800 entries each) this is never reached by
honest ones."""

_Work = TypeVar("_Work")


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
    """A thread that does one thing after the other; one that fails does not stop the next."""

    def __init__(self, name: str, work: Callable[[_Work], None], on_fault: Callable[[], None], most: int = 0) -> None:
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

    def stop(self, timeout_s: float) -> None:
        """Finish what is queued, but not for longer than `timeout_s`: the devices send again what is not done."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._work(item)
            except Exception as error:  # noqa: BLE001 - the per-message frame: one bad message must not stop the next
                # Its text may hold what was in the message; where it happened is enough to find it.
                _log.error("%s: unhandled %s in %s", self._name, type(error).__name__, _where(error))
                self._on_fault()


class Line:
    """Owns the transport and both threads."""

    def __init__(self, ingest: Ingest, downlink: Downlink, refusals: Refusals, outlet: Outlet) -> None:
        self._ingest, self._downlink, self._refusals, self._outlet = ingest, downlink, refusals, outlet
        self._transport: Transport | None = None
        self._incoming: _Worker[tuple[str, bytes]] = _Worker("ingest", self._take, self._count_fault, WAITING_MOST)
        self._outgoing: _Worker[Callable[[], None]] = _Worker("downlink", lambda send: send(), self._count_fault)

    @property
    def connected(self) -> bool:
        return self._transport is not None and self._transport.connected

    def start(self, make_transport: TransportFactory | None) -> None:
        """Start the threads and, if there is a broker, connect to it."""
        if make_transport is not None:
            self._transport = make_transport(self.handle, self._came, self._went)
            self._transport.subscribe("canteen/+/up/#")
            self._outlet.connect(self._transport)
        self._incoming.start()
        self._outgoing.start()
        if self._transport is not None:
            self._transport.start()

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.stop()
        self._incoming.stop(5.0)
        self._outgoing.stop(2.0)

    def handle(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Queue a message; it is durable when the ledger's own acknowledgement goes out, not before."""
        if not self._incoming.offer((untrusted_topic, untrusted_payload)):
            self._refusals.count(None, WhyRefused.TOO_BUSY)

    def wake(self, devices: set[str]) -> None:
        """These devices have new orders."""
        for device in sorted(devices):
            self._outgoing.offer(lambda device=device: self._downlink.send_new(device))  # type: ignore[misc]

    def _take(self, message: tuple[str, bytes]) -> None:
        untrusted_topic, untrusted_payload = message
        what = untrusted_topic.rpartition("/")[2]
        if what == "journal":
            self._ingest.take_journal(untrusted_topic, untrusted_payload)
        elif what == "hello":
            # On this thread too: a hello that overtook its journal would look like a device that has forgotten.
            heard = self._ingest.take_hello(untrusted_topic, untrusted_payload)
            if heard is not None:
                device, above = heard
                self._outgoing.offer(lambda: self._downlink.catch_up(device, above))
        else:
            self._refusals.count(None, WhyRefused.GARBAGE)

    def _came(self) -> None:
        _log.info("connected to the broker")
        self._outgoing.offer(self._downlink.send_all)

    def _went(self) -> None:
        _log.info("not connected to the broker")

    def _count_fault(self) -> None:
        self._refusals.count(None, WhyRefused.UNHANDLED)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
