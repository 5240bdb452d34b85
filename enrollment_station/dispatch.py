"""References on their way out: each sealed for one terminal, for all that the server's directory names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from canteen.identifiers import DeviceId, PupilId
from enrollment_station.errors import LeaseOver
from enrollment_station.recording import Recorder
from enrollment_station.work_list import WorkList
from sync.errors import SealBroken
from sync.facts import ReferenceEnrolled, ReferenceSealed
from sync.order_bodies import read_order, write_order
from sync.orders import DeviceEntry, DeviceRole, DevicesOrder
from sync.sealed_reference import ReferenceGrant, seal_reference
from sync.signing import SigningKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.store import ReferenceAbsence, StoredReference

DEVICES_DOCUMENT = "devices"
_BATCH = 50
"""Seals a commit: a new terminal of a large school must not make the page wait for all 2,000."""

_log = logging.getLogger("canteen.station.dispatch")


@dataclass(frozen=True, slots=True)
class ReferenceDispatch:
    """Seals references for terminals and journals them; the server passes on what it cannot open."""

    device: DeviceId
    store: EncryptedStore
    recorder: Recorder
    work: WorkList
    lock: threading.RLock
    signing_key: SigningKey = field(repr=False)

    def terminals(self) -> list[DeviceEntry]:
        """The terminals of the directory as it stands. Raises StoreUnavailable."""
        return [entry for entry in self._directory() if entry.role is DeviceRole.TERMINAL]

    def take_directory(self, order: DevicesOrder) -> None:
        """Keeps the new directory; a terminal that is new, or has a new key, is down for every reference."""
        known = {(entry.device, entry.sealing_key.octets) for entry in self.terminals()}
        fresh = {
            entry.device
            for entry in order.devices
            if entry.role is DeviceRole.TERMINAL and (entry.device, entry.sealing_key.octets) not in known
        }
        # First the work, then the directory: killed in between, the same terminals are found to be new once more.
        self.work.begin_terminals(fresh)
        self.store.put_document(DEVICES_DOCUMENT, write_order(order))

    def send_enrolled(self, stored: StoredReference) -> None:
        """Journals the enrolment and a sealed copy for every terminal, in one commit. Raises JournalUnavailable."""
        enrolled = ReferenceEnrolled(stored.pupil, stored.revision, stored.consent.notice_version)
        self.recorder.record(enrolled, *self._seals(stored, self.terminals()))

    def seal_again(self, terminal: DeviceId, pupils: Iterable[PupilId]) -> list[ReferenceSealed]:
        """What `terminal` lacks, of what may still be given out; nothing for one that is not, or no longer, ours.

        Raises:
            LeaseOver: no reference is given out before a fresh lease.
        """
        recipients = [entry for entry in self.terminals() if entry.device == terminal]
        seals: list[ReferenceSealed] = []
        for pupil in pupils if recipients else ():
            stored = self.store.reference(pupil, self.recorder.now())
            if stored is ReferenceAbsence.LEASE_EXPIRED:
                raise LeaseOver
            if isinstance(stored, StoredReference):
                seals += self._seals(stored, recipients)
        return seals

    def finish(self) -> None:
        """Does again what a kill, or a lease that had run out, left undone."""
        unfinished = self.work.read()
        for pupil in sorted(unfinished.enrolled):
            with self.lock:
                stored = self.store.reference(pupil, self.recorder.now())
                if isinstance(stored, StoredReference):
                    self.send_enrolled(stored)
                if stored is not ReferenceAbsence.LEASE_EXPIRED:
                    self.work.end_enrolled(pupil)
        if unfinished.terminals:
            self._send_everything_to(unfinished.terminals)

    def _send_everything_to(self, names: set[DeviceId]) -> None:
        recipients = [entry for entry in self.terminals() if entry.device in names]
        holders = iter([standing.record.pupil for standing in self.store.standings() if standing.revision])
        while batch := list(islice(holders, _BATCH)):
            with self.lock:
                if not self._send_batch(batch, recipients):
                    return
        self.work.end_terminals(names)
        _log.info("every reference sealed for %s", ", ".join(sorted(names)))

    def _send_batch(self, pupils: Iterable[PupilId], recipients: list[DeviceEntry]) -> bool:
        """Whether they could be sent; not while the lease is over, since then no reference is given out."""
        seals: list[ReferenceSealed] = []
        for pupil in pupils:
            stored = self.store.reference(pupil, self.recorder.now())
            if stored is ReferenceAbsence.LEASE_EXPIRED:
                return False
            if isinstance(stored, StoredReference):
                seals += self._seals(stored, recipients)
        if seals:
            self.recorder.record(*seals)
        return True

    def _seals(self, stored: StoredReference, recipients: Iterable[DeviceEntry]) -> list[ReferenceSealed]:
        now, lease_until = self.recorder.now(), self.store.lease_until
        if lease_until is not None and lease_until <= now:
            lease_until = None
        grant = ReferenceGrant(stored.pupil, stored.revision, now, stored.consent, stored.reference, lease_until)
        seals = []
        for entry in recipients:
            try:
                sealed = seal_reference(grant, self.device, entry.device, self.signing_key, entry.sealing_key)
            except SealBroken:
                _log.error("the key of %s in the directory cannot be used", entry.device)
                continue
            seals.append(ReferenceSealed(stored.pupil, entry.device, stored.revision, sealed))
        return seals

    def _directory(self) -> tuple[DeviceEntry, ...]:
        document = self.store.document(DEVICES_DOCUMENT)
        order = None if document is None else read_order(document)
        return order.devices if isinstance(order, DevicesOrder) else ()
