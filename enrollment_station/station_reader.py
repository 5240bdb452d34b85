"""The card reader of the station: one operator at a time, every wait bounded, off the event loop.

A call into a reader's driver may never return. So each piece of work has a thread of its own; when its time is over the
page gets an answer, the thread may not say another word to the card, and what it brings is thrown away.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from canteen.errors import CanteenError
from canteen.identifiers import PupilId
from enrollment_station.errors import CardWorkFailed, StationError
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import ReaderLossReason
from firmware_bridge.errors import CardLost, ReaderUnavailable
from firmware_bridge.pcsc_service import VIRTUAL_READERS, PcscService, Presence, SmartCardService, card_on_reader

WAITING = "waiting"
"""The stage before a card lies there; the others are an `EncodingStep`'s value, then `ISSUING`."""
ISSUING = "issuing"
_AGAIN_S = 0.1
"""A card that lies there but does not wake up is asked again."""
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class ReaderTimes:
    """How long a page waits.

    Attributes:
        card_s: for a card to be put down: long enough to take one from its box.
        work_s: for everything after that: a card takes 1 to 2 s, an answer that has not come by then will not.
    """

    card_s: float = 20.0
    work_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ReaderBusy:
    """Another operator's card is on the reader."""

    operator: str


@dataclass(frozen=True, slots=True)
class NoCard:
    """Nobody put a card there in time, or none lay still."""


@dataclass(frozen=True, slots=True)
class WaitCancelled:
    """The operator no longer wants to put a card there."""


@dataclass(frozen=True, slots=True)
class ReaderLost:
    """There is no reader that answers."""

    reason: ReaderLossReason


NotServed = ReaderBusy | NoCard | WaitCancelled | ReaderLost
"""Why nothing was done with a card."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the work for a pupil is."""

    stage: str
    operator: str


class _Cancelled(StationError):
    """Ends a wait; never leaves this module."""


@dataclass(slots=True)
class _Job(Generic[_T]):
    operator: str
    pupil: PupilId
    stage: str = WAITING
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    outcome: _T | NotServed | None = None
    error: CanteenError | None = None

    def at(self, stage: str) -> None:
        self.stage = stage


