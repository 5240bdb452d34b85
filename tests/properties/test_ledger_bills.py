"""Two terminals that serve the same pupils, journals that come in any order, a human who settles: the bill holds."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from billing_server.models import AccountEntry
from billing_server.reconciliation import DayReconciliation, Decision, Standing, reconcile, standing_passes
from canteen.entitlements import EntitlementKind
from canteen.identifiers import new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod, PassUnresolved
from canteen.serving_periods import ServiceMoment
from sync.messages import topic_up
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, SqliteFiles

_folder = tempfile.TemporaryDirectory(prefix="ledger-bills-")
_files: list[SqliteFiles] = []
_PRICE = 420


class BillsUnderFire(RuleBasedStateMachine):
    """The model: which passes each terminal has granted, and how far its journal has been delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.bench: LedgerBench | None = None

    @initialize()
    def start(self) -> None:
        if not _files:
            _files.append(SqliteFiles(Path(_folder.name)))
        self.bench = LedgerBench(Path(tempfile.mkdtemp(dir=_folder.name)), _files[0].fresh())
        self.terminals = [self.bench.device(f"terminal-{number}") for number in (1, 2)]
        self.pupils = [self.bench.pupil() for _ in range(3)]

    @property
    def server(self) -> LedgerBench:
        assert self.bench is not None
        return self.bench

    @rule(
        lane=st.integers(0, 1),
        pupil=st.integers(0, 2),
        prepaid=st.booleans(),
        outcome=st.sampled_from([None, PassCompleted, PassAbandoned, PassUnresolved]),
    )
    def serve(self, lane: int, pupil: int, prepaid: bool, outcome: type[PassCompleted] | None) -> None:
        kind = EntitlementKind.EXTERNAL_MEAL if prepaid else EntitlementKind.FORFAIT_4_DAYS
        grant = PassGranted(new_pass_id(), self.pupils[pupil], PassMethod.CARD, ServiceMoment(TODAY, "midi"), kind)
        self.terminals[lane].note(grant)
        if outcome is not None:
            self.terminals[lane].note(outcome(grant.pass_id))
        self.server.clock.advance(7)

    @rule(lane=st.integers(0, 1), share=st.floats(0.1, 1))
    def deliver(self, lane: int, share: float) -> None:
        terminal = self.terminals[lane]
        if terminal.journal:
            self.server.send(terminal, terminal.journal[: max(1, int(share * len(terminal.journal)))])

    @rule(lane=st.integers(0, 1))
    def greet(self, lane: int) -> None:
        terminal = self.terminals[lane]
        hello = terminal.hello(0)
        self.server.services.ingest.take_hello(topic_up(terminal.name, "hello"), hello)

    @rule(decision=st.sampled_from(list(Decision)), which=st.integers(0, 20))
    def settle(self, decision: Decision, which: int) -> None:
        waiting = self._reconciled().to_settle
        if waiting:
            row = waiting[which % len(waiting)].row
            with self.server.services.database.writing() as session:
                desk = self.server.services.settlements
                desk.settle_pass(session, row.device, row.pass_id, decision, "", "Mme Roux")

    def _reconciled(self) -> DayReconciliation:
        with self.server.services.database.reading() as session:
            return reconcile(session, self.server.services.school.calendar(session), TODAY)

    @invariant()
    def nothing_is_billed_twice_or_in_silence(self) -> None:
        if self.bench is None:
            return
        found = self._reconciled()
        with self.bench.services.database.reading() as session:
            passes = standing_passes(session, TODAY)
            cents = list(session.scalars(select(AccountEntry.cents)))
            meals = list(session.scalars(select(AccountEntry.meal).where(AccountEntry.meal.is_not(None))))
        by_rule = Counter(one.row.pupil for one in passes if one.standing is Standing.BILLED and one.settlement is None)
        assert all(times == 1 for times in by_rule.values())
        assert len(meals) == len(set(meals))
        prepaid = EntitlementKind.EXTERNAL_MEAL.value
        billed = sum(one.standing is Standing.BILLED for one in passes if one.row.charged_to == prepaid)
        assert -_PRICE * billed == sum(cents)
        for day in found.devices:
            assert day.received == day.billed + day.explained + day.waiting
            assert day.waiting >= 0
        assert len(passes) == sum(day.received for day in found.devices)

    def teardown(self) -> None:
        if self.bench is None:
            return
        for lane in (0, 1):
            self.greet(lane)
            if self.terminals[lane].journal:
                self.server.send(self.terminals[lane])
        found = self._reconciled()
        granted = [sum(entry.kind == "pass-granted" for entry in t.journal) for t in self.terminals]
        seen = {day.device: (day.seen, day.received) for day in found.devices}
        assert [(number, number) for number in granted] == [seen[t.name] for t in self.terminals]
        self.bench.close()


TestBillsUnderFire = BillsUnderFire.TestCase
TestBillsUnderFire.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
