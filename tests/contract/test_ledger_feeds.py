"""What others read: feeds by cursor without hole or repeat, and the counts of a day; on both databases."""

from __future__ import annotations

import threading

from billing_server import reading
from canteen.access_decision import Reason
from canteen.entitlements import EntitlementKind
from canteen.identifiers import new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod, PassUnresolved
from canteen.serving_periods import ServiceMoment
from tests.unit.billing_server.ledger_bench import TODAY, LedgerBench, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)


def test_a_reader_by_cursor_misses_and_repeats_nothing_while_terminals_write(bench: LedgerBench) -> None:
    """Three terminals send at once; a reader that reads all the time gets every pass once."""
    pupil = bench.pupil()
    terminals = [bench.device(f"terminal-{n}") for n in range(3)]
    for terminal in terminals:
        for _ in range(40):
            grant = granted(pupil)
            terminal.note(grant, PassCompleted(grant.pass_id))
    finished = threading.Event()
    seen: list[str] = []
    outcomes: list[str] = []

    def read() -> None:
        passes = settled = 0
        while True:
            last_round = finished.is_set()
            with bench.services.database.reading() as session:
                rows = reading.passes_after(session, passes, 7)
                later = reading.outcomes_after(session, settled, 7)
            seen.extend(row.pass_id for row in rows)
            outcomes.extend(row.pass_id for row in later)
            passes = rows[-1].position if rows else passes
            settled = later[-1].outcome_position or 0 if later else settled
            if last_round and not rows and not later:
                return

    reader = threading.Thread(target=read)
    reader.start()

    def write(number: int) -> None:
        journal = terminals[number].journal
        for start in range(0, len(journal), 5):
            bench.send(terminals[number], journal[start : start + 5])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    finished.set()
    reader.join()
    expected = {entry.body["pass"] for terminal in terminals for entry in terminal.journal}
    assert (120, expected) == (len(seen), set(seen))
    assert (120, expected) == (len(outcomes), set(outcomes))


def test_what_is_settled_between_two_looks_has_its_place(bench: LedgerBench) -> None:
    """A reader of both feeds in one session: a pass it read while it was open comes with its outcome, or not yet."""
    terminal, grant = bench.device("terminal-1"), granted(bench.pupil())
    bench.send(terminal, terminal.note(grant))
    with bench.services.database.reading() as session:
        (open_pass,) = reading.passes_after(session, 0, 7)
        assert open_pass.outcome_position is None
        bench.send(terminal, terminal.note(PassCompleted(grant.pass_id)))
        assert None not in [row.outcome_position for row in reading.outcomes_after(session, 0, 7)]


def test_the_counts_of_a_day(bench: LedgerBench) -> None:
    """An abandoned pass is no meal; an unresolved one is; denials are counted by reason."""
    pupil = bench.pupil()
    terminal = bench.device("terminal-1")
    by_hand, abandoned, unresolved = granted(pupil), granted(pupil), granted(pupil)
    by_card = PassGranted(new_pass_id(), pupil, PassMethod.CARD, ServiceMoment(TODAY, "midi"), None)
    in_the_evening = PassGranted(
        new_pass_id(), pupil, PassMethod.CARD, ServiceMoment(TODAY, "soir"), EntitlementKind.EXTERNAL_MEAL
    )
    terminal.note(by_hand, PassCompleted(by_hand.pass_id), abandoned, PassAbandoned(abandoned.pass_id))
    terminal.note(unresolved, PassUnresolved(unresolved.pass_id), by_card, in_the_evening)
    terminal.note(denied(), denied(), denied(pupil, Reason.ALREADY_SERVED))
    bench.send(terminal)
    with bench.services.database.reading() as session:
        counted = reading.counts_of(session, TODAY)
    midi, evening = counted.periods
    assert ("midi", 3, {"card": 1, "hand": 2}) == (midi.period, midi.served, midi.by_method)
    assert {"abandoned": 1, "completed": 1, "open": 1, "unresolved": 1} == midi.by_outcome
    assert ("soir", 1) == (evening.period, evening.served)
    assert {"already-served": 1, "hand-not-matched": 2} == counted.denied


def test_the_latest_of_a_day_come_first(bench: LedgerBench) -> None:
    """Passes and denials together, by the device's clock."""
    terminal = bench.device("terminal-1")
    for fact in (denied(), granted(bench.pupil()), denied()):
        terminal.note(fact)
        bench.clock.advance(10)
    bench.send(terminal)
    with bench.services.database.reading() as session:
        rows = reading.latest_of_day(session, TODAY, 2)
    assert [3, 2] == [row.sequence for row in rows]
