"""A stick in the device: exchanged by itself when it comes, again when asked; what lies on it leads nowhere else."""

from __future__ import annotations

import errno
import io
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted
from sync.carried_file import order_lines, read_carried_up, write_carried_file
from sync.downlink import Downlink
from sync.errors import OrderBoxUnavailable
from sync.messages import read_batch, sign_order, topic_down, write_acknowledgement, write_orders
from sync.order_box import OrderBox
from sync.orders import LeaseOrder
from sync.pass_journal import PassJournal
from sync.renewal import Renewal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from sync.stick import NO_SEAL, NO_STICK, Stick
from sync.tls_files import TlsFiles
from tests.conftest import wait_until

TERMINAL = DeviceId("terminal-1")
NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
SERVER, SERVER_SEAL, TERMINAL_SEAL = SigningKey(b"s" * 32), OpeningKey(b"e" * 32), OpeningKey(b"t" * 32)


@dataclass
class Device:
    """A device with a folder where sticks are mounted."""

    folder: Path
    seals: bool = True

    def __post_init__(self) -> None:
        self.sticks = self.folder / "media"
        self.ours = self.sticks / "canteen"
        self.up = self.ours / f"passages-{TERMINAL}.jsonl"
        self.journal = PassJournal(self.folder / "journal", TERMINAL, SigningKey(b"k" * 32))
        self.box = OrderBox(self.folder / "orders")
        clock = SystemClock()
        downlink = Downlink(self.journal, self.box, TERMINAL, SERVER.verifying_key, clock)
        files = TlsFiles(self.folder / "ca.pem", self.folder / "tls.pem", self.folder / "tls.key")
        renewal = Renewal(files, TERMINAL, SERVER.verifying_key, clock, lambda: None)
        seal = SERVER_SEAL.sealing_key if self.seals else None
        self.stick = Stick(self.sticks, self.journal, self.box, downlink, TERMINAL, seal, renewal, clock)

    def plug(self) -> None:
        self.ours.mkdir(parents=True)

    def record(self, facts: int) -> None:
        for _ in range(facts):
            self.journal.append(PassCompleted(new_pass_id()), NOW, ClockTrust.TRUSTED)

    def bring_orders(self, name: str = "ordres-terminal-1.jsonl") -> None:
        """What the server's page gives: an order, and an acknowledgement of the first three entries."""
        third = self.journal.entries_after(2, 1)[0]
        order = sign_order(LeaseOrder(NOW), TERMINAL, 1, NOW, TERMINAL_SEAL.sealing_key, SERVER)
        messages = [
            (topic_down(TERMINAL, "orders"), write_orders([order])),
            (
                topic_down(TERMINAL, "ack"),
                write_acknowledgement(TERMINAL, third.generation, 3, third.digest, NOW, SERVER),
            ),
        ]
        write_carried_file(self.ours / name, order_lines(messages))

    def carried(self) -> list[int]:
        return [
            entry.sequence
            for message in read_carried_up(io.BytesIO(self.up.read_bytes()), SERVER_SEAL)
            if message is not None
            for entry in read_batch(message.untrusted_payload)
        ]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_stick_is_exchanged_when_it_comes(device: Device) -> None:
    """Orders first; what they acknowledge is not carried any more; once, until it comes back or somebody asks."""
    device.record(5)
    device.stick.step()
    nothing = device.box.stick
    assert nothing is None
    device.plug()
    device.bring_orders()
    device.stick.step()
    visit = device.box.stick
    assert visit is not None
    assert (2, 0, 2, "") == (visit.taken, visit.refused, visit.written, visit.trouble)
    assert ([4, 5], 1) == (device.carried(), device.box.received_up_to)

    device.record(1)
    device.stick.step()
    assert [4, 5] == device.carried()
    device.box.ask_stick()
    device.stick.step()
    assert ([4, 5, 6], False) == (device.carried(), device.box.stick_asked)

    device.record(1)
    device.ours.rename(device.folder / "in a pocket")
    device.stick.step()
    (device.folder / "in a pocket").rename(device.ours)
    device.stick.step()
    assert [4, 5, 6, 7] == device.carried()


def test_asked_without_a_stick(device: Device) -> None:
    """The page gets an answer."""
    device.box.ask_stick()
    device.stick.step()
    visit = device.box.stick
    assert visit is not None
    assert (NO_STICK, False) == (visit.trouble, device.box.stick_asked)


