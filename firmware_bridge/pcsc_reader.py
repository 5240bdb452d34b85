"""The card reader beside the board: a thread that reads every card once, and one that watches over it.

The worker owns the connection to the PC/SC daemon and begins again whenever daemon or reader come back. A call into a
driver may never return, and no exception says so: the supervisor notices that the worker has stopped stirring, says
that the reader is lost, and puts a new worker beside it; whatever the old one still says is not passed on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from canteen.credentials import CardNumber
from firmware_bridge.card_reading import CardReading, UidCards
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import (
    CardPresented,
    CardReaderLost,
    CardReaderRecovered,
    CardRefusal,
    CardRefused,
    OnPcscReaderEvent,
    PcscReaderEvent,
    ReaderLossReason,
)
from firmware_bridge.errors import CardLost, CardMisused, ReaderUnavailable, SimulatedDeviceInProduction
from firmware_bridge.pcsc_service import (
    UNAWARE,
    VIRTUAL_READERS,
    PcscService,
    SmartCardService,
    choose_reader,
)

_log = logging.getLogger("canteen.firmware_bridge.pcsc_reader")

WAIT_S = 0.25
"""Longest wait for a change: bounds how long a stop, or a loss that wakes nobody, goes unnoticed."""
RETRY_S = 0.2
STUCK_S = 0.9
"""A call that has not returned by then will not: an exchange with a card takes 5 to 100 ms, a wait `WAIT_S`."""
SUPERVISION_S = 0.1
WORKERS_MAX = 4
"""Threads that hang in a driver are not made more without end."""
TORN_GRACE_S = 0.5
"""A card at the edge of the field comes and goes: it is refused as torn away only if it does not come back."""
TORN_RETRY_S = 0.1
"""A card that was away for less than the daemon's own look at it (0.4 s) is tried again without any change."""
GHOST_S = 5.0
"""A card still lying there after an outage shorter than this is the one that was read before it."""
_WORTH_ANOTHER_TRY = (CardRefusal.UNREADABLE, CardRefusal.SPOILED_SESSION)