class StationReader:
    """The reader that the configuration names."""

    def __init__(
        self,
        name: str | None,
        *,
        production: bool,
        times: ReaderTimes | None = None,
        open_service: Callable[[], SmartCardService] = PcscService,
    ) -> None:
        """Prepare; the daemon is asked afresh each time, so it may come and go.

        Args:
            name: part of the reader's name; None for the first one.
            production: pass over virtual readers.
            times: how long a page waits.
            open_service: connects to the daemon.
        """
        self._name = name
        self._production = production
        self._times = times or ReaderTimes()
        self._open_service = open_service
        self._lock = threading.Lock()
        self._current: _Job[object] | None = None

    @property
    def card_s(self) -> float:
        """How long a card is waited for."""
        return self._times.card_s

    def run(
        self,
        operator: str,
        pupil: PupilId,
        work: Callable[[CardChannel, Callable[[str], None]], _T],
        settle: Callable[[_T], _R],
        again: Callable[[_T], bool] = lambda _: False,
    ) -> _R | NotServed:
        """Do `work` with the next card, then `settle` what it brought while the reader is still ours.

        Args:
            operator: who asks, and is named to whoever comes second.
            pupil: whose card it is about.
            work: runs on a thread of its own; is told where to say how far it is.
            settle: runs on the caller's thread, and not at all once the time is over: a late card leaves no fact.
            again: whether what `work` brought only means that the card did not lie still yet; it is waited for anew.

        Raises:
            CanteenError: whatever of ours `work` or `settle` raised.
        """
        job: _Job[object] = _Job(operator, pupil)
        with self._lock:
            if self._current is not None:
                stuck = self._current.abandoned
                return ReaderLost(ReaderLossReason.STUCK) if stuck else ReaderBusy(self._current.operator)
            self._current = job
        outcome: list[_T] = []

        def note(channel: CardChannel) -> bool:
            brought = work(channel, job.at)
            if again(brought):
                return False
            outcome.append(brought)
            return True

        threading.Thread(target=self._serve, args=(job, note), name="station-card", daemon=True).start()
        if not job.done.wait(self._times.card_s + self._times.work_s) and self._abandon(job):
            return ReaderLost(ReaderLossReason.STUCK)
        try:
            if job.abandoned:
                return WaitCancelled()
            if job.error is not None:
                raise job.error
            if isinstance(job.outcome, NotServed):
                return job.outcome
            if not outcome:
                raise CardWorkFailed("the work with the card broke off")
            job.at(ISSUING)
            return settle(outcome[0])
        finally:
            with self._lock:
                self._current = None

    def progress(self, pupil: PupilId) -> Progress | None:
        """Where the work for this pupil is; None when there is none."""
        with self._lock:
            job = self._current
            return None if job is None or job.pupil != pupil else Progress(job.stage, job.operator)

    def cancel(self, operator: str, pupil: PupilId) -> None:
        """Wait no longer for the operator's card. One that is being written is finished."""
        with self._lock:
            job = self._current
            if job is not None and (job.operator, job.pupil) == (operator, pupil):
                job.cancelled.set()

    def stop(self, *, at_once: bool) -> None:
        """The station ends: nobody waits for a card any more; one that is being written is given up only `at_once`."""
        with self._lock:
            job = self._current
            if job is not None and not job.done.is_set():
                job.cancelled.set()
                if at_once:
                    job.abandoned = True
                    job.done.set()

    def _abandon(self, job: _Job[object]) -> bool:
        """Whether the job is over by time; False if it came to its end just now."""
        with self._lock:
            job.abandoned = not job.done.is_set()
            return job.abandoned

    def _serve(self, job: _Job[object], note: Callable[[CardChannel], bool]) -> None:
        try:
            job.outcome = self._until_card(job, note)
        except _Cancelled:
            job.outcome = WaitCancelled()
        except ReaderUnavailable as lost:
            job.outcome = ReaderLost(lost.reason)
        except CanteenError as error:
            job.error = error
        finally:
            with self._lock:
                job.done.set()
                if job.abandoned:
                    self._current = None

    def _until_card(self, job: _Job[object], note: Callable[[CardChannel], bool]) -> NoCard | None:
        end_s = time.monotonic() + self._times.card_s
        while True:
            try:
                with card_on_reader(self._name, end_s - time.monotonic(), lambda: self._watched(job)) as channel:
                    if note(channel):
                        return None
            except CardLost:
                pass  # nobody put one down, or it did not wake up
            if time.monotonic() >= end_s:
                return NoCard()
            job.at(WAITING)
            job.cancelled.wait(_AGAIN_S)

    def _watched(self, job: _Job[object]) -> SmartCardService:
        return _WatchedService(self._open_service(), job, production=self._production)


class _WatchedService:
    """The daemon, for as long as somebody waits for what it brings."""

    def __init__(self, service: SmartCardService, job: _Job[object], *, production: bool) -> None:
        self._service, self._job, self._production = service, job, production

    def readers(self) -> list[str]:
        names = self._service.readers()
        return [name for name in names if not (self._production and any(twin in name for twin in VIRTUAL_READERS))]

    def wait(self, reader: str, known: Presence, timeout_s: float) -> Presence:
        if self._job.cancelled.is_set() or self._job.abandoned:
            raise _Cancelled
        return self._service.wait(reader, known, timeout_s)

    @contextlib.contextmanager
    def connect(self, reader: str) -> Iterator[CardChannel]:
        with self._service.connect(reader) as channel:
            yield _WatchedChannel(channel, self._job)

    def close(self) -> None:
        self._service.close()


class _WatchedChannel:
    def __init__(self, channel: CardChannel, job: _Job[object]) -> None:
        self._channel, self._job = channel, job

    def transmit(self, apdu: bytes) -> bytes:
        if self._job.abandoned:
            raise CardLost("nobody waits for this card any more")
        return self._channel.transmit(apdu)
