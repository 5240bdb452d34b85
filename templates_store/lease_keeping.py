"""The lease kept in the store: renewed, counted on by running time, and, at its end, everything destroyed that it held.

The rules are those of `lease.py`; here they meet the disk. What is known is in memory, too, where it is asked at every
hand, and always on disk first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, select

from templates_store.documents import put_document, read_document
from templates_store.lease import Lease, LeaseStanding
from templates_store.lease_columns import read_lease, write_lease
from templates_store.models import DOCUMENTS, REFERENCES
from templates_store.purge import destroy_all_references
from templates_store.records import instant_text, read_instant
from templates_store.store import EndedLease
from templates_store.store_file import StoreFile

_log = logging.getLogger("canteen.store.lease")

_TEND_EVERY_S = 60.0
"""Running time is written down this often: a power cut costs its count a minute, a write a minute costs nothing."""

_SIGNED_EVERY = timedelta(minutes=1)
"""A roster's orders are signed in one breath: the next second opinion a minute later says as much."""

_ENDED_LEASE = "lease-ended"
"""The document in which `ended_lease` is kept until it has been told."""


running_time_s: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Seconds this machine has been on, asleep or not; no setting of the clock moves it."""


_NEVER = datetime.min.replace(tzinfo=UTC)
"""A store that was never given a lease has none."""


class LeaseKeeper:
    """What `TemplateStore` says of lease and time. Takes the file's lock itself, except in `may_compare`."""

    def __init__(self, file: StoreFile, running_s: Callable[[], float]) -> None:
        """Raises StoreUnavailable."""
        self._file, self.running_s = file, running_s
        self._counted_at_s = running_s()
        self._take(self._read())

    @property
    def lease(self) -> Lease:
        """Everything known of lease and time."""
        with self._file.lock:
            self._file.require_open()
            return self._lease

    def may_compare(self, now: datetime) -> bool:
        """Whether the lease holds, by the wall clock and by the time this machine has run; hold the file's lock."""
        return now < self.ends_at and self.running_s() < self.ends_at_s and not self._file.is_older_copy

    def renew(self, until: datetime) -> None:
        with self._file.lock:
            if self._lease.renewed(until) is not self._lease:
                self._file.forgive_rollback()
            self._count_on(lambda lease: lease.renewed(until))

    def note_signed_time(self, signed_time: datetime, now: datetime) -> None:
        with self._file.lock:
            known = self._lease.signed_time
            if known is None or self._lease.suspended or signed_time - known >= _SIGNED_EVERY:
                self._count_on(lambda lease: lease.signed(signed_time, now))

    def note_instant(self, instant: datetime) -> None:
        with self._file.lock:
            self._count_on(lambda lease: lease.noted(instant))

    def believed_time(self, now: datetime) -> datetime:
        with self._file.lock:
            return self._lease.believed(now, self._ran_s())

    def certain_time(self) -> datetime | None:
        """No later than the true time, whatever was done to the clock; None before the first signed word."""
        with self._file.lock:
            certain = self._lease.certain
            return None if certain is None else certain + timedelta(seconds=self._ran_s())

    def tend(self, now: datetime) -> LeaseStanding:
        with self._file.lock:
            ran_s = self._ran_s()
            lease = self._lease.tended(now, ran_s)
            if ran_s >= _TEND_EVERY_S or lease.suspended != self._lease.suspended:
                self._keep(lease, ran_s)
            # Once destroyed, whatever came since without a fresh lease goes, too.
            if lease.end is not None and (lease.destroyed_because is None or self._holds_references()):
                self._end(lease, now)
            return self._lease.standing(now)

    def ended_lease(self) -> EndedLease | None:
        with self._file.reading() as connection:
            content = read_document(connection, _ENDED_LEASE)
        if content is None:
            return None
        return EndedLease(**{**content, "destroyed_at": read_instant(content["destroyed_at"])})

    def note_ended_lease_told(self) -> None:
        with self._file.writing() as connection:
            connection.execute(delete(DOCUMENTS).where(DOCUMENTS.c.name == _ENDED_LEASE))

    # Inside

    def _read(self) -> Lease:
        with self._file.reading() as connection:
            return read_lease(connection)

    def _ran_s(self) -> float:
        """The running time that the facts do not hold yet."""
        return max(0.0, self.running_s() - self._counted_at_s)

    def _take(self, lease: Lease) -> None:
        self._lease = lease
        self.ends_at = _NEVER if lease.until is None else lease.until
        self.ends_at_s = self._counted_at_s + lease.lasts_s
        """By both clocks, for whoever asks at every hand; `may_compare` is the same question."""

    def _count_on(self, change: Callable[[Lease], Lease]) -> None:
        """Change the facts, with the running time up to now: what is said now is said at this running time.

        Also where nobody tends (a station, whose references are the originals): a fresh lease must last from now.
        """
        changed = change(self._lease)
        self._file.require_open()
        if changed is self._lease:
            return
        ran_s = self._ran_s()
        aged = self._lease
        if aged.certain is not None:
            aged = replace(aged, certain=aged.certain + timedelta(seconds=ran_s))
        if aged.suspended:
            aged = replace(aged, suspended_ran_s=aged.suspended_ran_s + ran_s)
        self._keep(change(aged), ran_s)

    def _keep(self, lease: Lease, ran_s: float) -> None:
        """On disk first, then in memory."""
        self._file.require_open()
        if lease != self._lease:
            with self._file.writing() as connection:
                write_lease(connection, lease)
        self._counted_at_s += ran_s
        self._take(lease)

    def _holds_references(self) -> bool:
        with self._file.reading() as connection:
            return connection.execute(select(REFERENCES.c.pupil).limit(1)).first() is not None

    def _end(self, lease: Lease, now: datetime) -> None:
        ended = lease.over()

        def destroy(connection: Connection) -> int:
            write_lease(connection, ended)
            epoch = self._file.epoch
            went = destroy_all_references(connection, epoch)
            if went:
                told = EndedLease(str(ended.destroyed_because), went, now, epoch.number, epoch.number + 1)
                put_document(connection, _ENDED_LEASE, {**asdict(told), "destroyed_at": instant_text(now)})
            return went

        try:
            went = self._file.new_epoch(destroy)
        finally:
            # The transaction may have been done where a later step was not.
            self._take(self._read())
        _log.warning("the lease is over (%s): %d references destroyed", ended.destroyed_because, went)
