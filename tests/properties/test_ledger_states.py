"""Whatever is sent, in whatever order and however often, and wherever the server is killed: each entry once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from billing_server.errors import ImportRefused
from billing_server.models import Alarm, Entry, ForkedEntry, Journal, MealPassRow
from billing_server.roster_import import parse_roster
from canteen.meal_pass import PassAbandoned, PassCompleted
from sync.messages import GENESIS, JournalEntry, write_batch
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, SignedDevice, SqliteFiles, denied, granted

_folder = tempfile.TemporaryDirectory(prefix="ledger-states-")
_files: list[SqliteFiles] = []


def _fresh() -> str:
    if not _files:
        _files.append(SqliteFiles(Path(_folder.name)))
    return _files[0].fresh()


class LedgerUnderFire(RuleBasedStateMachine):
    """The model is the device's own journal: the ledger must be a prefix of it, whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.bench: LedgerBench | None = None
        self.durable = 0
        self.forks: set[str] = set()

    @initialize()
    def start(self) -> None:
        self.bench = LedgerBench(Path(tempfile.mkdtemp(dir=_folder.name)), _fresh())
        self.terminal: SignedDevice = self.bench.device("terminal-1")
        self.pupil = self.bench.pupil()

    @property
    def server(self) -> LedgerBench:
        assert self.bench is not None
        return self.bench

    @rule(outcomes=st.lists(st.sampled_from(["open", "completed", "abandoned", "denied"]), min_size=1, max_size=5))
    def pass_meals(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            if outcome == "denied":
                self.terminal.note(denied(self.pupil))
                continue
            grant = granted(self.pupil)
            self.terminal.note(grant)
            if outcome == "completed":
                self.terminal.note(PassCompleted(grant.pass_id))
            elif outcome == "abandoned":
                self.terminal.note(PassAbandoned(grant.pass_id))

    @precondition(lambda self: self.bench is not None and self.terminal.journal)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Any selection, shuffled, with repeats; sometimes the acknowledgement is lost."""
        places = data.draw(st.lists(st.integers(0, len(self.terminal.journal) - 1), min_size=1, max_size=12))
        self.server.published.connected = data.draw(st.booleans(), label="acknowledgement arrives")
        acknowledged = self.server.send(self.terminal, [self.terminal.journal[place] for place in places])
        self.server.published.connected = True
        while self.durable in places:
            self.durable += 1
        if acknowledged:
            (mark,) = acknowledged
            digest = self.terminal.journal[self.durable - 1].digest if self.durable else GENESIS
            assert (self.durable, digest) == (mark.sequence, mark.entry_digest)

    @precondition(lambda self: self.bench is not None and self.terminal.journal)
    @rule()
    def deliver_all(self) -> None:
        self.server.send(self.terminal)
        self.durable = len(self.terminal.journal)

    @precondition(lambda self: self.bench is not None and self.durable)
    @rule(data=st.data())
    def put_an_old_card_back(self, data: st.DataObject) -> None:
        """A signed entry for a place that is taken."""
        place = data.draw(st.integers(1, self.durable))
        previous = self.terminal.journal[place - 2].digest if place > 1 else GENESIS
        other = self.terminal.sign(granted(self.pupil), place, previous)
        self.server.send(self.terminal, [other])
        self.forks.add(other.digest)

    @rule(noise=st.binary(max_size=60), at=st.integers(0, 400))
    def send_garbage(self, noise: bytes, at: int) -> None:
        """Noise alone, and noise in the middle of a good batch."""
        wire = write_batch(self.terminal.journal[:2])
        for payload in (noise, wire[:at] + noise + wire[at + len(noise) :]):
            if payload != wire:
                self.server.services.ingest.take_journal("canteen/terminal-1/up/journal", payload)
        with self.server.services.database.reading() as session:
            # Noise behind the batch's end may leave the batch as it was.
            self.durable = max(self.durable, *session.scalars(select(Journal.up_to)), 0)

    @rule()
    def kill(self) -> None:
        self.server.close()
        self.server.restart()

    @invariant()
    def the_ledger_is_a_prefix_of_the_journal(self) -> None:
        if self.bench is None:
            return
        expected = self.terminal.journal[: self.durable]
        with self.bench.services.database.reading() as session:
            entries = session.execute(select(Entry.sequence, Entry.digest).order_by(Entry.sequence))
            assert [(e.sequence, e.digest) for e in expected] == [tuple(row) for row in entries]
            passes = session.execute(select(MealPassRow.pass_id, MealPassRow.outcome).order_by(MealPassRow.position))
            assert self._passes_of(expected) == {row.pass_id: row.outcome for row in passes}
            positions = list(session.scalars(select(MealPassRow.position).order_by(MealPassRow.position)))
            assert list(range(1, len(positions) + 1)) == positions
            assert self.forks == set(session.scalars(select(ForkedEntry.digest)))
            alarmed = session.scalars(select(Alarm.id).where(Alarm.kind == "fork")).first() is not None
            assert bool(self.forks) == alarmed

    @staticmethod
    def _passes_of(entries: list[JournalEntry]) -> dict[str, str]:
        outcomes = {}
        for entry in entries:
            if entry.kind == "pass-granted":
                outcomes[entry.body["pass"]] = "open"
            elif entry.kind in ("pass-completed", "pass-abandoned"):
                outcomes[entry.body["pass"]] = entry.kind.removeprefix("pass-")
        return outcomes

    def teardown(self) -> None:
        if self.bench is not None:
            self.bench.close()


TestLedgerUnderFire = LedgerUnderFire.TestCase
TestLedgerUnderFire.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_roster_file_is_pupils_or_a_refusal(noise: bytes, with_heading: bool) -> None:
    """Never another exception, and never a pupil without a name."""
    content = (b"nom;prenom;classe;regime\n" if with_heading else b"") + noise
    try:
        pupils = parse_roster(content, TODAY, [])
    except ImportRefused:
        return
    assert all(pupil.identity.last_name and pupil.entitlements for pupil in pupils)
