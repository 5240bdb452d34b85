"""`kill -9` at any moment of a lunch: what the turnstile did is in the journal once; every order has one answer."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import pytest

from canteen.access_decision import Reason
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassUnresolved
from sync.facts import OrderApplied, OrderRefused, PurgeReceipt
from sync.messages import GENESIS
from tests.unit.terminal.lane import TERMINAL_KEY, School, card, filled_school, pupil_id
from tests.unit.terminal.test_orders import FILLED, purge_order, reference_order

PUPILS = 120
KILLS = 15
LONGEST_LIFE_S = 0.35
READY, UNLOCKED = b"r", b"u"


def lunch(folder: Path, told: BinaryIO) -> None:
    """The victim: pupils pass by card without end, orders are applied in between; each unlock is called out first."""
    school = School(folder)

    def call_out() -> None:
        told.write(UNLOCKED)

    school.board.before_unlock = call_out
    told.write(READY)
    school.begin()
    while True:
        for number in range(1, PUPILS + 1):
            school.present(card(number))
            school.push()
            school.settle(0.6)


def kill_somewhere(folder: Path, after_s: float) -> int:
    """Let a victim live for a moment; how many unlocks it called out."""
    hears, tells = os.pipe()
    victim = os.fork()
    if victim == 0:
        os.close(hears)
        with os.fdopen(tells, "wb", buffering=0) as told:
            lunch(folder, told)
    os.close(tells)
    with os.fdopen(hears, "rb", buffering=0) as heard:
        assert READY == heard.read(1)
        time.sleep(after_s)
        os.kill(victim, signal.SIGKILL)
        said = b"".join(iter(lambda: heard.read(4096), b""))
    assert (victim, signal.SIGKILL) == os.waitpid(victim, 0)
    return said.count(UNLOCKED)


def kill_again_and_again(folder: Path) -> int:
    """In a program of its own, which forks before it has any thread; all unlocks of all victims."""
    draw = random.Random(20261122)
    return sum(kill_somewhere(folder, draw.uniform(0.0, LONGEST_LIFE_S)) for _ in range(KILLS))


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
    school = filled_school(tmp_path, pupils=PUPILS)
    for number in range(2, 60):
        school.order(reference_order(number, revision=number))
        school.order(purge_order(number))
    school.close()
    unlocked = int(subprocess.check_output([sys.executable, "-m", __name__, str(tmp_path)]))
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
    sys.stdout.write(f"{kill_again_and_again(Path(sys.argv[1]))}\n")
