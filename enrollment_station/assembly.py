"""Puts the station together from its configuration; the one place that opens its files."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from canteen.clock import Clock, SystemClock
from canteen.errors import CanteenError
from canteen.private_file import PrivateFileRefused
from enrollment_station.audit_log import AuditLog
from enrollment_station.cards import CardDesk
from enrollment_station.configuration import StationConfiguration
from enrollment_station.consents import ConsentDesk
from enrollment_station.dispatch import ReferenceDispatch
from enrollment_station.enrollment import EnrollmentDesk
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.operators import OperatorBook
from enrollment_station.orders import OrderApplier
from enrollment_station.recording import Recorder
from enrollment_station.work_list import WorkList
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource


@dataclass(frozen=True, slots=True)
class Station:
    """Everything the routes and the order thread work with."""

    configuration: StationConfiguration
    store: EncryptedStore
    journal: PassJournal
    box: OrderBox
    recorder: Recorder
    audit: AuditLog
    operators: OperatorBook
    work: WorkList
    consents: ConsentDesk
    enrollment: EnrollmentDesk
    cards: CardDesk
    dispatch: ReferenceDispatch
    applier: OrderApplier

    def close(self) -> None:
        self.store.close()
        self.journal.close()
        self.box.close()
        self.audit.close()


def assemble(configuration: StationConfiguration, clock: Clock | None = None) -> Station:
    """Opens the station's files and makes its services; nothing runs yet.

    Raises:
        ConfigurationRefused: a file cannot be used; the message names it.
    """
    storage, device = configuration.storage, configuration.device
    try:
        signing_key = SigningKey.load_or_create(storage.signing_key)
        opening_key = OpeningKey.load_or_create(storage.sealing_key)
        store = EncryptedStore(storage.store, FileKeySource(storage.store_key))
        journal = PassJournal(storage.journal, device, signing_key)
        box = OrderBox(storage.orders)
        audit = AuditLog(storage.audit)
    except PrivateFileRefused as error:
        raise ConfigurationRefused(str(error)) from error
    except (CanteenError, OSError) as error:
        raise ConfigurationRefused(f"{type(error).__name__}: {error}") from error
    # Store and journal are two files: whoever changes both does so alone.
    lock = threading.RLock()
    recorder = Recorder(journal, store, box, clock or SystemClock())
    work = WorkList(store)
    consents = ConsentDesk(store, recorder, work, lock)
    dispatch = ReferenceDispatch(device, store, recorder, work, lock, signing_key)
    enrollment = EnrollmentDesk(store, recorder, work, dispatch, configuration.platen, lock, threading.Lock())
    return Station(
        configuration=configuration,
        store=store,
        journal=journal,
        box=box,
        recorder=recorder,
        audit=audit,
        operators=OperatorBook(storage.operators),
        work=work,
        consents=consents,
        enrollment=enrollment,
        cards=CardDesk(device, store, recorder, configuration.server_seal, lock),
        dispatch=dispatch,
        applier=OrderApplier(device, box, store, recorder, dispatch, consents, configuration.server, lock, opening_key),
    )
