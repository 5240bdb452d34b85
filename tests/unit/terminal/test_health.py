"""The checks: all well on a healthy lane, each ill part is named, and they run by themselves when they should."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from canteen.clock import ManualClock
from firmware_bridge.devices import BoardLost, InputInterrupted, LossReason
from sync.errors import JournalUnavailable
from sync.facts import DeviceChecked
from sync.orders import CardBlocked
from sync.pass_journal import PassJournal
from terminal import device_checks, health
from terminal.devices import PlatenState
from terminal.findings import HealthReport, Verdict, told
from terminal.health import FREE_AT_RISK_BYTES
from terminal.verification import _glanced_at
from tests.unit.terminal.lane import NOON, School, card


def verdicts(report: HealthReport) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in report.checks}


def ailing(school: School) -> dict[str, Verdict]:
    """Everything that is not well."""
    found = verdicts(school.lane.checkup.run_now())
    return {name: verdict for name, verdict in found.items() if verdict is not Verdict.WELL}


@pytest.fixture
def well(school: School) -> School:
    """In contact, with a confirmed clock."""
    school.box.note_link(connected=True, now=school.clock.utc_now())
    school.box.note_contact(school.clock.utc_now(), school.clock.utc_now())
    return school


def test_healthy(well: School) -> None:
    """Every check is well, and says so in both languages with its values filled in."""
    report = well.lane.checkup.run_now()
    assert () == report.at_risk
    assert {Verdict.WELL} == set(verdicts(report).values())
    for check in report.checks:
        for words in (check.words.fr, check.words.en):
            assert words
            assert "{" not in words
        assert check.words.fr != check.words.en
    assert "3 élèves connus" in told([check.as_json() for check in report.checks], "fr")


def test_each_ill_part_is_named(well: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time."""
    well.hands.camera_works = False
    assert {"camera": Verdict.RISK} == ailing(well)
    well.hands.camera_works = True
    well.board.online = False
    assert {"board": Verdict.RISK} == ailing(well)
    well.board.online = True
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda _: os.statvfs_result((1, 1, 9, 9, FREE_AT_RISK_BYTES - 1, 9, 9, 9, 0, 255)))
        assert {"disk": Verdict.RISK} == ailing(well)
    with monkeypatch.context() as broken:
        broken.setattr(health, "known_answers", lambda: False)
        assert {"cryptography": Verdict.RISK} == ailing(well)
    with monkeypatch.context() as full:

        def no_room(*_: object) -> None:
            raise JournalUnavailable("disk full")

        full.setattr(PassJournal, "append_all", no_room)
        well.present(card(99))
        assert {"journal": Verdict.RISK} == ailing(well)


def test_closed_files_are_findings(well: School) -> None:
    """What does not answer at all is named with its error's kind, nothing is raised."""
    well.journal.close()
    well.box.close()
    well.store.close()
    assert {"store", "lease", "journal", "orders", "line", "clock"} <= set(ailing(well))


def test_clock_and_lease(well: School) -> None:
    """Days left are counted down; then hands are no longer compared; a clock set back stops lunch."""
    well.clock.advance(timedelta(days=5, hours=12).total_seconds())
    report = well.lane.checkup.run_now()
    (lease,) = [check for check in report.checks if check.name == "lease"]
    assert (Verdict.WATCH, 1.5) == (lease.verdict, lease.measured["days"])
    well.clock.advance(timedelta(days=2).total_seconds())
    assert Verdict.RISK is ailing(well)["lease"]
    well.clock.set_wall(NOON - timedelta(days=3))
    assert Verdict.RISK is ailing(well)["clock"]


def test_board_says_why(well: School) -> None:
    """The key, the line, the cover: each has its words."""
    for _ in range(device_checks.SHAKY_LINE + 1):
        well.board.report(InputInterrupted())
    assert {"board": Verdict.WATCH} == ailing(well)
    well.board.report(BoardLost(LossReason.KEY_REFUSED))
    well.board.online, well.board.loss = False, LossReason.KEY_REFUSED
    (board,) = [check for check in well.lane.checkup.run_now().checks if check.name == "board"]
    assert ("refused", 1) == (board.measured["key"], board.measured["losses"])
    assert "clé" in board.words.fr


