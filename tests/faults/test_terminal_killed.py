"""`kill -9` at any moment of a lunch: what the turnstile did is in the journal once; every order has one answer."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassUnresolved
from sync.facts import OrderApplied, OrderRefused, PurgeReceipt
from sync.messages import GENESIS
from tests.unit.terminal.lane import TERMINAL_KEY, School, card, filled_school, pupil_id
from tests.unit.terminal.test_orders import FILLED, purge_order, reference_order

PUPILS = 120
KILLS = 8
LONGEST_LIFE_S = 0.35


def lunch(folder: Path) -> None:
    """The victim: pupils pass by card without end, orders are applied in between; each unlock is called out first."""
    school = School(folder)

    def call_out() -> None:
        sys.stdout.write("unlocked\n")
        sys.stdout.flush()

    school.board.before_unlock = call_out
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    school.begin()
    while True:
        for number in range(1, PUPILS + 1):
            school.present(card(number))
            school.push()
            school.settle(0.6)


def kill_somewhere(folder: Path, after_s: float) -> int:
    """Let the victim live for a moment; how many unlocks it called out."""
    victim = subprocess.Popen([sys.executable, "-m", __name__, str(folder)], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    assert b"ready\n" == victim.stdout.readline()
    time.sleep(after_s)
    victim.send_signal(signal.SIGKILL)
    said = victim.stdout.read()
    victim.stdout.close()
    assert -signal.SIGKILL == victim.wait()
    return said.count(b"unlocked\n")


def check_chain(school: School) -> None:
    """No gap, no break, every entry signed."""
    previous, sequence = GENESIS, 0
    for entry in school.journal.entries_after(0, 100_000):
        assert (sequence + 1, previous) == (entry.sequence, entry.previous)
        entry.verify(TERMINAL_KEY.verifying_key)
        previous, sequence = entry.digest, entry.sequence


@pytest.mark.timeout(90)
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Between kills the server orders purges and references; the clock of the lane starts anew each time."""
    draw = random.Random(20261122)
    school = filled_school(tmp_path, pupils=PUPILS)
    for number in range(2, 60):
        school.order(reference_order(number, revision=number))
        school.order(purge_order(number))
    school.close()
    unlocked = 0
    for _ in range(KILLS):
        unlocked += kill_somewhere(tmp_path, draw.uniform(0.0, LONGEST_LIFE_S))
    school = School(tmp_path)
    try:
        check_chain(school)
        facts = school.facts
        granted = [fact.pass_id for fact in facts if isinstance(fact, PassGranted)]
        outcomes = Counter(f.pass_id for f in facts if isinstance(f, PassCompleted | PassAbandoned | PassUnresolved))
        assert unlocked > 0
        # A kill between journal and unlock leaves one more grant than unlocks, never the other way.
        assert unlocked <= len(granted) <= unlocked + KILLS
        assert Counter(granted) == outcomes
        meals = [fact.pupil for fact in facts if isinstance(fact, PassGranted)]
        assert len(set(meals)) == len(meals), "nobody eats twice"
        orders = Counter(f.number for f in facts if isinstance(f, OrderApplied | OrderRefused) and f.number > FILLED)
        assert set(orders.values()) <= {1}
        assert school.box.done_up_to == max(orders, default=FILLED)
        receipts = [fact for fact in facts if isinstance(fact, PurgeReceipt)]
        assert len({receipt.purge for receipt in receipts}) == len(receipts)
        assert all(receipt.record_digest is not None for receipt in receipts), "each names what was erased"
        assert receipts, "purges happened while it was killed"
        for receipt in receipts:
            assert school.store.pupil(receipt.pupil) is None
        denied = {fact.reason for fact in facts if isinstance(fact, PassDenied)}
        assert denied <= {Reason.ALREADY_SERVED, Reason.UNKNOWN_CARD}
        assert school.store.pupil(pupil_id(PUPILS)) is not None
    finally:
        school.close()


if __name__ == "__main__":
    lunch(Path(sys.argv[1]))
