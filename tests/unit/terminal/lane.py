"""A whole lane: working devices in memory that keep the ports' rules; a real journal, order box and store on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from canteen.access_decision import HandStatus, MissingEntitlement
from canteen.clock import ManualClock
from canteen.consent import Consent, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import forfait_5_days
from canteen.identifiers import DeviceId, PupilId
from canteen.personal_code import check_digit
from canteen.serving_periods import EVERY_DAY, ServingCalendar, ServingPeriod
from firmware_bridge.devices import (
    BoardPart,
    BoardRecovered,
    CardPresented,
    CommandOutcome,
    CorrectionPressed,
    DigitPressed,
    Identification,
    LinkQuality,
    LossReason,
    PassageAbandoned,
    PassageCompleted,
    Role,
    Signal,
)
from hand_geometry.acquisition import Features
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.silhouette import Platen
from sync.fact_bodies import read_fact
from sync.facts import Fact
from sync.messages import sign_order
from sync.order_box import OrderBox
from sync.orders import CalendarOrder, DeviceEntry, DeviceRole, DevicesOrder, Order, Roster, RosterPupil
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.reserve import Reserve
from templates_store.store import StoredReference
from terminal.assembly import Lane, LaneSettings, assemble_lane
from terminal.devices import Devices, HandAnswer, HandCapture, HandQuestion, LearntHand, PlatenLook, PlatenState
from terminal.display.view import ScreenView
from terminal.inbox import Inbox
from terminal.pass_machine import State

TERMINAL = DeviceId("terminal-1")
NEIGHBOUR = DeviceId("terminal-2")
STATION = DeviceId("station-1")
NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
"""Monday, 12:00 at the school."""
SERVER_KEY = SigningKey(bytes([1]) * 32)
STATION_KEY = SigningKey(bytes([2]) * 32)
TERMINAL_KEY = SigningKey(bytes([3]) * 32)
NEIGHBOUR_KEY = SigningKey(bytes([6]) * 32)
OPENING_KEY = OpeningKey(bytes([4]) * 32)
PASSAGE_S = 6.0
YEAR = (date(2026, 9, 1), date(2027, 7, 4))
CONSENT = Consent("2026-1", GivenBy.LEGAL_REPRESENTATIVE, datetime(2026, 9, 2, tzinfo=UTC))
CALENDAR = ServingCalendar("Europe/Paris", (ServingPeriod("midi", EVERY_DAY, 11 * 60 + 30, 13 * 60 + 45),))


def code(number: int) -> PersonalCode:
    """The four-digit code of a pupil's number."""
    prefix = f"{number:03d}"
    return PersonalCode(prefix + check_digit(prefix))


def pupil_id(number: int) -> PupilId:
    return PupilId(f"p-{number:016x}")


def card(number: int) -> CardNumber:
    return CardNumber(f"04{number:012X}")


def roster_pupil(number: int) -> RosterPupil:
    return RosterPupil(pupil_id(number), f"Prénom{number}", "", "6A", code(number), (forfait_5_days(*YEAR),))


def hand_of(number: int) -> Features:
    """A hand that is one pupil's: its number is its only measure."""
    return Features(np.array([float(number)]), ("number",), Platen.DARK, mirrored=False)


def reference_of(number: int) -> bytes:
    return b"hand" + number.to_bytes(4, "big")


class MemoryBoard:
    """A board with a turnstile that obeys: it opens once, and only when told."""

    def __init__(self) -> None:
        self.report: Callable[[object], None] = lambda _event: None
        self.unlocked = False
        self.answers = CommandOutcome.DONE
        self.unlocks = 0
        self.trays_asked = 0
        self.roles: tuple[Role, ...] = (Role.READER, Role.GATE)
        self.loss: LossReason | None = None
        self.identification = Identification("ca57ee", 7, 1, "00000065", "1.2.3", ((3, 1, 1),))
        self.shown: list[tuple[Signal, str]] = []
        self.before_unlock: Callable[[], None] = lambda: None
        self._online = False

    @property
    def online(self) -> bool:
        return self._online

    @online.setter
    def online(self, value: bool) -> None:
        self._online = value

    def start(self) -> None:
        self._online = True
        self.report(BoardRecovered())

    def stop(self) -> None:
        self._online = False

    def unlock(self, timeout_s: float, within_s: float = 1.0) -> CommandOutcome:
        assert timeout_s == PASSAGE_S
        assert within_s > 0
        self.before_unlock()
        if self.answers is CommandOutcome.DONE:
            self.unlocked = True
            self.unlocks += 1
        return self.answers

    def lock(self) -> CommandOutcome:
        if self.answers is CommandOutcome.DONE:
            self.unlocked = False
        return self.answers

    @property
    def parts(self) -> tuple[BoardPart, ...]:
        return (BoardPart(101, self.roles, self._online, self.loss, self.identification, LinkQuality(10, 1, 5.0)),)

    def give_tray(self) -> None:
        self.trays_asked += 1

    def show(self, signal: Signal, text: str) -> None:
        assert len(text) <= 32
        self.shown.append((signal, text))

    # The world's side

    def push(self) -> bool:
        """Somebody pushes the arm: whether it turned."""
        if not self.unlocked:
            return False
        self.unlocked = False
        self.report(PassageCompleted())
        return True

    def relock(self) -> None:
        """The board's own timer."""
        self.unlocked = False
        self.report(PassageAbandoned())

    def type(self, digits: str) -> None:
        for digit in digits:
            self.report(DigitPressed(digit))

    def correct(self) -> None:
        self.report(CorrectionPressed())

    def present(self, number: CardNumber) -> None:
        self.report(CardPresented(number))


