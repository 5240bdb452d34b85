"""The stick instead of the network: both ways, torn, spoiled, foreign, twice."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassCompleted
from sync.carried_file import (
    CarriedCount,
    journal_lines,
    order_lines,
    read_carried_down,
    read_carried_up,
    write_carried_file,
)
from sync.downlink import Downlink
from sync.encoding import octets_text
from sync.main import main
from sync.messages import read_batch, sign_order, topic_down, write_acknowledgement, write_orders
from sync.order_box import OrderBox
from sync.orders import LeaseOrder
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey

TERMINAL = DeviceId("terminal-1")
NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
SERVER, SERVER_SEAL, TERMINAL_SEAL = SigningKey(b"s" * 32), OpeningKey(b"e" * 32), OpeningKey(b"t" * 32)


@pytest.fixture
def journal(tmp_path: Path) -> PassJournal:
    journal = PassJournal(tmp_path / "journal", TERMINAL, SigningKey(b"k" * 32))
    for _ in range(450):
        journal.append(PassCompleted(new_pass_id()), NOW, ClockTrust.TRUSTED)
    return journal


def entries_in(content: bytes) -> list[int]:
    return [
        entry.sequence
        for message in read_carried_up(io.BytesIO(content), SERVER_SEAL)
        if message is not None
        for entry in read_batch(message.untrusted_payload)
    ]


def test_the_way_up(journal: PassJournal, tmp_path: Path) -> None:
    """All that the ledger does not have, readable by the server alone; nothing half under the file's name."""
    path = tmp_path / "stick" / "up.canteen"
    path.parent.mkdir()
    assert write_carried_file(path, journal_lines(journal, TERMINAL, SERVER_SEAL.sealing_key)) == 3
    content = path.read_bytes()
    assert list(range(1, 451)) == entries_in(content)
    assert b"pass-completed" not in content
    assert [None] * 3 == list(read_carried_up(io.BytesIO(content), OpeningKey(b"x" * 32)))
    assert [path] == list(path.parent.iterdir())


def test_a_stick_pulled_out_costs_only_what_is_behind_the_cut(journal: PassJournal) -> None:
    """Whole lines before the cut are good; the torn one is a refusal."""
    content = b"\n".join(journal_lines(journal, TERMINAL, SERVER_SEAL.sealing_key))
    torn = content[: len(content) // 2]
    assert list(range(1, 201)) == entries_in(torn)
    assert None in list(read_carried_up(io.BytesIO(torn), SERVER_SEAL))


def test_the_way_down(journal: PassJournal, tmp_path: Path) -> None:
    """Orders and the acknowledgement take effect, once; another device's, forged and torn ones do not."""
    box = OrderBox(tmp_path / "orders")
    downlink = Downlink(journal, box, TERMINAL, SERVER.verifying_key, SystemClock())
    last = journal.entries_after(449)[0]
    order = sign_order(LeaseOrder(NOW), TERMINAL, 1, NOW, TERMINAL_SEAL.sealing_key, SERVER)
    forged = sign_order(LeaseOrder(NOW), TERMINAL, 2, NOW, TERMINAL_SEAL.sealing_key, SigningKey(b"f" * 32))
    acknowledgement = write_acknowledgement(TERMINAL, last.generation, 450, last.digest, NOW, SERVER)
    lines = [
        *order_lines(
            [
                (topic_down(TERMINAL, "orders"), write_orders([order])),
                (topic_down("terminal-2", "orders"), write_orders([order])),
                (topic_down(TERMINAL, "orders"), write_orders([forged])),
                (topic_down(TERMINAL, "ack"), acknowledgement),
            ]
        ),
        b'{"v":1,"what":"do',
    ]
    path = tmp_path / "down.canteen"
    write_carried_file(path, lines)
    for _ in range(2):
        with path.open("rb") as file:
            assert downlink.handle_carried(read_carried_down(file, TERMINAL)) == CarriedCount(taken=2, refused=2)
    assert box.received_up_to == 1
    assert journal.backlog == 0


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_whatever_is_on_a_stick(lines: list[bytes]) -> None:
    """Refusals, nothing else."""
    content = b"\n".join(lines)
    assert all(message is None for message in read_carried_up(io.BytesIO(content), SERVER_SEAL))
    assert all(message is None for message in read_carried_down(io.BytesIO(content), TERMINAL))


def test_a_stick_that_cannot_be_written(journal: PassJournal, tmp_path: Path) -> None:
    """No such folder: the system's own error, and nothing left behind."""
    with pytest.raises(OSError, match="No such file"):
        write_carried_file(tmp_path / "gone" / "up", journal_lines(journal, TERMINAL, SERVER_SEAL.sealing_key))


@pytest.mark.usefixtures("journal")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`canteen-sync export` and `import`, from the program's own configuration."""
    configuration = tmp_path / "sync.toml"
    configuration.write_text(
        f"""
device = "{TERMINAL}"
[storage]
journal = "{tmp_path / "journal"}"
orders = "{tmp_path / "orders"}"
[trust]
server_signing_key = "{octets_text(SERVER.verifying_key.octets)}"
server_sealing_key = "{octets_text(SERVER_SEAL.sealing_key.octets)}"
[broker]
host = "127.0.0.1"
port = 8883
ca = "ca.pem"
certificate = "c.pem"
key = "c.key"
"""
    )
    up, down = tmp_path / "up", tmp_path / "down"
    assert main(["status", "--config", str(configuration)]) == 0
    said = capsys.readouterr().out
    assert "0 of 450 entries are in the ledger, 450 are still to come" in said
    assert "nothing moves just now" in said
    assert main(["export", str(up), "--config", str(configuration)]) == 0
    assert list(range(1, 451)) == entries_in(up.read_bytes())
    order = sign_order(LeaseOrder(NOW), TERMINAL, 1, NOW, TERMINAL_SEAL.sealing_key, SERVER)
    write_carried_file(down, order_lines([(topic_down(TERMINAL, "orders"), write_orders([order]))]))
    assert main(["import", str(down), "--config", str(configuration)]) == 0
    down.write_bytes(b"rubbish\n")
    assert main(["import", str(down), "--config", str(configuration)]) == 1
    assert main(["import", str(tmp_path / "none"), "--config", str(configuration)]) == 2
    assert "450 entries" in capsys.readouterr().out
    assert OrderBox(tmp_path / "orders").received_up_to == 1
