"""Staff's word lets a pupil through: recorded as forced before anything opens, whatever else is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from canteen.access_decision import Reason
from canteen.clock import ClockTrust
from canteen.identifiers import PupilId
from canteen.meal_pass import PassAbandoned, PassCompleted, PassDenied, PassGranted, PassMethod, PassUnresolved
from canteen.operator_access import Operator, token_digest
from firmware_bridge.devices import BoardLost, BoardRecovered, CommandOutcome, LossReason
from sync.errors import JournalUnavailable
from sync.pass_journal import PassJournal
from terminal.configuration import read_configuration
from terminal.display.server import ScreenServer
from terminal.display.staff import OUTCOMES, StaffDoor, StaffPages, StaffSettings
from terminal.display.view import Tone
from terminal.errors import ConfigurationRefused
from terminal.pass_machine import State
from terminal.staff_access import add_person
from terminal.vouching import REASONS, VouchOutcome, VouchReason
from tests.unit.terminal.lane import NOON, School, card, hand_of, pupil_id
from tests.unit.terminal.programs import TerminalProgram

WHO = "Mme Martin"


def vouch(school: School, number: int, reason: VouchReason = VouchReason.HAND_NOT_READ) -> VouchOutcome:
    """Ask, let the lane do what it does, and hear the answer."""
    asked = school.lane.vouch_desk.ask(pupil_id(number), f"Prénom{number}", reason, WHO)
    school.settle()
    return school.lane.vouch_desk.outcome_of(asked)


def forced(school: School) -> list[PassGranted]:
    return [fact for fact in school.facts if isinstance(fact, PassGranted) and fact.method is PassMethod.VOUCHED]


def test_through_and_on_record(school: School) -> None:
    """The same machine: journal, unlock, passage; who and why stand in the fact."""
    journalled: list[int] = []
    school.board.before_unlock = lambda: journalled.append(len(forced(school)))
    assert VouchOutcome.OPENED is vouch(school, 2)
    assert (State.PASSAGE_OPEN, Tone.GRANTED) == (school.state, school.screen.view.tone)
    assert [1] == journalled
    assert school.push()
    (fact,) = forced(school)
    assert f"hand-not-read ({WHO})" == fact.forced_because
    assert ("midi", pupil_id(2)) == (fact.moment.period, fact.pupil)
    assert isinstance(school.facts[-1], PassCompleted)
    assert 1 == school.lane.vouch_desk.vouched_today("Europe/Paris")


@pytest.mark.parametrize("state", ["typing-code", "awaiting-hand", "guiding", "showing-denial"])
def test_from_every_state_in_which_a_pupil_stands_there(school: School, state: str) -> None:
    """Nobody has to wait for a deadline first."""
    if state == "typing-code":
        school.board.type("1")
        school.settle()
    elif state == "showing-denial":
        school.present(card(99))
    else:
        school.type_code(1)
    if state == "guiding":
        school.lay(hand_of(2))
        school.hands.lift()
    assert school.is_in(State(state))
    assert VouchOutcome.OPENED is vouch(school, 1)


def test_while_another_goes_through(school: School) -> None:
    """Kept until the passage is free; the one who passes is not disturbed."""
    school.present(card(2))
    number = school.lane.vouch_desk.ask(pupil_id(3), "Prénom3", VouchReason.CARD_FORGOTTEN, WHO)
    school.settle(1.0)
    assert VouchOutcome.WAITING is school.lane.vouch_desk.outcome_of(number)
    assert school.push()
    assert VouchOutcome.OPENED is school.lane.vouch_desk.outcome_of(number)
    assert 2 == school.board.unlocks


def test_too_late_opens_nothing(school: School) -> None:
    """Asked while the lane was busy for long: the answer says so, and no gate opens for nobody."""
    school.present(card(2))
    number = school.lane.vouch_desk.ask(pupil_id(3), "Prénom3", VouchReason.CARD_FORGOTTEN, WHO)
    school.settle(30.0)
    assert VouchOutcome.TOO_LATE is school.lane.vouch_desk.outcome_of(number)
    assert 1 == school.board.unlocks


def test_served_already(school: School) -> None:
    """One meal a service, unless staff say that the first was none."""
    assert VouchOutcome.OPENED is vouch(school, 2)
    school.push()
    assert VouchOutcome.ALREADY_SERVED is vouch(school, 2)
    denied = school.facts[-1]
    assert isinstance(denied, PassDenied)
    assert (PassMethod.VOUCHED, Reason.ALREADY_SERVED) == (denied.method, denied.reason)
    assert VouchOutcome.OPENED is vouch(school, 2, VouchReason.SECOND_PASSAGE)


def test_clock_not_trusted(school: School) -> None:
    """Cards are denied, staff's word opens, and the journal says how far the hour may be believed."""
    school.present(card(3))
    school.push()
    school.clock.set_wall(NOON - timedelta(days=3))
    school.present(card(2))
    assert Reason.CLOCK_UNTRUSTED.value == school.screen.view.reason
    assert VouchOutcome.OPENED is vouch(school, 2)
    (entry,) = [entry for entry in school.journal.entries_after(0) if entry.body.get("method") == "vouched"]
    assert ClockTrust.UNTRUSTED is entry.clock_trust


