"""A bad network between the school and its server: lost packets, resets, silence, a broker killed with what it had."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from demo.canteen import Canteen
from demo.people import Hand, Person, Way
from sync.facts import FactKind
from sync.pass_journal import JournalReader
from tests.conftest import wait_until
from tests.network_namespace import Network, own_network
from tests.running_canteen import running_canteen

PUPILS = 40

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def school() -> Iterator[tuple[Canteen, Network, Iterator[Person]]]:
    """A canteen in a network of its own, and its pupils, each to pass once."""
    people = [
        Person(f"pupil-{n}", f"Prénom{n}", f"Nom{n}", "6e A", Way.CARD, (Hand("1", synthetic=(1, 0)),) * 3)
        for n in range(PUPILS)
    ]
    with own_network() as network, running_canteen(people) as canteen:
        yield canteen, network, iter(people)


def let_pass(canteen: Canteen, pupils: Iterator[Person], count: int) -> None:
    for _ in range(count):
        person = next(pupils)
        wait_until(lambda: canteen.display().get("state") == "idle", what="rest")
        canteen.world.present_card(person.card)
        wait_until(canteen.world.push, 10, f"{person.key} to pass")


def all_recorded_once(canteen: Canteen) -> bool:
    """Every grant in the terminal's journal is in the ledger, once."""
    journal = JournalReader(canteen.layout.of("terminal") / "journal.sqlite")
    try:
        granted = Counter(e.body["pass"] for e in journal.entries_after(0, 100_000) if e.kind == FactKind.PASS_GRANTED)
    finally:
        journal.close()
    recorded = Counter(row["pass"] for row in canteen.billing.get("/api/passes", limit=5000)["passes"])
    assert max(recorded.values(), default=1) == 1
    return granted == recorded


def test_a_third_of_all_packets_lost(school: tuple[Canteen, Network, Iterator[Person]]) -> None:
    """Slow, but whole."""
    canteen, network, pupils = school
    network.lose(30, canteen.ports.broker)
    let_pass(canteen, pupils, 8)
    wait_until(lambda: all_recorded_once(canteen), 90, "the passes through the loss")
    network.heal()


def test_resets_in_the_middle_of_it(school: tuple[Canteen, Network, Iterator[Person]]) -> None:
    """The line is reset again and again while pupils pass."""
    canteen, network, pupils = school
    for _ in range(4):
        network.reset(canteen.ports.broker)
        let_pass(canteen, pupils, 1)
        network.heal()
        let_pass(canteen, pupils, 1)
        time.sleep(0.5)
    wait_until(lambda: all_recorded_once(canteen), 60, "the passes between the resets")


def test_silence_without_a_word(school: tuple[Canteen, Network, Iterator[Person]]) -> None:
    """No reset, no answer: noticed by the keep-alive, said on the screen, and made up for afterwards."""
    canteen, network, pupils = school
    network.swallow(canteen.ports.broker)
    let_pass(canteen, pupils, 3)
    wait_until(lambda: not canteen.display()["network"]["connected"], 60, "the screen to say so")
    let_pass(canteen, pupils, 3)
    network.heal()
    wait_until(lambda: all_recorded_once(canteen), 60, "the passes of the silence")


def test_a_broker_killed_with_acknowledged_messages_in_it(school: tuple[Canteen, Network, Iterator[Person]]) -> None:
    """The server is away, the broker has taken and acknowledged the passes, and is killed and loses its memory."""
    canteen, _, pupils = school
    canteen.programs["canteen-billing"].kill()
    let_pass(canteen, pupils, 6)
    time.sleep(1)
    canteen.kill_broker()
    for state in (canteen.layout.broker / "state").iterdir():
        state.unlink()
    canteen.start_broker()
    canteen.programs["canteen-billing"].start()
    wait_until(lambda: canteen.billing.answers("/api/health"), 30, "the server")
    wait_until(lambda: all_recorded_once(canteen), 60, "what the broker had lost")