class MemoryHandReader:
    """Sees what is laid, at once if it lies there already."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.laid: Features | QualityReason | None = None
        self.camera_works = True
        self.finding: Finding | None = None
        self.place: tuple[float, float] | None = None
        self.laid_anew = False
        self.mask: Mask | None = None
        self.masks: dict[bytes, Mask] = {}
        self.comparisons = 0
        self._waiting: tuple[int, Callable[[HandCapture], None]] | None = None

    def watch(
        self,
        watch: int,
        timeout_s: float,
        on_capture: Callable[[HandCapture], None],
        *,
        laid_anew: bool,
        mask: Mask | None = None,
    ) -> None:
        assert timeout_s > 0
        self.laid_anew, self.mask = laid_anew, mask
        self._waiting = (watch, on_capture)
        self._look()

    def stop(self) -> None:
        self._waiting = None

    def compare(self, question: HandQuestion) -> HandAnswer:
        self.comparisons += 1
        same = question.reference.reference == reference_of(int(question.features.values[0]))
        return HandAnswer(HandStatus.MATCHED if same else HandStatus.NOT_MATCHED)

    def is_compared(self, reference: StoredReference, today: date) -> bool:
        return bool(reference.reference) and today.year > 2000

    def mask_of(self, reference: StoredReference, today: date) -> Mask:
        assert today.year > 2000
        return self.masks.get(reference.reference, NO_MASK)

    def awaits_enrollment(self, reference: StoredReference, memory: bytes | None) -> bool:
        return not reference.reference and memory is not None

    def carried_over(self, held: StoredReference, memory: bytes, coming: bytes) -> LearntHand | None:
        return LearntHand(coming, memory) if held.reference == coming else None

    def warm_up(self) -> None:
        """Is always warm."""

    def look_at_platen(self) -> PlatenLook:
        return PlatenLook(PlatenState.EMPTY if self.camera_works else PlatenState.NO_PICTURE)

    def close(self) -> None:
        self.stop()

    def lay(self, hand: Features | QualityReason) -> None:
        self.laid = hand
        self._look()

    def lift(self) -> None:
        self.laid = None

    def _look(self) -> None:
        if self._waiting is None or self.laid is None:
            return
        (watch, on_capture), self._waiting = self._waiting, None
        now_s = self._clock.monotonic_s()
        if isinstance(self.laid, QualityReason):
            on_capture(HandCapture(watch, now_s, failure=self.laid, finding=self.finding, place=self.place))
        else:
            on_capture(HandCapture(watch, now_s, features=self.laid))


class MemoryScreen:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.views: list[ScreenView] = []

    def show(self, view: ScreenView) -> None:
        self.views.append(view)

    def close(self) -> None:
        """Nothing to let go of."""

    @property
    def view(self) -> ScreenView:
        return self.views[-1]


@dataclass
class School:
    """One lane with its world, and the server's pen."""

    folder: Path
    start: datetime = NOON
    device: DeviceId = TERMINAL
    key: SigningKey = TERMINAL_KEY
    reserve: Reserve | None = None
    checkups: bool = False
    """Whether the lane examines itself, on a thread of its own."""
    clock: ManualClock = field(init=False)
    board: MemoryBoard = field(init=False)
    hands: MemoryHandReader = field(init=False)
    screen: MemoryScreen = field(init=False)
    journal: PassJournal = field(init=False)
    box: OrderBox = field(init=False)
    store: EncryptedStore = field(init=False)
    lane: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.clock = ManualClock(self.start)
        self.board, self.screen = MemoryBoard(), MemoryScreen()
        self.hands = MemoryHandReader(self.clock)
        self.open()

    def open(self) -> None:
        """Start the terminal, as after a power cut."""
        self.journal = PassJournal(self.folder / "journal.sqlite", self.device, self.key)
        self.box = OrderBox(self.folder / "orders.sqlite")
        self.store = EncryptedStore(self.folder / "store.sqlite", FileKeySource(self.folder / "store.key"))
        inbox = Inbox(self.clock.monotonic_s)
        self.board.report = inbox.on_board_event  # type: ignore[assignment]  # the world reports only board events
        devices = Devices(
            self.device, self.clock, self.board, self.hands, self.screen, self.journal, self.box, self.store
        )
        settings = LaneSettings("fr", PASSAGE_S, SERVER_KEY.verifying_key, OPENING_KEY, (self.folder,), self.reserve)
        self.lane = assemble_lane(devices, inbox, settings)
        if not self.checkups:
            self.lane.runner._check_when_due = lambda: None

    def close(self) -> None:
        """Pull the plug: nothing is tidied up."""
        self.lane.checkup.wait(5)
        self.journal.close()
        self.box.close()
        self.store.close()
        self.board.stop()

    def begin(self) -> School:
        """Board on, lane idle."""
        self.board.start()
        self.settle()
        return self

    def settle(self, seconds: float = 0.0) -> None:
        """Let time pass in small steps and let the runner do all there is to do."""
        left_s = seconds
        while True:
            while self.lane.runner.turn(may_wait=False):
                pass
            if left_s <= 0:
                return
            step_s = min(0.25, left_s)
            self.clock.advance(step_s)
            left_s -= step_s

    @property
    def state(self) -> State:
        return self.lane.runner.state

    def is_in(self, state: State) -> bool:
        return self.lane.runner.state is state

    def type_code(self, number: int) -> None:
        self.board.type(code(number).digits)
        self.settle()

    def lay(self, hand: Features | QualityReason) -> None:
        self.hands.lay(hand)
        self.settle()

    def present(self, number: CardNumber) -> None:
        self.board.present(number)
        self.settle()

    def push(self) -> bool:
        turned = self.board.push()
        self.settle()
        return turned

    def order(self, order: Order) -> int:
        """The server's next order, as sync leaves it in the box."""
        number = self.box.received_up_to + 1
        issued_at = self.clock.utc_now()
        signed = sign_order(order, self.device, number, issued_at, OPENING_KEY.sealing_key, SERVER_KEY)
        self.box.put([signed])
        return number

    def enroll(self, number: int) -> None:
        """Put a pupil's hand straight into the store."""
        self.store.put_reference(pupil_id(number), 1, CONSENT, reference_of(number))

    @property
    def facts(self) -> list[Fact]:
        """The whole journal."""
        return [read_fact(entry.kind, entry.body) for entry in self.journal.entries_after(0, 10_000)]

    def facts_of(self, *kinds: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kinds)]