def test_no_calendar_yet(quick_folder: Path) -> None:
    """A terminal on its first day serves on staff's word alone."""
    school = School(quick_folder).begin()
    assert VouchOutcome.OPENED is vouch(school, 7, VouchReason.NOT_ON_THE_LIST)
    assert ["hors-service"] == [fact.moment.period for fact in forced(school)]
    school.close()


def test_five_minutes_early(school: School) -> None:
    """It is that service's meal, so that the pupil eats it once."""
    school.clock.set_wall(NOON.replace(hour=10, minute=25))
    vouch(school, 2)
    school.push()
    school.clock.set_wall(NOON)
    school.settle(2)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


def test_camera_and_store_lost(school: School) -> None:
    """Neither is needed."""
    school.hands.camera_works = False
    school.store.close()
    assert VouchOutcome.OPENED is vouch(school, 2)
    assert school.push()


def test_board_lost(school: School) -> None:
    """Staff open by hand: the meal is on record, as seen by no turnstile, and nothing opens when the board is back."""
    school.board.online = False
    school.board.report(BoardLost(LossReason.SILENT))
    assert VouchOutcome.RECORDED is vouch(school, 2)
    assert [PassGranted, PassUnresolved] == [type(fact) for fact in school.facts[-2:]]
    assert school.is_in(State.OUT_OF_SERVICE)
    school.board.online = True
    school.board.report(BoardRecovered())
    school.settle(3)
    assert (State.IDLE, 0) == (school.state, school.board.unlocks)
    school.present(card(2))
    assert Reason.ALREADY_SERVED.value == school.screen.view.reason


@pytest.mark.parametrize(
    ("answer", "outcome", "fact"),
    [
        (CommandOutcome.REFUSED, VouchOutcome.NOT_OPENED, PassAbandoned),
        (CommandOutcome.BOARD_LOST, VouchOutcome.RECORDED, PassUnresolved),
    ],
)
def test_turnstile_that_does_not_obey(
    school: School, answer: CommandOutcome, outcome: VouchOutcome, fact: type[PassAbandoned | PassUnresolved]
) -> None:
    """Refused: the meal is still due. Nobody knows: it counts, and staff open by hand."""
    school.board.answers = answer
    assert outcome is vouch(school, 2)
    assert isinstance(school.facts[-1], fact)


@pytest.mark.parametrize("lost", [False, True])
def test_journal_that_takes_nothing(school: School, monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    """Then not even staff's word opens; they are told to write the name down."""

    def full(*_: object) -> None:
        raise JournalUnavailable("disk full")

    if lost:
        school.board.report(BoardLost(LossReason.SILENT))
    monkeypatch.setattr(PassJournal, "append_all", full)
    assert VouchOutcome.NOT_RECORDED is vouch(school, 2)
    assert 0 == school.board.unlocks


# The page

TOKEN = "t" * 32


@pytest.fixture
def pages(school: School) -> Iterator[httpx.Client]:
    settings = StaffSettings((Operator(WHO, token_digest(TOKEN)),), 5)
    staff = StaffPages(settings, school.clock.monotonic_s)
    server = ScreenServer("127.0.0.1", 0, production=True, more=staff.routes)
    desk, checkup = school.lane.vouch_desk, school.lane.checkup
    staff.open(StaffDoor(desk, school.store, lambda: "Europe/Paris", checkup, school.box, list))
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client
    server.close()


def test_page_from_the_link_to_the_open_gate(pages: httpx.Client, school: School) -> None:
    """The link is exchanged for a session; the list has no last name; the pupil passes; the count is shown."""
    assert 401 == pages.get("/personnel/eleves").status_code
    entered = pages.get("/personnel/entrer", params={"jeton": TOKEN})
    assert (303, "/personnel") == (entered.status_code, entered.headers["location"])
    assert TOKEN not in entered.headers["set-cookie"]
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert WHO == pages.get("/personnel/mots").json()["who"]
    listed = pages.get("/personnel/eleves").json()
    assert (0, 5) == (listed["vouched_today"], listed["daily_quota"])
    assert {"pupil": pupil_id(1), "first_name": "Prénom1", "class_name": "6A"} == listed["pupils"][0]
    asked = pages.post("/personnel/passage", json={"pupil": pupil_id(1), "reason": "card-forgotten"})
    number = asked.json()["number"]
    assert "waiting" == pages.get(f"/personnel/passage/{number}").json()["outcome"]
    school.settle()
    assert "opened" == pages.get(f"/personnel/passage/{number}").json()["outcome"]
    assert 1 == pages.get("/personnel/eleves").json()["vouched_today"]
    assert [f"card-forgotten ({WHO})"] == [fact.forced_because for fact in forced(school)]


def test_session_ends_by_itself_and_by_hand(pages: httpx.Client, school: School) -> None:
    """A kiosk is shared with pupils."""
    pages.get("/personnel/entrer", params={"jeton": TOKEN})
    school.clock.advance(170)
    assert 200 == pages.get("/personnel/eleves").status_code
    school.clock.advance(181)
    assert 401 == pages.get("/personnel/eleves").status_code
    assert 200 == pages.post("/personnel/entrer", json={"jeton": TOKEN}).status_code
    assert 200 == pages.post("/personnel/sortir", json={}).status_code
    assert 401 == pages.get("/personnel/eleves").status_code


@pytest.mark.parametrize("token", ["", "x", TOKEN + "t", "é" * 500])
def test_wrong_link(pages: httpx.Client, token: str) -> None:
    """Nothing is given, nothing breaks."""
    pages.get("/personnel/entrer", params={"jeton": token})
    assert pages.get("/personnel/mots").json()["who"] is None
    assert 401 == pages.post("/personnel/entrer", json={"jeton": token}).status_code
    assert 401 == pages.post("/personnel/passage", json={"pupil": pupil_id(1), "reason": "card-forgotten"}).status_code


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"pupil": pupil_id(77), "reason": "card-forgotten"}, 404),
        ({"pupil": pupil_id(1), "reason": "because"}, 422),
        ({"pupil": "../1", "reason": "card-forgotten"}, 422),
        ({}, 422),
    ],
)
def test_nonsense_is_refused(pages: httpx.Client, school: School, body: dict[str, str | PupilId], status: int) -> None:
    """No request of that kind reaches the lane."""
    pages.get("/personnel/entrer", params={"jeton": TOKEN})
    assert status == pages.post("/personnel/passage", json=body).status_code
    school.settle()
    assert [] == forced(school)


