"""Who ate at another terminal does not eat here: checked entry by entry, and never at a pupil's expense."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from canteen.access_decision import Reason
from canteen.clock import ClockTrust
from canteen.identifiers import DeviceId, new_pass_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.facts import Fact
from sync.messages import JournalEntry
from sync.orders import DevicesOrder
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
from terminal.pass_machine import State
from tests.unit.terminal.lane import (
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    NOON,
    STATION,
    STATION_KEY,
    TERMINAL,
    TERMINAL_KEY,
    School,
    card,
    devices_order,
    pupil_id,
)

MIDDAY = ServiceMoment(NOON.date(), "midi")


def grant(number: int, moment: ServiceMoment = MIDDAY) -> PassGranted:
    return PassGranted(new_pass_id(), pupil_id(number), PassMethod.CARD, moment, None)


class Next:
    """The neighbour's pen."""

    def __init__(
        self, folder: Path, school: School, device: DeviceId = NEIGHBOUR, key: SigningKey = NEIGHBOUR_KEY
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._journal = PassJournal(folder / f"{device}.{key.verifying_key.octets.hex()[:6]}.sqlite", device, key)
        self._school = school

    def writes(self, *facts: Fact) -> list[JournalEntry]:
        return self._journal.append_all(list(facts), self._school.clock.utc_now(), ClockTrust.TRUSTED)

    def tells(self, *facts: Fact) -> None:
        self._school.box.put_neighbours(self.writes(*facts))
        self._school.settle(1.0)


@pytest.fixture
def neighbour(tmp_path: Path, school: School) -> Next:
    return Next(tmp_path / "next", school)


def test_served_there_is_served_here(school: School, neighbour: Next) -> None:
    """Open or completed, by card or code; others eat."""
    first, second = grant(1), grant(2)
    neighbour.tells(first, second, PassCompleted(second.pass_id))
    for number in (1, 2):
        school.present(card(number))
        assert Reason.ALREADY_SERVED.value == school.screen.view.reason
        school.settle(3)
    school.present(card(3))
    assert school.is_in(State.PASSAGE_OPEN)


def test_abandoned_there_is_due_here(school: School, neighbour: Next) -> None:
    """The child stepped back at the other turnstile; telling the grant again changes nothing."""
    first = grant(2)
    neighbour.tells(first)
    neighbour.tells(PassAbandoned(first.pass_id))
    neighbour.tells(first)
    school.present(card(2))
    assert school.is_in(State.PASSAGE_OPEN)


def test_heard_again_after_a_start(school: School, neighbour: Next) -> None:
    """The box keeps it; a terminal that starts in the middle of lunch asks nobody."""
    neighbour.tells(grant(2))
    school.close()
    school.open()
    school.begin()
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


@pytest.mark.parametrize(
    ("device", "key", "why"),
    [
        (DeviceId("terminal-9"), NEIGHBOUR_KEY, "unknown"),
        (NEIGHBOUR, SigningKey(b"x" * 32), "bad-signature"),
        (STATION, STATION_KEY, "unknown"),
        (TERMINAL, TERMINAL_KEY, "unknown"),
    ],
)
def test_refused_and_said_once(
    school: School, tmp_path: Path, caplog: pytest.LogCaptureFixture, device: DeviceId, key: SigningKey, why: str
) -> None:
    """Unknown, badly signed, a station, or ourselves from outside: no meal is lost to it."""
    liar = Next(tmp_path / "liar", school, device, key)
    liar.tells(grant(2))
    liar.tells(grant(3))
    assert 1 == caplog.text.count(f"under the name of {device} are refused: {why}")
    for number in (2, 3):
        school.present(card(number))
        assert school.push()


def test_nobody_settles_anothers_pass(school: School, neighbour: Next) -> None:
    """A neighbour that says our open pass was abandoned frees no second meal."""
    school.present(card(2))
    school.push()
    (ours,) = school.facts_of(PassGranted)
    assert isinstance(ours, PassGranted)
    neighbour.tells(PassAbandoned(ours.pass_id))
    school.settle(1.0)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


def test_neighbour_with_a_wrong_clock(school: School, neighbour: Next) -> None:
    """Passes of a far day neither count nor age our own table."""
    school.present(card(2))
    school.push()
    far = ServiceMoment(NOON.date() + timedelta(days=400), "midi")
    neighbour.tells(grant(3, far), grant(1, ServiceMoment(NOON.date() - timedelta(days=7), "midi")))
    school.settle(1.0)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


def test_neighbour_known_later(school: School, tmp_path: Path) -> None:
    """What was refused because its terminal was unknown counts once the devices order has come."""
    key = SigningKey(b"n" * 32)
    late = Next(tmp_path / "late", school, DeviceId("terminal-3"), key)
    late.tells(grant(2))
    known = devices_order().devices
    entry = replace(known[0], device=DeviceId("terminal-3"), verifying_key=key.verifying_key)
    school.order(DevicesOrder((*known, entry)))
    school.settle(2.0)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


def test_rubbish_in_the_box(school: School, neighbour: Next) -> None:
    """A row that is no entry is passed over; what comes after it is heard."""
    (entry,) = neighbour.writes(grant(1))
    school.box.put_neighbours([entry])
    with sqlite3.connect(school.folder / "orders.sqlite") as spoiling:
        spoiling.execute("UPDATE neighbour SET wire = x'00'")
    spoiling.close()
    neighbour.tells(grant(2))
    school.settle(2.0)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason
    school.settle(3)
    school.present(card(3))
    assert school.is_in(State.PASSAGE_OPEN)


def test_no_pupil_waits_for_news(school: School, neighbour: Next) -> None:
    """While an answer is due nothing is read; what waits is read in short pieces and stops at the first key."""
    school.box.put_neighbours(neighbour.writes(*(grant(1000 + n) for n in range(300))))
    school.type_code(1)
    assert school.is_in(State.AWAITING_HAND)
    listened: list[bool] = []
    hear = school.lane.runner._hear_neighbours
    school.lane.runner._hear_neighbours = lambda may_go_on: listened.append(True) or hear(may_go_on)  # type: ignore[func-returns-value]  # noted, then done
    school.settle(3.0)
    assert [] == listened
    school.board.correct()
    school.settle()
    school.board.type("1")
    assert hear(lambda: school.lane.inbox.empty)  # a key waits: nothing is read, and it is said that more waits
    school.settle(30.0)
    assert not hear(lambda: True)