def devices_order() -> DevicesOrder:
    return DevicesOrder(
        (
            DeviceEntry(TERMINAL, DeviceRole.TERMINAL, TERMINAL_KEY.verifying_key, OPENING_KEY.sealing_key),
            DeviceEntry(NEIGHBOUR, DeviceRole.TERMINAL, NEIGHBOUR_KEY.verifying_key, OPENING_KEY.sealing_key),
            DeviceEntry(STATION, DeviceRole.STATION, STATION_KEY.verifying_key, OpeningKey(b"5" * 32).sealing_key),
        )
    )


def calendar_order(missing: MissingEntitlement = MissingEntitlement.DENY) -> CalendarOrder:
    return CalendarOrder("Collège Test", CALENDAR, missing)


def filled_school(
    folder: Path, pupils: int = 3, start: datetime = NOON, device: DeviceId = TERMINAL, key: SigningKey = TERMINAL_KEY
) -> School:
    """Pupils 1 to `pupils`: each with a code, a forfait and a card; number 1 has a hand under a lease of a week."""
    school = School(folder, start, device, key)
    school.order(calendar_order())
    school.order(devices_order())
    school.order(Roster(tuple(roster_pupil(number) for number in range(1, pupils + 1)), whole=True))
    while school.lane.desk.apply_next():
        pass
    for number in range(1, pupils + 1):
        school.store.put_card(card(number), pupil_id(number))
    school.enroll(1)
    school.store.renew_lease(start + timedelta(days=7))
    return school
