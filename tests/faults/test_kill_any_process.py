"""kill -9 of any one process at any moment of a pass: no granted pass is lost, none is there twice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from demo.canteen import Canteen
from demo.people import Hand, Person, Way
from firmware_bridge.errors import FirmwareBridgeError
from sync.facts import FactKind
from sync.pass_journal import JournalReader
from tests.conftest import listening, wait_until
from tests.running_canteen import running_canteen

KILLS = int(os.environ.get("CANTEEN_KILLS", "50"))
"""How many; a thousand take half an hour."""
BY_HAND = 16
TARGETS = ("canteen-terminal", "canteen-sync-terminal", "canteen-billing", "broker", "peripheral", "canteen-station")


def people() -> list[Person]:
    """Enough pupils that each pass is somebody's first meal of the day."""
    return [
        Person(
            key=f"pupil-{number}",
            first_name=f"Prénom{number}",
            last_name=f"Nom{number}",
            class_name="6e A",
            way=Way.HAND if number < BY_HAND else Way.CARD,
            hands=tuple(Hand(str(sample), synthetic=(number + 1, sample)) for sample in range(4)),
        )
        for number in range(KILLS)
    ]


@pytest.fixture
def canteen() -> Iterator[Canteen]:
    with running_canteen(people()) as canteen:
        yield canteen


def come_and_pass(canteen: Canteen, person: Person, give_up: threading.Event) -> None:
    """A pupil who does not know that anything is killed: types or presents, pushes, and goes if nothing happens."""
    try:
        if person.way is Way.CARD:
            canteen.world.present_card(person.card)
        else:
            canteen.world.lay(person.probes[0], person.first_name)
            canteen.world.type_code(canteen.code_of(person))
        while not give_up.is_set() and not canteen.world.push():
            time.sleep(0.05)
    except (FirmwareBridgeError, OSError):
        pass  # the board itself was the one killed


def kill_and_restart(canteen: Canteen, target: str) -> None:
    if target == "broker":
        canteen.kill_broker()
        canteen.start_broker()
        wait_until(lambda: listening(canteen.ports.broker), what="the broker")
        return
    canteen.programs[target].kill()
    canteen.programs[target].start()


def at_rest(canteen: Canteen) -> bool:
    """Whether the lane is ready for the next pupil."""
    try:
        return bool(canteen.display().get("state") == "idle" and canteen.world.board().online)
    except (httpx.HTTPError, FirmwareBridgeError, OSError):
        return False


def server_answers(canteen: Canteen) -> bool:
    return canteen.billing.answers("/api/health")


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * KILLS)
def test_killed_again_and_again(canteen: Canteen) -> None:
    """After all of them every grant in the terminal's journal is in the ledger, once, and nobody passed without one."""
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)
    passages = 0
    for number, person in enumerate(canteen.people):
        target = TARGETS[number % len(TARGETS)]
        give_up = threading.Event()
        before = canteen.world.board().passages
        pupil = threading.Thread(target=come_and_pass, args=(canteen, person, give_up))
        pupil.start()
        time.sleep(dice.uniform(0, 0.9))
        if target == "peripheral":
            passages += canteen.world.board().passages - before
            before = 0
        kill_and_restart(canteen, target)
        pupil.join(timeout=4)
        give_up.set()
        pupil.join(timeout=10)
        canteen.world.lift()
        wait_until(lambda: at_rest(canteen), 60, f"rest after {target} ({number})")
        passages += canteen.world.board().passages - before
    wait_until(lambda: server_answers(canteen), 30, "the server")

    journal = JournalReader(canteen.layout.of("terminal") / "journal.sqlite")
    wait_until(lambda: journal.backlog == 0, 60, "the backlog")
    entries = journal.entries_after(0, 100_000)
    granted = Counter(entry.body["pass"] for entry in entries if entry.kind == FactKind.PASS_GRANTED)
    recorded = Counter(row["pass"] for row in canteen.billing.get("/api/passes", limit=5000)["passes"])
    assert granted == recorded
    assert set(granted.values()) == {1}
    assert len(granted) >= KILLS // 2, "most pupils got through in spite of it all"
    assert passages <= len(granted), "nobody walked through without a grant on record"
    assert [] == canteen.billing.get("/api/state")["alarms"]
    journal.close()
