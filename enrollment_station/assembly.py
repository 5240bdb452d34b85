"""Puts the station together from its configuration; the one place that opens its files."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta

from canteen.clock import Clock, SystemClock
from canteen.errors import CanteenError
from canteen.private_file import PrivateFileRefused
from enrollment_station.advice import AdviceList
from enrollment_station.audit_log import AuditLog
from enrollment_station.card_settings import CardMode, load_encoding_keys
from enrollment_station.cards import CardDesk
from enrollment_station.configuration import StationConfiguration
from enrollment_station.consents import ConsentDesk
from enrollment_station.dispatch import ReferenceDispatch
from enrollment_station.encoding import EncodingDesk, UidDesk
from enrollment_station.enrollment import EnrollmentDesk
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.operators import OperatorBook
from enrollment_station.orders import OrderApplier
from enrollment_station.platen_desk import PlatenDesk
from enrollment_station.recording import Recorder
from enrollment_station.station_reader import StationReader
from enrollment_station.work_list import WorkList
from firmware_bridge.card_keys import EncodingKeys
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.retention import Retention
from sync.signing import SigningKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.reserve import RESERVE_NAME, Reserve

JOURNAL_KEPT = timedelta(days=31)
"""The ledger keeps consents and receipts; a seal for a terminal, gone up long ago, must not outlive its pupil."""

_log = logging.getLogger("canteen.station")


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
    encoding: EncodingDesk | None
    """None unless cards are encoded here."""
    uid_cards: UidDesk | None
    """None unless chip numbers are taken for cards."""
    dispatch: ReferenceDispatch
    advice: AdviceList
    platen: PlatenDesk
    applier: OrderApplier

    def end_card_work(self, *, at_once: bool) -> None:
        """Nobody waits for a card any more; one that is being written is given up only `at_once`."""
        for desk in (self.encoding, self.uid_cards):
            if desk is not None:
                desk.reader.stop(at_once=at_once)

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
    encodes = configuration.cards.mode is CardMode.ENCODE
    card_keys = load_encoding_keys(configuration.cards, storage.kept_secrets) if encodes else None
    try:
        signing_key = SigningKey.load_or_create(storage.signing_key)
        opening_key = storage.opening_key()
        store = EncryptedStore(storage.store, storage.store_key)
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
    advice = AdviceList(store)
    measuring = threading.Lock()
    platen = PlatenDesk(configuration.calibration, measuring)
    enrollment = EnrollmentDesk(store, recorder, work, dispatch, advice, configuration.platen, platen, lock, measuring)
    cards = CardDesk(device, store, recorder, configuration.server_seal, lock)
    encoding, uid_cards = _card_desks(configuration, card_keys, cards, audit)
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
        cards=cards,
        encoding=encoding,
        uid_cards=uid_cards,
        dispatch=dispatch,
        advice=advice,
        platen=platen,
        applier=OrderApplier(
            device,
            box,
            store,
            recorder,
            dispatch,
            consents,
            advice,
            audit,
            configuration.server,
            lock,
            Retention(journal, store.certain_time, recorder.clock.monotonic_s, JOURNAL_KEPT),
            Reserve(storage.store.with_name(RESERVE_NAME)),
            opening_key,
        ),
    )


def _card_desks(
    configuration: StationConfiguration, keys: EncodingKeys | None, cards: CardDesk, audit: AuditLog
) -> tuple[EncodingDesk | None, UidDesk | None]:
    """Whatever the configuration asks for at the card reader."""
    settings = configuration.cards
    if settings.mode is CardMode.TYPED:
        return None, None
    reader = StationReader(settings.reader, production=configuration.production)
    if settings.layout is not None and keys is not None:
        return EncodingDesk(reader, keys, settings.layout, cards, audit), None
    _log.warning("cards are known by their chip number alone: anyone can copy it")
    return None, UidDesk(reader, cards, audit)
