"""Files on a stick: the same messages, taken once however often they come, bounded, garbage counted line by line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.models import Audit, Entry, Refusal
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId
from sync.carried_file import journal_lines, read_carried_down, renewal_line
from sync.messages import read_acknowledgement, read_orders
from sync.orders import DeviceRole
from sync.pass_journal import PassJournal
from sync.renewal import Renewal
from sync.tls_files import TlsFiles
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


class Terminal:
    """A registered terminal with a journal file, as the program has it."""

    def __init__(self, bench: LedgerBench, folder: Path) -> None:
        self.bench = bench
        self.device: SignedDevice = bench.device("terminal-1")
        self.journal = PassJournal(folder / "journal", self.device.name, self.device.signing)

    def up(self) -> bytes:
        server = self.bench.services.opening_key.sealing_key
        return b"".join(line + b"\n" for line in journal_lines(self.journal, self.device.name, server))


@pytest.fixture
def terminal(bench: LedgerBench, tmp_path: Path) -> Terminal:
    terminal = Terminal(bench, tmp_path)
    pupil = bench.pupil()
    for _ in range(230):
        terminal.journal.append_all([granted(pupil), denied()], bench.clock.utc_now(), ClockTrust.TRUSTED)
    return terminal


def entries(bench: LedgerBench) -> int:
    with bench.services.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Entry)) or 0


def test_a_file_up_and_a_file_down_is_a_whole_round(bench: LedgerBench, terminal: Terminal) -> None:
    """Passes are in the ledger, orders and the acknowledgement at the device: the journal's mark moves."""
    bench.published.connected = False
    count = bench.services.carry.take_in(io.BytesIO(terminal.up()))
    assert ((3, 0), 460) == ((count.taken, count.refused), entries(bench))
    down = b"".join(line + b"\n" for line in bench.services.carry.lines_for(["terminal-1"]))
    messages = list(read_carried_down(io.BytesIO(down), DeviceId("terminal-1")))
    assert all(messages)
    kinds = [message.untrusted_topic.rpartition("/")[2] for message in messages if message]
    assert ["ack", "orders"] == kinds
    payloads = [message.untrusted_payload for message in messages if message]
    mark = read_acknowledgement(payloads[0])
    mark.verify(bench.services.signing_key.verifying_key)
    assert terminal.journal.acknowledge(mark.generation, mark.sequence, mark.entry_digest, mark.issued_at)
    assert 0 == terminal.journal.backlog
    orders = read_orders(payloads[1])
    assert [1, 2, 3, 4] == [order.number for order in orders][:4]
    assert [] == list(read_carried_down(io.BytesIO(down), DeviceId("terminal-2")))


def test_the_same_file_twice_counts_nothing_twice(bench: LedgerBench, terminal: Terminal) -> None:
    up = terminal.up()
    for _ in range(2):
        count = bench.services.carry.take_in(io.BytesIO(up))
        assert (3, 0) == (count.taken, count.refused)
    assert 460 == entries(bench)


@pytest.mark.parametrize(
    "noise", [b"noise\n", b"\xff\n\n", b"{}\n", b'{"v":1,"what":"up","device":"terminal-1","sealed":"AA=="}\n']
)
def test_garbage_is_counted_and_the_other_lines_are_taken(bench: LedgerBench, terminal: Terminal, noise: bytes) -> None:
    """Before, between and behind; a stick pulled out too early costs the line it was in."""
    first, second, third = terminal.up().splitlines(keepends=True)
    count = bench.services.carry.take_in(io.BytesIO(noise + first + noise + second + noise + third[:-100]))
    assert ((2, 4), 400) == ((count.taken, count.refused), entries(bench))
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        assert 4 == session.scalars(select(Refusal.times).where(Refusal.why == "garbage")).one()


