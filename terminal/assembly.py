"""Puts a terminal together from its configuration. The only place that chooses between real and simulated devices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from canteen.clock import Clock, SystemClock
from canteen.private_file import PrivateFileRefused
from firmware_bridge.card_reading import CardReading, SchoolCards, UidCards
from firmware_bridge.control_panel import ControlPanelBoard
from firmware_bridge.errors import CardKeysRefused
from hand_geometry.capture_device import CaptureDevice
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from sync.retention import PASSES_KEPT, Retention
from sync.sealing import OpeningKey
from sync.signing import SigningKey, VerifyingKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.reserve import RESERVE_NAME, Reserve
from terminal.actions import Actions
from terminal.answer_clock import AnswerClock
from terminal.card_settings import PcscReaderSource
from terminal.checkup import Checkup
from terminal.configuration import CameraSource, Configuration, RecordedCameraSource, SimulatedCameraSource
from terminal.devices import CardReaderDevice, Devices
from terminal.display.doctor import DoctorPage
from terminal.display.server import ScreenServer
from terminal.display.staff import StaffDoor, StaffPages
from terminal.enrollment_advice import to_enroll_anew
from terminal.errors import ConfigurationRefused
from terminal.health import HealthSources, examine
from terminal.identification import Identification
from terminal.inbox import Inbox
from terminal.kept_keys import KeptKeys
from terminal.neighbours import AT_START_S, Neighbours
from terminal.orders import OrderDesk
from terminal.pass_machine import Event
from terminal.pass_records import PassRecords
from terminal.prepaid import Prepaid
from terminal.presenter import Presenter
from terminal.recovery import recover
from terminal.runner import Runner
from terminal.served import Served
from terminal.service_manager import ServiceManager
from terminal.vouching import VouchDesk

_log = logging.getLogger("canteen.terminal.assembly")


CHECKUP_ENDS_S = 3.0
_LATE_WITHIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Lane:
    """A terminal's working parts, wired to one set of devices."""

    devices: Devices
    inbox: Inbox
    runner: Runner
    desk: OrderDesk
    presenter: Presenter
    identification: Identification
    vouch_desk: VouchDesk
    checkup: Checkup
    answers: AnswerClock

    def start(self) -> None:
        """Board and card reader begin to report; the hand reader gets ready while the board shakes hands."""
        self.devices.board.start()
        if self.devices.card_reader is not None:
            self.devices.card_reader.start()
        self.devices.hand_reader.warm_up()
        self.answers.watch(self.presenter.ask_for_patience)


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the school chooses, and the two keys that orders are opened with."""

    language: str
    passage_timeout_s: float
    server_key: VerifyingKey
    opening_key: OpeningKey
    folders: tuple[Path, ...] = ()
    """Where the files lie, whose disk the checks look at."""
    reserve: Reserve | None = None
    kept_keys: KeptKeys | None = None
    passes_kept: timedelta = PASSES_KEPT


def assemble_lane(devices: Devices, inbox: Inbox, settings: LaneSettings, *, settle: bool = True) -> Lane:
    """Wire machine, actions and orders to `devices`, and, with `settle`, settle what a power cut left."""
    served = Served()
    prepaid = Prepaid(devices.device, devices.store, devices.journal)
    reserve = settings.reserve
    answers = AnswerClock(devices.clock.monotonic_s)
    records = PassRecords(devices.journal, devices.box, devices.store, devices.clock, served, prepaid, answers, reserve)
    if reserve is not None:
        reserve.keep()
    identification = Identification(devices.store, served, prepaid, devices.hand_reader.is_compared)
    presenter = Presenter(
        devices,
        inbox,
        records,
        identification,
        answers,
        language=settings.language,
        passage_timeout_s=settings.passage_timeout_s,
    )
    vouch_desk = VouchDesk(lambda vouching: inbox.post(Event.VOUCHED, vouching), devices.journal, devices.clock)
    actions = Actions(
        devices,
        inbox,
        records,
        identification,
        presenter,
        vouch_desk,
        answers,
        passage_timeout_s=settings.passage_timeout_s,
    )
    neighbours = Neighbours(devices.device, devices.box, devices.store, served, prepaid, devices.clock)
    desk = OrderDesk(
        devices.device,
        devices.box,
        devices.store,
        records,
        devices.clock,
        settings.server_key,
        settings.opening_key,
        identification.calendar_changed,
        neighbours.devices_changed,
        prepaid,
        neighbours.listen_again,
        devices.hand_reader.carried_over,
    )
    if settle:
        recover(devices.journal, devices.store, records, served, prepaid, desk, devices.clock)
        neighbours.listen(for_s=AT_START_S)
    retention = Retention(devices.journal, devices.store.certain_time, devices.clock.monotonic_s, settings.passes_kept)
    checkup = Checkup(
        lambda: examine(
            HealthSources(devices, inbox, records, identification, settings.folders, reserve, settings.kept_keys)
        ),
        identification,
        devices.clock,
        lambda fact: records.write([fact]),
    )
    runner = Runner(
        devices,
        inbox,
        actions,
        presenter,
        lambda: _write_and_apply(records, desk),
        neighbours.listen,
        checkup.run_when_due,
        lambda: _keep_disk(reserve, retention),
        ServiceManager(devices.clock.monotonic_s),
        answers,
        passage_timeout_s=settings.passage_timeout_s,
    )
    presenter.checkup = checkup
    presenter.refresh()  # the first picture: being prepared
    return Lane(devices, inbox, runner, desk, presenter, identification, vouch_desk, checkup, answers)


def _write_and_apply(records: PassRecords, desk: OrderDesk) -> bool:
    """While nobody stands there: what the journal did not take in time, then orders."""
    records.write_late(_LATE_WITHIN_S)
    return desk.apply_waiting()


def _keep_disk(reserve: Reserve | None, retention: Retention) -> None:
    if reserve is not None:
        reserve.keep()
    retention.keep()


def assemble(
    configuration: Configuration, closing: ExitStack, clock: Clock | None = None, *, settle: bool = True
) -> Lane:
    """A terminal from its configuration; `closing` lets go of everything in the reverse order.

    Raises:
        CanteenError: a key file is open to others, the store does not open, the port is taken, a twin in production…
    """
    clock = clock or SystemClock()
    inbox = Inbox(clock.monotonic_s)
    # The screen first: whatever takes long or fails after it, the lane is not black.
    staff, doctor = StaffPages(configuration.staff), DoctorPage()
    screen = ScreenServer(
        configuration.display_host,
        configuration.display_port,
        production=configuration.production,
        more=[*staff.routes, *doctor.routes],
    )
    closing.callback(screen.close)
    journal = PassJournal(
        configuration.journal, configuration.device, SigningKey.load_or_create(configuration.signing_key)
    )
    closing.callback(journal.close)
    box = OrderBox(configuration.orders)
    closing.callback(box.close)
    store = EncryptedStore(configuration.store, configuration.store_key)
    closing.callback(store.close)
    keys = KeptKeys.of(configuration)
    board = ControlPanelBoard(
        configuration.board.serial,
        keys.places(),
        inbox.on_board_event,
        production=configuration.production,
        baud=configuration.board.baud,
    )
    closing.callback(board.stop)
    from hand_geometry.kept_calibration import load_calibration  # loads OpenCV
    from terminal.verification import HandVerification

    calibration = load_calibration(configuration.calibration)
    hand_reader = HandVerification(
        open_camera(configuration.camera, clock.monotonic_s, production=configuration.production),
        clock.monotonic_s,
        calibration,
        calibration_lost=calibration is None and configuration.calibration.exists(),
    )
    closing.callback(hand_reader.close)
    cards = _card_reader(configuration, keys, inbox)
    if cards is not None:
        closing.callback(cards.stop)
    devices = Devices(
        configuration.device,
        clock,
        board,
        hand_reader,
        screen,
        journal,
        box,
        store,
        cards,
        configuration.card_reader is not None and configuration.card_reader.knows_chips_only,
    )
    settings = LaneSettings(
        configuration.language,
        configuration.passage_timeout_s,
        configuration.server_signing_key,
        configuration.opening_key(),
        tuple(sorted({path.parent for path in (configuration.journal, configuration.orders, configuration.store)})),
        Reserve(configuration.store.with_name(RESERVE_NAME)),
        keys,
        configuration.passes_kept,
    )
    lane = assemble_lane(devices, inbox, settings, settle=settle)
    staff.open(
        StaffDoor(
            lane.vouch_desk,
            store,
            lambda: lane.identification.calendar.calendar.timezone,
            lane.checkup,
            box,
            lambda: to_enroll_anew(store, hand_reader, clock),
        )
    )
    doctor.open(lane.checkup)
    closing.callback(lane.answers.stop)
    closing.callback(lane.checkup.wait, CHECKUP_ENDS_S)  # before what it looks at is closed
    return lane


def _card_reader(configuration: Configuration, keys: KeptKeys, inbox: Inbox) -> CardReaderDevice | None:
    """The reader beside the board, where there is one."""
    source = configuration.card_reader
    if source is None:
        return None
    from firmware_bridge.pcsc_reader import PcscCardReader  # loads PC/SC's library

    return PcscCardReader(
        source.reader, card_reading(source, keys), inbox.on_card_reader_event, production=configuration.production
    )


def card_reading(source: PcscReaderSource, keys: KeptKeys) -> CardReading:
    """How the cards are read.

    Raises:
        ConfigurationRefused: the key file is missing, open to others, or no key.
    """
    if source.layout is None or source.reading_key is None:
        return UidCards()
    try:
        return SchoolCards(keys.reading_keys(source.reading_key), source.layout)
    except (PrivateFileRefused, CardKeysRefused) as error:
        raise ConfigurationRefused(f"[card_reader] reading_key: {error}") from error


def open_camera(source: CameraSource, monotonic: Callable[[], float], *, production: bool) -> CaptureDevice:
    """The camera, or one of its twins; the twins refuse production themselves."""
    if isinstance(source, SimulatedCameraSource):
        from hand_geometry.simulated_camera import SimulatedCamera

        return SimulatedCamera(source.path, production=production, monotonic=monotonic)
    if isinstance(source, RecordedCameraSource):
        from hand_geometry.recorded_camera import RecordedCamera

        return RecordedCamera(source.path, production=production, monotonic=monotonic)
    from hand_geometry.camera import Camera
    from terminal.verification import LateCamera

    return LateCamera(lambda: Camera(source.device, monotonic=monotonic), monotonic)
