"""A school in one process: the real server, two real lanes with their agents, a station, and the worst of lines."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from billing_server.models import Alarm, PupilRow
from billing_server.roster import Identity, NewPupil
from canteen.consent import Consent, ConsentState, GivenBy
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.identifiers import PupilId
from canteen.private_file import create_private_file
from canteen.serving_periods import EVERY_DAY
from sync.agent import SyncAgent
from sync.errors import TransportLost
from sync.facts import ConsentRecorded, OrderApplied, OrdersHeld, ReferenceEnrolled, ReferenceSealed
from sync.greeting import read_greeting
from sync.messages import SignedOrder, topic_down
from sync.orders import DeviceEntry, DeviceRole, PurgeOrder
from sync.sealed_reference import ReferenceGrant, seal_reference
from sync.signing import SigningKey
from sync.transport import StateHandler
from terminal.pass_machine import State
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, receipt_for
from tests.unit.terminal.lane import (
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    NOON,
    OPENING_KEY,
    SERVER_KEY,
    TERMINAL,
    TERMINAL_KEY,
    YEAR,
    School,
)

PUPILS = 5
EXTERNAL = 4
"""The last pupil pays meal by meal."""
MEAL_CENTS = 420


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


@dataclass
class LaneWorld:
    """A terminal: its lane, its files, its agent and its line."""

    school: School
    line: Line = field(default_factory=Line)
    agent: SyncAgent | None = None
    old_card: Path | None = None
    put_back: bool = False
    """An old storage card was put back: its later journal may contradict itself."""

    def start_agent(self) -> None:
        line = Line()
        line.seen, self.line = self.line.seen, line

        def make(on_message: Callable[[str, bytes], None], on_come: StateHandler, on_go: StateHandler) -> Line:
            line.hear, line.come, line.go = on_message, on_come, on_go
            return line

        self.agent = SyncAgent(
            self.school.journal,
            self.school.box,
            self.school.device,
            SERVER_KEY.verifying_key,
            make,
            self.school.clock,
        )

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
        self.school.settle(0.5)

    def hear(self, topic: str, payload: bytes) -> None:
        self.line.hear(topic, payload)

    def power_cut(self) -> None:
        self.school.close()
        self.school.hands.stop()
        self.school.board.unlocked = False
        self.school.open()
        self.school.begin()
        self.start_agent()

    def copy_card(self) -> None:
        self.school.close()
        self.school.hands.stop()
        self.school.board.unlocked = False
        self.old_card = self.school.folder.with_name(self.school.folder.name + "-old")
        shutil.rmtree(self.old_card, ignore_errors=True)
        shutil.copytree(self.school.folder, self.old_card)
        self.school.open()
        self.school.begin()
        self.start_agent()

    def put_old_card_back(self) -> None:
        assert self.old_card is not None
        self.school.close()
        self.school.hands.stop()
        self.school.board.unlocked = False
        shutil.rmtree(self.school.folder)
        shutil.copytree(self.old_card, self.school.folder)
        self.put_back = True
        self.school.open()
        self.school.begin()
        self.start_agent()


class WholeSchool:
    """Everything, and the hands that turn it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        server = folder / "server"
        server.mkdir()
        create_private_file(server / "signing", SERVER_KEY.octets)
        self.server = LedgerBench(server, database_url)
        self.lanes = [self._lane(folder, TERMINAL, TERMINAL_KEY), self._lane(folder, NEIGHBOUR, NEIGHBOUR_KEY)]
        self.station: SignedDevice = self.server.device("station-1", DeviceRole.STATION)
        self._station_newest: SignedOrder | None = None
        self.backup: Path | None = None
        self.restored = False
        year = [
            Entitlement(kind, EVERY_DAY, *YEAR)
            for kind in (EntitlementKind.FORFAIT_5_DAYS, EntitlementKind.EXTERNAL_MEAL)
        ]
        new = [NewPupil(Identity(f"Prénom{n}", "Nom", "6A"), (year[n == EXTERNAL],)) for n in range(PUPILS)]
        with self.server.services.database.writing() as session:
            self.pupils = [pupil for pupil, _ in self.server.services.pupils.add(session, new)]
            self.server.services.accounts.credit(session, self.pupils[EXTERNAL], 5 * MEAL_CENTS, "Mme Roux")
        self.cards = {pupil: self.server.card_issued(self.station, pupil) for pupil in self.pupils}
        for pupil in self.pupils[:3]:
            self.consent(pupil, ConsentState.GIVEN)
        self.all_well()

    def _lane(self, folder: Path, name: str, key: SigningKey) -> LaneWorld:
        home = folder / name
        home.mkdir()
        school = School(home, NOON, TERMINAL if name == TERMINAL else NEIGHBOUR, key).begin()
        entry = DeviceEntry(school.device, DeviceRole.TERMINAL, key.verifying_key, OPENING_KEY.sealing_key)
        with self.server.services.database.writing() as session:
            self.server.services.devices.register(session, entry)
        lane = LaneWorld(school)
        lane.start_agent()
        return lane

    # What people do

    def eats(self, lane: LaneWorld, number: int, how: str) -> bool:
        """A pupil presents a card; whether the gate opened."""
        lane.school.present(self.cards[self.pupils[number]])
        opened = lane.school.is_in(State.PASSAGE_OPEN)
        if opened and how == "power-cut":
            lane.power_cut()
        elif opened and how == "pushes":
            lane.school.push()
        lane.school.settle(10.0)
        return opened

    def consent(self, pupil: PupilId, state: ConsentState) -> None:
        """The family's word at the station; with a consent the hand follows, sealed for each lane."""
        now = self.server.clock.utc_now()
        self.station.note(ConsentRecorded(pupil, state, "2026-1", GivenBy.LEGAL_REPRESENTATIVE, now, "Mme Roux"))
        if state is ConsentState.GIVEN:
            consent = Consent("2026-1", GivenBy.LEGAL_REPRESENTATIVE, now)
            self.station.note(ReferenceEnrolled(pupil, 1, "2026-1"))
            for lane in self.lanes:
                name = lane.school.device
                grant = ReferenceGrant(pupil, 1, now, consent, b"hand" + pupil.encode()[:4])
                sealed = seal_reference(grant, self.station.name, name, self.station.signing, OPENING_KEY.sealing_key)
                self.station.note(ReferenceSealed(pupil, name, 1, sealed))

    # What messages do

    def server_takes(self, topic: str, payload: bytes) -> None:
        """One message at the server, and what it publishes, on its way."""
        ingest = self.server.services.ingest
        if topic.endswith("/journal"):
            ingest.take_journals(topic, [payload])
        elif topic.endswith("/hello"):
            heard = ingest.take_hello(topic, payload)
            if heard is not None:
                self.server.services.downlink.catch_up(*heard)
        self.publish()

    def publish(self) -> None:
        """What the server has said since the last time goes onto the lines that are up."""
        for topic, payload in self.server.published.sent:
            for lane in self.lanes:
                if topic.startswith(f"canteen/{lane.school.device}/down/") and lane.line.connected:
                    lane.line.down.append((topic, payload))
        self.server.published.sent.clear()

    def deliver_up(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/lane/passes"):
            for other in self.lanes:
                if other.line.connected:
                    other.hear(topic, payload)
        else:
            self.server_takes(topic, payload)

    def tend(self) -> None:
        """The server's housekeeping, and its new orders on their way; the station answers."""
        self.server.services.housekeeping.round()
        for lane in self.lanes:
            self.server.services.downlink.send_new(lane.school.device)
        self.publish()

    def station_works(self) -> None:
        """Tells all it knows (again, if the server has lost some of it) and carries out what it is told."""
        self.server.send(self.station)
        for order in self.server.hello(self.station, self.station.orders_done, self._station_newest):
            self._station_newest = max(self._station_newest or order, order, key=lambda one: one.number)
            if order.number != self.station.orders_done + 1:
                continue
            body = order.open(self.station.opening)
            if isinstance(body, PurgeOrder):
                self.station.note(receipt_for(body, self.server.clock.utc_now()))
            self.station.note(OrderApplied(order.number, order.issued_at))
            self.station.orders_done = order.number
        for topic, payload in self.server.published.sent:
            if topic == topic_down(self.station.name, "greeting") and read_greeting(payload).asks:
                self.station.note(OrdersHeld(self.station.orders_done))
        self.server.send(self.station)
        self.publish()

    # What breaks

    def restart_server(self) -> None:
        self.server.close()
        # No restart is over in the microsecond of its beginning, and by its instant a lost order is told from another.
        self.server.clock.advance(1.0)
        self.server.restart()
        for lane in self.lanes:
            lane.connect(connected=False)

    @property
    def _database(self) -> Path:
        return Path(self.server.database_url.removeprefix("sqlite+pysqlite:///"))

    def take_backup(self) -> None:
        self.server.close()
        self.backup = self._database.with_name("backup.sqlite")
        shutil.copy(self._database, self.backup)
        self.restart_server()

    def restore_backup(self) -> None:
        assert self.backup is not None
        self.server.close()
        for leftover in self._database.parent.glob(self._database.name + "-*"):
            leftover.unlink()
        shutil.copy(self.backup, self._database)
        self.restored = True
        self.restart_server()

    def all_well(self) -> None:
        """Every line up, every clock right, nothing lost any more, until nobody has anything to say.

        What was lost from a line that stayed up, a broker has lost at its restart: every device comes again.
        """
        for lane in self.lanes:
            lane.school.clock.set_wall(self.server.clock.utc_now())
            if lane.line.connected:
                lane.line.come()
            lane.connect(connected=True)
        quiet = 0
        for _ in range(80):
            busy = False
            self.station_works()
            self.tend()
            for lane in self.lanes:
                lane.step()
                sent, lane.line.up = lane.line.up, []
                for topic, payload in sent:
                    self.deliver_up(topic, payload)
                said, lane.line.down = lane.line.down, []
                for topic, payload in said:
                    lane.hear(topic, payload)
                lane.step()
                busy = busy or bool(sent or said)
            self.server.clock.advance(2.0)
            for lane in self.lanes:
                lane.school.clock.advance(2.0)
            quiet = 0 if busy else quiet + 1
            if quiet > 4:
                return

    def days_pass(self, days: int) -> None:
        self.server.clock.set_wall(self.server.clock.utc_now() + timedelta(days=days))
        for lane in self.lanes:
            lane.school.clock.set_wall(lane.school.clock.utc_now() + timedelta(days=days))

    def close(self) -> None:
        for lane in self.lanes:
            lane.school.close()
        self.server.close()

    # What is there

    def departed(self) -> set[PupilId]:
        with self.server.services.database.reading() as session:
            rows = session.scalars(select(PupilRow.pupil).where(PupilRow.departed_at.is_not(None)))
            return {PupilId(pupil) for pupil in rows}

    def alarms(self) -> Counter[str]:
        """Every alarm ever raised, by kind."""
        with self.server.services.database.reading() as session:
            return Counter(session.scalars(select(Alarm.kind)))