def test_new_terminal_and_orders_waiting(quick_folder: Path, well: School) -> None:
    """Without pupils and calendar nobody eats; many orders waiting are noted."""
    (quick_folder / "fresh").mkdir()
    fresh = School(quick_folder / "fresh")
    assert {"store", "calendar", "board"} <= set(fresh.lane.checkup.run_now().at_risk)
    fresh.close()
    for _ in range(health.ORDERS_WAITING_MANY + 1):
        well.order(CardBlocked(card(3)))
    assert {"orders": Verdict.WATCH} == ailing(well)


@pytest.mark.parametrize(
    ("grey", "state"),
    [(0, PlatenState.TOO_DARK), (18, PlatenState.EMPTY), (60, PlatenState.EMPTY), (220, PlatenState.TOO_LIGHT)],
)
def test_platen(grey: int, state: PlatenState) -> None:
    """A covered lens, cloth, and a platen that is gone."""
    look = _glanced_at(np.full((1200, 1600, 3), grey, dtype=np.uint8))
    assert (state, "1600x1200") == (look.state, look.size_px)


def test_something_lies_on_the_platen() -> None:
    """A tenth of the picture is bright."""
    image = np.full((1200, 1600, 3), 18, dtype=np.uint8)
    image[:, :160] = 200
    assert PlatenState.SOMETHING_LIES is _glanced_at(image).state


@pytest.fixture
def examining(quick_folder: Path, filled_folder: Path) -> Iterator[School]:
    """A lane that examines itself, early on a Monday."""
    import shutil

    shutil.copytree(filled_folder, quick_folder / "terminal")
    school = School(quick_folder / "terminal", NOON.replace(hour=3), checkups=True)
    yield school.begin()
    school.close()


def pass_time(school: School, clock: ManualClock, hours: float) -> list[str]:
    """Let time go on by minutes; when checkups ran, as the school's clock said."""
    ran = []
    for _ in range(round(hours * 60)):
        clock.advance(60)
        before = school.lane.checkup.latest
        school.settle(0.5)
        school.lane.checkup.wait(5)
        latest = school.lane.checkup.latest
        if latest is not None and latest is not before:
            ran.append(latest.at.strftime("%H:%M"))
    return ran


def test_they_run_by_themselves(examining: School) -> None:
    """At the start, at seven, half an hour before the service (here in UTC); what is ill is looked at again."""
    ran = pass_time(examining, examining.clock, 9)
    assert ["03:01", "06:00", "10:00"] == [time[:4] + "0" if time > "03:01" else time for time in ran]
    examining.hands.camera_works = False
    examining.clock.advance(timedelta(hours=15).total_seconds())
    pass_time(examining, examining.clock, 0.1)
    assert ("camera",) == examining.screen.view.status.ill
    examining.hands.camera_works = True
    pass_time(examining, examining.clock, 0.2)
    told = [fact for fact in examining.facts_of(DeviceChecked) if isinstance(fact, DeviceChecked)]
    ill, well_again = told[-2:]
    assert (("camera",), ()) == (ill.at_risk, well_again.at_risk)
    assert ("101 ca57ee/7 1.2.3",) == ill.firmware
    assert len(told) < 8, "an ill part is told once, not every five minutes"
    assert not examining.screen.view.status.ill


def test_board_that_never_comes_is_found(quick_folder: Path, filled_folder: Path) -> None:
    """Out of service from the start: the screen's foot says what is ill, but not before the board had its time."""
    import shutil

    shutil.copytree(filled_folder, quick_folder / "terminal")
    school = School(quick_folder / "terminal", checkups=True)
    school.settle(1.0)
    assert school.lane.checkup.latest is None
    school.settle(3.0)
    school.lane.checkup.wait(5)
    school.settle(1.0)
    assert ("board",) == school.screen.view.status.ill
    school.close()
