"""A station that encodes, with a reader in memory: any chip can be laid on it, torn away or left out."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from canteen.credentials import CardNumber
from canteen.identifiers import PupilId
from canteen.private_file import create_private_file
from enrollment_station.app import make_app
from enrollment_station.encoding import EncodingDesk
from enrollment_station.station_reader import ReaderTimes, StationReader
from firmware_bridge.card_keys import EncodingKeys, new_master_secret
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import SchoolCards
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import CardRefusal, ReaderLossReason
from firmware_bridge.errors import CardLost, ReaderUnavailable
from firmware_bridge.pcsc_service import Presence, SmartCardService
from firmware_bridge.simulated_card import CardInField, CardState, simulated_card
from firmware_bridge.simulated_desfire import SimulatedDesfire
from firmware_bridge.vpcd_link import Chip
from sync.facts import CardIssued
from tests.unit.enrollment_station.bench import STATION, Bench, Client

UAI = "0311234A"
LAYOUT = CardLayout(UAI)
SHORT = ReaderTimes(card_s=0.15, work_s=3.0)


class Tray:
    """The reader: what lies on it, whether it is there, and a call that can be made to hang."""

    def __init__(self) -> None:
        self.chip: Chip | None = None
        self.loss: ReaderLossReason | None = None
        self.names = ["Twin of a reader"]
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        """Set once somebody waits for a card, or for an answer of one."""
        self.commands = 0

    def open(self) -> TrayService:
        """Connects, as to the daemon."""
        return TrayService(self)


class TrayService:
    """One connection."""

    def __init__(self, tray: Tray) -> None:
        self._tray = tray

    def readers(self) -> list[str]:
        if self._tray.loss is not None:
            raise ReaderUnavailable(self._tray.loss)
        return self._tray.names

    def wait(self, reader: str, known: Presence, timeout_s: float) -> Presence:
        assert reader in self._tray.names
        if not known.card and self._tray.chip is None:
            self._tray.asked.set()
            threading.Event().wait(min(timeout_s, 0.02))
        return Presence(self._tray.chip is not None, 0, 0)

    @contextlib.contextmanager
    def connect(self, reader: str) -> Iterator[CardChannel]:
        assert reader in self._tray.names
        if self._tray.chip is None:
            raise CardLost("nothing there")
        yield _TrayChannel(self._tray, CardInField(self._tray.chip))

    def close(self) -> None:
        pass


class _TrayChannel:
    def __init__(self, tray: Tray, channel: CardChannel) -> None:
        self._tray, self._channel = tray, channel

    def transmit(self, apdu: bytes) -> bytes:
        self._tray.asked.set()
        self._tray.answers.wait()
        self._tray.commands += 1
        return self._channel.transmit(apdu)


class ReaderBench(Bench):
    """A station with `[cards] mode = "encode"` and three pupils."""

    def __init__(
        self,
        folder: Path,
        times: ReaderTimes = SHORT,
        mode: str = "encode",
        secret: bytes | None = None,
        open_service: Callable[[], SmartCardService] | None = None,
    ) -> None:
        """Without `open_service`, the reader is the tray in memory."""
        self.tray = Tray()
        self.times = times
        self.secret = secret or new_master_secret()
        self._mode = mode
        self._open_service = open_service
        create_private_file(folder / "cards.key", self.secret)
        super().__init__(folder)
        self.fill()

    def open(self) -> None:
        text = self.configuration.read_text()
        if "[cards]" not in text:
            keys = f'uai = "{UAI}"\nmaster_key = "cards.key"\n' if self._mode == "encode" else ""
            self.configuration.write_text(f'{text}[cards]\nmode = "{self._mode}"\n{keys}')
        super().open()
        reader = StationReader(
            None,
            production=self._open_service is None,
            times=self.times,
            open_service=self._open_service or self.tray.open,
        )
        encoding, uid_cards = self.station.encoding, self.station.uid_cards
        self.station = dataclasses.replace(
            self.station,
            encoding=None if encoding is None else dataclasses.replace(encoding, reader=reader),
            uid_cards=None if uid_cards is None else dataclasses.replace(uid_cards, reader=reader),
        )
        self.client = Client(make_app(self.station))

    @property
    def desk(self) -> EncodingDesk:
        assert self.station.encoding is not None
        return self.station.encoding

    @property
    def keys(self) -> EncodingKeys:
        return EncodingKeys.from_master_secret(self.secret)

    def lay(self, state: CardState = CardState.FACTORY, uid: str = "04112233445566") -> SimulatedDesfire:
        """A new card of that kind on the reader."""
        chip = simulated_card(state, self.keys, LAYOUT, bytes.fromhex(uid))
        self.tray.chip = chip
        assert isinstance(chip, SimulatedDesfire)
        return chip

    def read(self) -> CardNumber | CardRefusal:
        """What a terminal makes of the card on the reader."""
        assert self.tray.chip is not None
        return SchoolCards(self.keys.reading, LAYOUT).read(CardInField(self.tray.chip))

    def issued(self, after: int = 0) -> list[tuple[PupilId, str]]:
        """Whose cards stand in the journal after that sequence, with the numbers that the server reads."""
        return [
            (
                fact.pupil,
                self.server_seal.open(
                    fact.sealed_card, {"v": 1, "what": "card", "station": STATION, "pupil": fact.pupil}
                ).decode(),
            )
            for fact in self.facts(after)
            if isinstance(fact, CardIssued)
        ]