def test_without_the_key_to_seal_with(tmp_path: Path) -> None:
    """Orders are taken; nothing is written in the clear."""
    device = Device(tmp_path, seals=False)
    device.record(3)
    device.plug()
    device.bring_orders()
    visit = device.stick.exchange()
    assert (2, 0, NO_SEAL) == (visit.taken, visit.written, visit.trouble)
    assert not device.up.exists()


def test_links_on_a_stick_lead_nowhere(device: Device) -> None:
    """A stick made to have our journal overwritten, or another file read, by names that are links; and a pipe."""
    device.record(3)
    device.plug()
    treasure = device.folder / "treasure"
    treasure.write_text("untouched")
    secret = device.folder / "secret.jsonl"
    secret.write_text("never read")
    device.up.symlink_to(treasure)
    Path(f"{device.up}.part").symlink_to(treasure)
    (device.ours / "ordres-link.jsonl").symlink_to(secret)
    os.mkfifo(device.ours / "ordres-pipe.jsonl")
    (device.ours / "ordres-folder.jsonl").mkdir()
    visit = device.stick.exchange()
    assert (0, 3, 3, "") == (visit.taken, visit.refused, visit.written, visit.trouble)
    assert "untouched" == treasure.read_text()
    assert not device.up.is_symlink()
    assert [1, 2, 3] == device.carried()


def test_a_stick_that_is_a_link_itself(device: Device) -> None:
    """The folder is not followed either."""
    device.record(1)
    device.sticks.mkdir()
    elsewhere = device.folder / "elsewhere"
    elsewhere.mkdir()
    device.ours.symlink_to(elsewhere)
    assert device.stick.exchange().trouble
    assert [] == list(elsewhere.iterdir())


def test_a_stick_that_breaks_while_it_is_looked_for(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulled out at the wrong moment: the system says EIO, and the looking goes on."""
    looked, whole = threading.Event(), Path.is_dir

    def broken(path: Path) -> bool:
        if path != device.ours:
            return whole(path)
        looked.set()
        raise OSError(errno.EIO, "Input/output error")

    stop = threading.Event()
    monkeypatch.setattr("sync.stick._LOOK_EVERY_S", 0.01)
    device.plug()
    with monkeypatch.context() as while_broken:
        while_broken.setattr(Path, "is_dir", broken)
        looking = threading.Thread(target=device.stick.run, args=(stop,))
        looking.start()
        assert looked.wait(10)
    wait_until(lambda: device.box.stick is not None, what="the stick's exchange")
    stop.set()
    looking.join(10)


def test_an_ill_disk_when_the_stick_comes(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be noted is done again at the next look, not when somebody thinks of pulling it out."""
    device.plug()
    with monkeypatch.context() as ill:

        def unavailable(*_: object) -> None:
            raise OrderBoxUnavailable("the disk is ill")

        ill.setattr(device.box, "note_stick", unavailable)
        with pytest.raises(OrderBoxUnavailable):
            device.stick.step()
    device.stick.step()
    assert device.box.stick is not None


def test_a_file_without_an_end(device: Device) -> None:
    """Gigabytes of nothing, which costs the stick nothing: refused unread; the others are taken."""
    device.record(3)
    device.plug()
    device.bring_orders()
    with (device.ours / "ordres-a.jsonl").open("wb") as endless:
        endless.truncate(1 << 40)
    visit = device.stick.exchange()
    assert (2, 1, "") == (visit.taken, visit.refused, visit.trouble)


def test_more_files_than_anybody_gave(device: Device) -> None:
    """Fifty are taken, the first by name."""
    device.record(3)
    device.plug()
    device.bring_orders("ordres-000.jsonl")
    for number in range(1, 80):
        (device.ours / f"ordres-{number:03}.jsonl").write_bytes(b"garbage\n")
    visit = device.stick.exchange()
    assert (2, 49, "") == (visit.taken, visit.refused, visit.trouble)


@given(st.lists(st.binary(max_size=300), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_on_it(device: Device, lines: list[bytes]) -> None:
    """Refused lines, and a visit that says so."""
    device.ours.mkdir(parents=True, exist_ok=True)
    (device.ours / "ordres-anything.jsonl").write_bytes(b"\n".join(lines))
    visit = device.stick.exchange()
    assert (0, "") == (visit.taken, visit.trouble)
    device.box.note_stick(visit)
    assert visit == device.box.stick