def test_a_file_of_a_stranger_or_another_server_is_refused(bench: LedgerBench, terminal: Terminal) -> None:
    """Sealed for us, but by nobody we know; and sealed for somebody else."""
    stranger = SignedDevice(DeviceId("stranger"), DeviceRole.TERMINAL, bench.clock)
    journal = PassJournal(bench.folder / "stranger", stranger.name, stranger.signing)
    journal.append(denied(), bench.clock.utc_now(), ClockTrust.TRUSTED)
    ours, theirs = bench.services.opening_key.sealing_key, stranger.opening.sealing_key
    lines = [
        *journal_lines(journal, stranger.name, ours),
        *journal_lines(terminal.journal, terminal.device.name, theirs),
    ]
    count = bench.services.carry.take_in(io.BytesIO(b"\n".join(lines)))
    assert ((0, 4), 0) == ((count.taken, count.refused), entries(bench))


def test_a_file_has_an_end(small_bench: LedgerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick is larger than any honest file."""
    monkeypatch.setattr("billing_server.carrying.LINES_MOST", 50)
    count = small_bench.services.carry.take_in(io.BytesIO(b"noise\n" * 10_000))
    assert (0, 51) == (count.taken, count.refused)


def test_the_page_takes_and_gives(small_bench: LedgerBench, tmp_path: Path) -> None:
    terminal = Terminal(small_bench, tmp_path)
    terminal.journal.append(denied(), small_bench.clock.utc_now(), ClockTrust.TRUSTED)
    token = small_bench.services.operators.add("Mme Roux")
    with TestClient(make_app(small_bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        shown = client.post("/appareils/fichier", files={"fichier": ("up", terminal.up() + b"noise\n")}).text
        assert "1 message repris du fichier" in shown
        assert "1 ligne refusée" in shown
        given = client.get("/appareils/fichier?appareil=terminal-1")
        assert "attachment" in given.headers["Content-Disposition"]
        assert 2 == len(given.content.splitlines())
        assert 404 == client.get("/appareils/fichier?appareil=none").status_code
        large = {"Content-Length": str(65 * 1024 * 1024), "Content-Type": "multipart/form-data; boundary=x"}
        assert 413 == client.post("/appareils/fichier", content=b"", headers=large).status_code
    with small_bench.services.database.reading() as session:
        subjects = [(row.action, row.subject) for row in session.scalars(select(Audit).order_by(Audit.id))]
    assert [("carried-in", "1 taken, 1 refused"), ("carried-out", "terminal-1")] == subjects


def test_a_certificate_that_has_run_out_is_renewed_by_a_stick(small_bench: LedgerBench, tmp_path: Path) -> None:
    """Wish up, certificate down; a stranger's wish gets nothing, and a revoked device's neither."""
    bench, desk = small_bench, small_bench.services.provisioning
    assert desk is not None
    terminal = bench.device("terminal-1")
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "tls.pem", tmp_path / "tls.key")
    with bench.services.database.writing() as session:
        issued = desk.renew(session, terminal.name, files.request())
    assert files.install(issued.pem, desk.authority.certificate_pem())
    renewal = Renewal(files, terminal.name, bench.services.signing_key.verifying_key, bench.clock, lambda: None)
    assert renewal.wish() is None
    bench.clock.advance((issued.expires_at - bench.clock.utc_now()).total_seconds() + 86_400)
    wish = renewal.wish()
    assert wish is not None

    server = bench.services.opening_key.sealing_key
    forged = renewal_line(replace(wish, signature=bytes(70)), terminal.name, server)
    others = renewal_line(wish, DeviceId("terminal-2"), server)
    good = renewal_line(wish, terminal.name, server)
    count = bench.services.carry.take_in(io.BytesIO(b"\n".join((forged, others, good, good[:-9]))))
    assert (1, 3) == (count.taken, count.refused)

    down = b"\n".join(bench.services.carry.lines_for(["terminal-1"]))
    brought = [message for message in read_carried_down(io.BytesIO(down), terminal.name) if message]
    certificates = [one.untrusted_payload for one in brought if one.untrusted_topic.endswith("/certificate")]
    for _ in range(2):
        renewal.take(certificates[0])
    assert files.present().not_valid_after_utc > bench.clock.utc_now()
    assert renewal.wish() is None

    with bench.services.database.writing() as session:
        desk.revoke(session, "terminal-1")
    again = renewal_line(wish, terminal.name, server)
    assert 0 == bench.services.carry.take_in(io.BytesIO(again)).taken