class PcscCardReader:
    """Reads cards at one PC/SC reader and reports them, losses and recoveries, in their order."""

    def __init__(
        self,
        reader_name: str | None,
        reading: CardReading,
        on_event: OnPcscReaderEvent,
        *,
        production: bool,
        open_service: Callable[[], SmartCardService] = PcscService,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            reader_name: part of its name as `pcsc_scan` shows it; None for the first there is.
            reading: `SchoolCards`, or `UidCards` where the configuration asks for the weak mode.
            on_event: told on a thread of the reader.
            production: refuse virtual readers.
            open_service: connects to the daemon.
        """
        self._reader_name = reader_name
        self._reading = reading
        self._on_event = on_event
        self._production = production
        self._open_service = open_service
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._workers: list[_Worker] = []
        self._loss: ReaderLossReason | None = None
        self._ready = False
        self._lost_at_s = 0.0
        self._last: PcscReaderEvent | None = None

    @property
    def ready(self) -> bool:
        """Whether cards are read now."""
        return self._ready

    @property
    def loss(self) -> ReaderLossReason | None:
        """Why not, once it has been reported."""
        return self._loss

    def start(self) -> None:
        """Begin to read; the first report is CardReaderRecovered or CardReaderLost, within a second.

        Raises:
            CardMisused: started before.
            SimulatedDeviceInProduction: a virtual reader was named in production.
        """
        if self._supervisor is not None:
            raise CardMisused("the card reader was started before")
        if self._production and self._reader_name is not None and _is_virtual(self._reader_name):
            raise SimulatedDeviceInProduction(self._reader_name)
        if isinstance(self._reading, UidCards):
            _log.warning("cards are known by their chip number alone: anyone can copy it")
        self._supervisor = threading.Thread(target=self._supervise, name="pcsc-supervisor", daemon=True)
        self._supervisor.start()

    def stop(self) -> None:
        """Stop reading; nothing is reported after it returns. A thread stuck in a driver is left to itself."""
        with self._lock:
            self._stopping.set()
            workers = list(self._workers)
        if self._supervisor is not None and self._supervisor is not threading.current_thread():
            self._supervisor.join(timeout=SUPERVISION_S + STUCK_S)
        for worker in workers:
            worker.thread.join(timeout=WAIT_S + RETRY_S)

    # What workers tell; each says who it is, and only the latest is heard.

    def still_wanted(self, worker: _Worker) -> bool:
        """Whether this worker is the one that reads."""
        return not self._stopping.is_set() and bool(self._workers) and self._workers[-1] is worker

    def choose(self, names: list[str]) -> str:
        """The reader to use.

        Raises:
            ReaderUnavailable: there is none; in production a virtual one is none.
        """
        usable = [name for name in names if not (self._production and _is_virtual(name))]
        return choose_reader(usable, self._reader_name)

    def note_ready(self, worker: _Worker) -> None:
        """The reader is there."""
        with self._lock:
            if self.still_wanted(worker) and not self._ready:
                if time.monotonic() - self._lost_at_s > GHOST_S:
                    self._last = None
                self._ready, self._loss = True, None
                _log.info("the card reader is ready")
                self._on_event(CardReaderRecovered())

    def note_loss(self, worker: _Worker, reason: ReaderLossReason) -> None:
        """The reader cannot be used; reported once, and again when the reason changes."""
        with self._lock:
            if not self.still_wanted(worker) or self._loss is reason:
                return
            if self._ready:
                self._lost_at_s = time.monotonic()
            self._ready, self._loss = False, reason
            _log.warning("the card reader is lost: %s", reason.value)
            self._on_event(CardReaderLost(reason))

    def note_card(self, worker: _Worker, answer: CardNumber | CardRefusal) -> None:
        """A card was read; the one that lay there before a short outage is not reported again."""
        event = CardPresented(answer) if isinstance(answer, CardNumber) else CardRefused(answer)
        with self._lock:
            if not self.still_wanted(worker) or not self._ready or event == self._last:
                return
            self._last = event
            if isinstance(answer, CardRefusal):
                _log.info("a card was refused: %s", answer.value)
            self._on_event(event)

    def note_removal(self, worker: _Worker) -> None:
        """The card is gone: the next one is a new one."""
        with self._lock:
            if self.still_wanted(worker):
                self._last = None

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                newest = self._workers[-1] if self._workers else None
                if newest is not None and (newest.idle_s() > STUCK_S or not newest.thread.is_alive()):
                    self.note_loss(newest, ReaderLossReason.STUCK)
                    newest = None
                self._workers = [one for one in self._workers if one.thread.is_alive()]
                if newest is None and len(self._workers) < WORKERS_MAX:
                    worker = _Worker(self, self._reading, self._open_service, self._stopping)
                    self._workers.append(worker)
                    worker.thread.start()
            self._stopping.wait(SUPERVISION_S)


class _Worker:
    """One connection to the daemon at a time, until it is no longer wanted."""

    def __init__(
        self,
        owner: PcscCardReader,
        reading: CardReading,
        open_service: Callable[[], SmartCardService],
        stopping: threading.Event,
    ) -> None:
        self._owner = owner
        self._reading = reading
        self._open_service = open_service
        self._stopping = stopping
        self._stirred_at_s = time.monotonic()
        self._torn_since_s: float | None = None
        self.thread = threading.Thread(target=self._run, name="pcsc-worker", daemon=True)

    def idle_s(self) -> float:
        """How long ago it last came back from a call."""
        return time.monotonic() - self._stirred_at_s

    def stir(self) -> None:
        """Say that the call before has returned."""
        self._stirred_at_s = time.monotonic()

    def _run(self) -> None:
        while self._owner.still_wanted(self):
            self.stir()
            try:
                with contextlib.closing(self._open_service()) as service:
                    self.stir()
                    self._watch(service, self._owner.choose(service.readers()))
            except ReaderUnavailable as lost:
                self._torn_since_s = None
                self._owner.note_loss(self, lost.reason)
                self._stopping.wait(RETRY_S)

    def _watch(self, service: SmartCardService, reader: str) -> None:
        """Read every card that comes, until the reader goes."""
        presence = service.wait(reader, UNAWARE, 0)
        read_at: int | None = None
        while self._owner.still_wanted(self):
            self.stir()
            self._owner.note_ready(self)
            if presence.card and (presence.changes != read_at or self._torn_since_s is not None):
                if read_at is not None:
                    self._owner.note_removal(self)
                read_at = presence.changes
                self._read(service, reader)
            elif not presence.card and read_at is not None:
                read_at = None
                self._owner.note_removal(self)
            self._give_up_torn()
            self.stir()
            presence = service.wait(reader, presence, WAIT_S if self._torn_since_s is None else TORN_RETRY_S)

    def _read(self, service: SmartCardService, reader: str) -> None:
        """Read the card that lies there, a second time where noise may have spoiled it."""
        answer = self._try(service, reader)
        if answer in _WORTH_ANOTHER_TRY:
            answer = self._try(service, reader)
        if answer is CardRefusal.TORN_AWAY:
            self._torn_since_s = self._torn_since_s or time.monotonic()
            return
        self._torn_since_s = None
        self._owner.note_card(self, answer)

    def _try(self, service: SmartCardService, reader: str) -> CardNumber | CardRefusal:
        try:
            with service.connect(reader) as channel:
                return self._reading.read(_StirringChannel(channel, self))
        except CardLost:
            return CardRefusal.TORN_AWAY

    def _give_up_torn(self) -> None:
        if self._torn_since_s is not None and time.monotonic() - self._torn_since_s > TORN_GRACE_S:
            self._torn_since_s = None
            self._owner.note_card(self, CardRefusal.TORN_AWAY)
            self._owner.note_removal(self)


class _StirringChannel:
    """Tells the supervisor about every exchange that came back."""

    def __init__(self, channel: CardChannel, worker: _Worker) -> None:
        self._channel = channel
        self._worker = worker

    def transmit(self, apdu: bytes) -> bytes:
        """Send one command and wait for its answer."""
        self._worker.stir()
        return self._channel.transmit(apdu)


def _is_virtual(name: str) -> bool:
    return any(virtual in name for virtual in VIRTUAL_READERS)
