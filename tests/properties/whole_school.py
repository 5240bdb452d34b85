"""A school in one process: the real server, two real lanes with their agents, a station, and the worst of lines."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from billing_server.models import Alarm, PupilRow
from billing_server.roster import Identity, NewPupil
from canteen.clock import ManualClock
from canteen.consent import ConsentState
from canteen.credentials import CardNumber
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.identifiers import DeviceId, PupilId
from canteen.private_file import create_private_file
from canteen.serving_periods import EVERY_DAY
from sync.signing import SigningKey
from terminal.pass_machine import State
from tests.properties.school_devices import DeviceWorld, LaneWorld, StationWorld
from tests.unit.billing_server.ledger_bench import LedgerBench
from tests.unit.terminal.lane import (
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    NOON,
    SERVER_KEY,
    STATION,
    TERMINAL,
    TERMINAL_KEY,
    YEAR,
    School,
)

PUPILS = 5
EXTERNAL = 4
"""The last pupil pays meal by meal."""
MEAL_CENTS = 420


class WholeSchool:
    """Everything, and the hands that turn it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        server = folder / "server"
        server.mkdir()
        create_private_file(server / "signing", SERVER_KEY.octets)
        self.server = LedgerBench(server, database_url)
        self.lanes = [
            LaneWorld(self._lane(folder, *which)) for which in ((TERMINAL, TERMINAL_KEY), (NEIGHBOUR, NEIGHBOUR_KEY))
        ]
        station = folder / STATION
        station.mkdir()
        self.station = StationWorld(station, ManualClock(NOON), self.server.services.opening_key.sealing_key)
        self.devices: list[DeviceWorld] = [*self.lanes, self.station]
        self.backup: Path | None = None
        self.restored = False
        year = [
            Entitlement(kind, EVERY_DAY, *YEAR)
            for kind in (EntitlementKind.FORFAIT_5_DAYS, EntitlementKind.EXTERNAL_MEAL)
        ]
        new = [NewPupil(Identity(f"Prénom{n}", "Nom", "6A"), (year[n == EXTERNAL],)) for n in range(PUPILS)]
        with self.server.services.database.writing() as session:
            for device in self.devices:
                self.server.services.devices.register(session, device.entry)
            self.pupils = [pupil for pupil, _ in self.server.services.pupils.add(session, new)]
            self.server.services.accounts.credit(session, self.pupils[EXTERNAL], 5 * MEAL_CENTS, "Mme Roux")
        self.all_well()
        self.cards = {pupil: CardNumber(f"04A1B2C3D4E5{n:02X}") for n, pupil in enumerate(self.pupils)}
        for pupil, card in self.cards.items():
            self.station.give_card(pupil, card)
        for pupil in self.pupils[:3]:
            assert self.station.take_form(pupil, ConsentState.GIVEN)
        self.all_well()

    def _lane(self, folder: Path, name: DeviceId, key: SigningKey) -> School:
        home = folder / name
        home.mkdir()
        return School(home, NOON, name, key).begin()

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
            for device in self.devices:
                if topic.startswith(f"canteen/{device.name}/down/") and device.line.connected:
                    device.line.down.append((topic, payload))
        self.server.published.sent.clear()

    def deliver_up(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/lane/passes"):
            for lane in self.lanes:
                if lane.line.connected:
                    lane.hear(topic, payload)
        else:
            self.server_takes(topic, payload)

    def exchange(self, device: DeviceWorld) -> bool:
        """All that a device and the server have to say to each other just now, over a good line; whether it is any."""
        device.step()
        sent, device.line.up = device.line.up, []
        for topic, payload in sent:
            self.deliver_up(topic, payload)
        said, device.line.down = device.line.down, []
        for topic, payload in said:
            device.hear(topic, payload)
        device.step()
        return bool(sent or said)

    def tend(self) -> None:
        """The server's housekeeping, and its new orders on their way."""
        self.server.services.housekeeping.round()
        for device in self.devices:
            self.server.services.downlink.send_new(device.name)
        self.publish()

    # What breaks

    def restart_server(self) -> None:
        self.server.close()
        # No restart is over in the microsecond of its beginning, and by its instant a lost order is told from another.
        self.server.clock.advance(1.0)
        self.server.restart()
        for device in self.devices:
            device.connect(connected=False)

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
        for device in self.devices:
            device.clock.set_wall(self.server.clock.utc_now())
            if device.line.connected:
                device.line.come()
            device.connect(connected=True)
        quiet = 0
        for _ in range(80):
            self.tend()
            busy = [self.exchange(device) for device in self.devices]
            self.server.clock.advance(2.0)
            for device in self.devices:
                device.clock.advance(2.0)
            quiet = 0 if any(busy) else quiet + 1
            if quiet > 4:
                return

    def days_pass(self, days: int) -> None:
        for clock in (self.server.clock, *(device.clock for device in self.devices)):
            clock.set_wall(clock.utc_now() + timedelta(days=days))

    def close(self) -> None:
        for device in self.devices:
            device.close()
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
