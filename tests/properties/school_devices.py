"""The devices of a school in one process, each with its real files, its agent, and the worst of lines."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path

from canteen.clock import ManualClock
from canteen.consent import ConsentState, GivenBy
from canteen.credentials import CardNumber
from canteen.identifiers import DeviceId, PupilId
from enrollment_station.assembly import Station, assemble
from enrollment_station.configuration import load_configuration
from enrollment_station.consents import ConsentForm
from hand_geometry.acquisition import Features, acquire, decode_image
from hand_geometry.held_hand import HeldHand
from hand_geometry.reference import Reference, make_reference
from hand_geometry.silhouette import Platen
from sync.agent import SyncAgent
from sync.errors import TransportLost
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey, SealingKey
from sync.signing import SigningKey
from sync.transport import StateHandler
from templates_store.encrypted_store import EncryptedStore
from tests.unit.enrollment_station.bench import placements, toml
from tests.unit.terminal.lane import OPENING_KEY, SERVER_KEY, STATION, School


class Line:
    """A transport that keeps what is sent until somebody delivers it, loses it, or delivers it again."""

    def __init__(self) -> None:
        self.connected = False
        self.up: list[tuple[str, bytes]] = []
        self.down: list[tuple[str, bytes]] = []
        self.seen: list[tuple[str, bytes]] = []
        """What has gone up once, and may do so again."""
        self.hear: Callable[[str, bytes], None] = lambda *_: None
        self.come: StateHandler = lambda: None
        self.go: StateHandler = lambda: None

    @property
    def unconfirmed(self) -> int:
        return 0

    def start(self) -> None:
        """It is cut and restored by the test."""

    def stop(self) -> None:
        """Nothing to stop."""

    def subscribe(self, pattern: str) -> None:
        """The test knows who hears what."""

    def publish(self, topic: str, payload: bytes) -> None:
        if not self.connected:
            raise TransportLost
        self.up.append((topic, payload))
        self.seen = [*self.seen[-30:], (topic, payload)]


class DeviceWorld(ABC):
    """A device: its folder, what runs on it, its agent and its line."""

    def __init__(self, folder: Path, name: DeviceId, clock: ManualClock) -> None:
        self.folder, self.name, self.clock = folder, name, clock
        self.line = Line()
        self.agent: SyncAgent | None = None
        self.old_card: Path | None = None
        self.put_back = False
        """An old storage card was put back: its later journal may contradict itself."""

    @property
    @abstractmethod
    def entry(self) -> DeviceEntry:
        """As the server has it in its directory."""

    @property
    @abstractmethod
    def journal(self) -> PassJournal: ...

    @property
    @abstractmethod
    def box(self) -> OrderBox: ...

    @property
    @abstractmethod
    def store(self) -> EncryptedStore: ...

    @abstractmethod
    def work(self) -> None:
        """What its own program does in a moment."""

    @abstractmethod
    def open(self) -> None:
        """Power on."""

    @abstractmethod
    def close(self) -> None:
        """Pull the plug: nothing is tidied up."""

    def start(self) -> None:
        """Power on, with an agent and a new line."""
        self.open()
        line = Line()
        line.seen, self.line = self.line.seen, line

        def make(on_message: Callable[[str, bytes], None], on_come: StateHandler, on_go: StateHandler) -> Line:
            line.hear, line.come, line.go = on_message, on_come, on_go
            return line

        self.agent = SyncAgent(self.journal, self.box, self.name, SERVER_KEY.verifying_key, make, self.clock)

    def connect(self, *, connected: bool) -> None:
        if self.line.connected is connected:
            return
        self.line.connected = connected
        if not connected:
            self.line.up.clear()
            self.line.down.clear()
        (self.line.come if connected else self.line.go)()

    def step(self) -> None:
        """What both programs do in a moment."""
        assert self.agent is not None
        self.agent._step()
        self.work()

    def hear(self, topic: str, payload: bytes) -> None:
        self.line.hear(topic, payload)

    def power_cut(self) -> None:
        self.close()
        self.start()

    def copy_card(self) -> None:
        self.close()
        self.old_card = self.folder.with_name(self.folder.name + "-old")
        shutil.rmtree(self.old_card, ignore_errors=True)
        shutil.copytree(self.folder, self.old_card)
        self.start()

    def put_old_card_back(self) -> None:
        assert self.old_card is not None
        self.close()
        shutil.rmtree(self.folder)
        shutil.copytree(self.old_card, self.folder)
        self.put_back = True
        self.start()


class LaneWorld(DeviceWorld):
    """A terminal."""

    def __init__(self, school: School) -> None:
        super().__init__(school.folder, school.device, school.clock)
        self.school = school
        self.close()
        self.start()

    @property
    def entry(self) -> DeviceEntry:
        return DeviceEntry(self.name, DeviceRole.TERMINAL, self.school.key.verifying_key, OPENING_KEY.sealing_key)

    @property
    def journal(self) -> PassJournal:
        return self.school.journal

    @property
    def box(self) -> OrderBox:
        return self.school.box

    @property
    def store(self) -> EncryptedStore:
        return self.school.store

    def work(self) -> None:
        self.school.settle(0.5)

    def open(self) -> None:
        self.school.open()
        self.school.begin()

    def close(self) -> None:
        self.school.close()
        self.school.hands.stop()
        self.school.board.unlocked = False


@cache
def _anyones_hand() -> Reference:
    """A reference; that it is everybody's does not matter here."""
    samples = []
    for image in placements(1):
        decoded = decode_image(image)
        assert decoded is not None
        measured = acquire(decoded, Platen.DARK)
        assert isinstance(measured, Features)
        samples.append(measured)
    made = make_reference(samples)
    assert isinstance(made, Reference)
    return made


class StationWorld(DeviceWorld):
    """The station: its desks, its store, and the orders that it carries out."""

    def __init__(self, folder: Path, clock: ManualClock, server_seal: SealingKey) -> None:
        super().__init__(folder, STATION, clock)
        (folder / "station.toml").write_text(toml(SERVER_KEY.verifying_key, server_seal))
        self.start()

    @property
    def entry(self) -> DeviceEntry:
        signing = SigningKey.load_or_create(self.folder / "signing.key")
        opening = OpeningKey.load_or_create(self.folder / "sealing.key")
        return DeviceEntry(self.name, DeviceRole.STATION, signing.verifying_key, opening.sealing_key)

    @property
    def journal(self) -> PassJournal:
        return self.station.journal

    @property
    def box(self) -> OrderBox:
        return self.station.box

    @property
    def store(self) -> EncryptedStore:
        return self.station.store

    def work(self) -> None:
        self.station.recorder.put_on_record()
        while self.station.applier.apply_next():
            pass
        self.station.applier.retention.keep()
        self.clock.advance(0.5)

    def open(self) -> None:
        self.station: Station = assemble(load_configuration(self.folder / "station.toml"), self.clock)
        self.station.applier.begin()

    def close(self) -> None:
        self.station.close()

    # The desks

    def give_card(self, pupil: PupilId, card: CardNumber) -> None:
        self.station.cards.give(pupil, card)

    def take_form(self, pupil: PupilId, state: ConsentState) -> bool:
        """A form, and with a consent the hand; False if the station does not know the pupil."""
        if self.store.pupil(pupil) is None:
            return False
        form = ConsentForm(state, "2026-1", GivenBy.LEGAL_REPRESENTATIVE)
        self.station.consents.take(pupil, form, "Mme Roux")
        if state is ConsentState.GIVEN:
            self.station.enrollment._keep(pupil, lambda _usual: HeldHand(_anyones_hand()))
        return True