def test_other_pages_ask_in_vain(pages: httpx.Client) -> None:
    """Another origin, another type, or too much of it."""
    pages.get("/personnel/entrer", params={"jeton": TOKEN})
    body = json.dumps({"pupil": pupil_id(1), "reason": "card-forgotten"})
    kinds = [
        {"content-type": "application/json", "origin": "http://evil.example"},
        {"content-type": "text/plain"},
        {},
    ]
    for headers in kinds:
        assert 403 == pages.post("/personnel/passage", content=body, headers=headers).status_code
    long = body[:-1] + ', "x": "' + "y" * 5000 + '"}'
    headers = {"content-type": "application/json"}
    assert 403 == pages.post("/personnel/passage", content=long, headers=headers).status_code


def test_every_outcome_and_reason_has_its_words() -> None:
    """What the page can be told, it can say."""
    assert set(VouchOutcome) == set(OUTCOMES)
    assert set(VouchReason) == set(REASONS)


def test_link_is_made_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    """Appended to a file of 0600, read back, refused twice, refused where others can read or write."""
    program = TerminalProgram(tmp_path)
    with pytest.raises(ConfigurationRefused, match="chmod 600"):
        add_person(program.config, read_configuration(program.config), WHO)
    program.config.chmod(0o600)
    link = add_person(program.config, read_configuration(program.config), WHO)
    token = link.partition("jeton=")[2]
    configuration = read_configuration(program.config)
    assert (Operator(WHO, token_digest(token)),) == configuration.staff.people
    assert token not in program.config.read_text(encoding="utf-8")
    add_person(program.config, configuration, 'M. "Ours" \\ é')
    assert 2 == len(read_configuration(program.config).staff.people)
    with pytest.raises(ConfigurationRefused, match="has a link"):
        add_person(program.config, read_configuration(program.config), WHO)
    with pytest.raises(ConfigurationRefused, match="characters"):
        add_person(program.config, configuration, " ")
    program.config.chmod(0o640)
    with pytest.raises(ConfigurationRefused, match="open to others"):
        read_configuration(program.config)


def test_the_stick_is_for_staff(pages: httpx.Client, school: School) -> None:
    """Nobody without a link, no other page's form; then the wish waits for the program with the network."""
    assert 401 == pages.get("/personnel/cle").status_code
    assert 401 == pages.post("/personnel/cle", json={}).status_code
    pages.get("/personnel/entrer", params={"jeton": TOKEN})
    assert 403 == pages.post("/personnel/cle", data={"a": "b"}).status_code
    assert not school.box.stick_asked
    assert {"waits": False, "visit": None} == pages.get("/personnel/cle").json()
    assert {"waits": True, "visit": None} == pages.post("/personnel/cle", json={}).json()
    assert school.box.stick_asked
