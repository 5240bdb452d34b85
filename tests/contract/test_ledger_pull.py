"""The pull interface: an OpenAPI document that holds, keys with rights by school, filters, formats, pace, audit."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import ignored_auth
from sqlalchemy import delete, select, update
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.clients import Pace
from billing_server.feed_positions import LEAP
from billing_server.models import Alarm, Audit, FeedPosition, MealPassRow
from canteen.clock import ManualClock
from canteen.identifiers import new_pass_id
from canteen.meal_pass import PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from tests.unit.billing_server.ledger_bench import MONDAY_NOON, TODAY, LedgerBench, SqliteFiles, denied, granted

pytest_plugins = ("tests.unit.billing_server.databases",)

OURS, ANOTHERS = "0751234X", "0759999Z"


def fill(bench: LedgerBench) -> None:
    """Two days, two periods, denials, and an outcome that came later."""
    terminal, pupil = bench.device("terminal-1"), bench.pupil()
    for number in range(12):
        grant = granted(pupil)
        terminal.note(grant, PassCompleted(grant.pass_id), denied(pupil if number % 2 else None))
    tomorrow = ServiceMoment(TODAY + timedelta(days=1), "soir")
    terminal.note(*(PassGranted(new_pass_id(), pupil, PassMethod.CARD, tomorrow, None) for _ in range(3)))
    bench.send(terminal)


@pytest.fixture
def central(bench: LedgerBench) -> Iterator[TestClient]:
    """A central server with a key for this school and another."""
    fill(bench)
    key = bench.services.clients.add("département", (OURS, ANOTHERS))
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {key}"}) as client:
        yield client


def audited(bench: LedgerBench) -> list[tuple[str, str, str]]:
    with bench.services.database.reading() as session:
        return [(row.operator, row.action, row.subject) for row in session.scalars(select(Audit).order_by(Audit.id))]


def test_read_on_from_the_last_position(central: TestClient) -> None:
    """In pages of four: each pass once, in order, and the end is said."""
    seen: list[int] = []
    after, more = 0, True
    while more:
        page = central.get(f"/api/pull/schools/{OURS}/passes", params={"after": after, "limit": 4}).json()
        seen += [item["position"] for item in page["passes"]]
        after, more = page["next"], page["more"]
    assert list(range(1, 16)) == seen
    assert {"passes": [], "next": 15, "more": False} == central.get(
        f"/api/pull/schools/{OURS}/passes", params={"after": 15}
    ).json()


@pytest.mark.parametrize("mark", ["kept", "lost", "damaged", "not an object"])
def test_a_ledger_put_back_gives_no_position_twice(bench: LedgerBench, mark: str) -> None:
    """By whatever means it was put back: the server kept beside it how far a client had read."""
    terminal, pupil = bench.device("terminal-1"), bench.pupil()
    key = bench.services.clients.add("département", (OURS,))
    bench.send(terminal, terminal.note(*(granted(pupil) for _ in range(3))))
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {key}"}) as client:
        assert 3 == client.get(f"/api/pull/schools/{OURS}/passes").json()["next"]
    with bench.services.database.writing() as session:  # as the backup of this morning has it
        session.execute(delete(MealPassRow))
        session.execute(update(FeedPosition).values(last=0))
    beside = bench.folder / "positions-given.json"
    assert {"passes": 3} == json.loads(beside.read_text())
    if mark == "lost":
        beside.unlink()
    elif mark != "kept":
        beside.write_text({"damaged": "{", "not an object": "[3]"}[mark])
    for _ in range(2):  # a second start finds nothing amiss
        bench.restart()
        bench.services.start()
        bench.services.stop()
    bench.restart()
    bench.send(terminal, terminal.note(*(granted(pupil) for _ in range(3))))
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {key}"}) as client:
        new = client.get(f"/api/pull/schools/{OURS}/passes", params={"after": 3}).json()["passes"]
    known = mark == "kept"
    assert ([LEAP + 1, LEAP + 2, LEAP + 3] if known else []) == [item["position"] for item in new]
    with bench.services.database.reading() as session:
        raised = session.scalars(select(Alarm.times).where(Alarm.kind == "server-restored")).all()
    assert ([1] if known else []) == raised


def test_a_full_disk_stops_no_client(bench: LedgerBench, central: TestClient) -> None:
    """Where no mark can be kept, the rows are given all the same."""
    (bench.folder / "positions-given.new").mkdir()
    assert 15 == central.get(f"/api/pull/schools/{OURS}/passes").json()["next"]


def test_filters_by_day_and_period(central: TestClient) -> None:
    """Positions stay those of the whole feed, so the cursor holds under a filter too."""
    address = f"/api/pull/schools/{OURS}/passes"
    assert 12 == len(central.get(address, params={"day": TODAY.isoformat()}).json()["passes"])
    evening = central.get(address, params={"period": "soir"}).json()
    assert [13, 14, 15] == [item["position"] for item in evening["passes"]]
    assert [] == central.get(address, params={"period": "soir", "day": TODAY.isoformat()}).json()["passes"]
    assert [] == central.get(address, params={"period": "midi\x00"}).json()["passes"]
    outcomes = central.get(f"/api/pull/schools/{OURS}/outcomes", params={"period": "midi", "limit": 5}).json()
    assert (5, 5, True) == (len(outcomes["outcomes"]), outcomes["next"], outcomes["more"])
    assert 12 == len(
        central.get(f"/api/pull/schools/{OURS}/denials", params={"day": TODAY.isoformat()}).json()["denials"]
    )


def test_three_formats_say_the_same(central: TestClient) -> None:
    """CSV and JSON lines say in a header where to go on."""
    address = f"/api/pull/schools/{OURS}/passes"
    items = central.get(address, params={"limit": 3}).json()["passes"]
    lines = central.get(address, params={"limit": 3, "format": "jsonl"})
    assert items == [json.loads(line) for line in lines.text.splitlines()]
    sheet = central.get(address, params={"limit": 3, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [{k: "" if v is None else str(v) for k, v in item.items()} for item in items] == rows
    assert ["3", "3"] == [lines.headers["Canteen-Next"], sheet.headers["Canteen-Next"]]


def test_a_key_reads_its_schools_and_nothing_else(bench: LedgerBench, central: TestClient) -> None:
    """Another school: 403; a school that is elsewhere: 404; the staff's pages and interface: 401; each on record."""
    assert [{"uai": OURS, "name": "Collège des Tilleuls"}] == central.get("/api/pull/schools").json()
    assert 404 == central.get(f"/api/pull/schools/{ANOTHERS}/passes").status_code
    assert 403 == central.get("/api/pull/schools/0751111B/passes").status_code
    for path in ("/api/pupils", "/api/passes", "/", "/eleves", "/api/openapi.json"):
        assert 401 == central.get(path).status_code
    operator = bench.services.operators.add("Mme Roux")
    for token in (operator, "wrong", ""):
        refused = central.get("/api/pull/schools", headers={"Authorization": f"Bearer {token}"})
        assert (401, "Bearer") == (refused.status_code, refused.headers["WWW-Authenticate"])
    assert [
        ("client département", "client-pulled", "schools"),
        ("client département", "client-refused", f"{ANOTHERS} is not here"),
        ("client département", "client-refused", "0751111B"),
    ] == audited(bench)


def test_every_pull_is_on_record(bench: LedgerBench, central: TestClient) -> None:
    central.get(f"/api/pull/schools/{OURS}/passes", params={"after": 7})
    central.get(f"/api/pull/schools/{OURS}/denials")
    assert [
        ("client département", "client-pulled", f"{OURS} passes after 7"),
        ("client département", "client-pulled", f"{OURS} denials after 0"),
    ] == audited(bench)


def test_a_wrong_question_is_on_record_too(bench: LedgerBench, central: TestClient) -> None:
    """Once, and not what was asked: it may be anything."""
    for limit in (0, "many"):
        assert 422 == central.get(f"/api/pull/schools/{OURS}/passes", params={"limit": limit}).status_code
    assert [("client département", "client-refused", "invalid")] == audited(bench)


def test_too_fast_is_told_when_to_come_back(bench: LedgerBench, central: TestClient) -> None:
    """A quarter of a minute's worth at once, then evenly; the refusal is on record once, not a thousand times."""
    answers = [central.get("/api/pull/schools") for _ in range(33)]
    assert [200] * 30 + [429] * 3 == [answer.status_code for answer in answers]
    wait_s = int(answers[-1].headers["Retry-After"])
    assert 1 <= wait_s <= 2
    assert 1 == sum(action == "client-refused" for _, action, _ in audited(bench))
    bench.clock.advance(wait_s)
    assert 200 == central.get("/api/pull/schools").status_code


def test_one_client_does_not_slow_another() -> None:
    clock = ManualClock(MONDAY_NOON)
    pace = Pace(4, clock)
    assert [0, 15, 0] == [pace.wait_s("a"), pace.wait_s("a"), pace.wait_s("b")]
    clock.advance(15)
    assert 0 == pace.wait_s("a")


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=5001", "day=yesterday", "format=xml", "period="])
def test_what_is_wrong_is_said_without_repeating_it(central: TestClient, query: str) -> None:
    answer = central.get(f"/api/pull/schools/{OURS}/passes?{query}")
    assert 422 == answer.status_code
    assert query.partition("=")[2] not in json.dumps(answer.json()["problems"]) or query.startswith(
        ("after", "limit", "period")
    )


def test_a_cell_is_no_formula(bench: LedgerBench) -> None:
    """What a terminal's staff typed must not run in the accountant's spreadsheet."""
    terminal, pupil = bench.device("terminal-1"), bench.pupil()
    forced = PassGranted(
        new_pass_id(), pupil, PassMethod.VOUCHED, ServiceMoment(TODAY, "midi"), None, forced_because="=1+1"
    )
    bench.send(terminal, terminal.note(forced))
    key = bench.services.clients.add("département", (OURS,))
    with TestClient(make_app(bench.services), headers={"Authorization": f"Bearer {key}"}) as client:
        assert ",'=1+1," in client.get(f"/api/pull/schools/{OURS}/passes?format=csv").text


@pytest.fixture(scope="module")
def filled_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, str]]:
    """A filled server that lets its client ask as fast as it can, and the client's key."""
    folder = tmp_path_factory.mktemp("pull")
    bench = LedgerBench(folder, SqliteFiles(folder).fresh(), pulls_per_minute=100_000)
    fill(bench)
    yield make_app(bench.services), bench.services.clients.add("département", (OURS,))
    bench.close()


def test_every_answer_is_as_the_document_says(filled_app: tuple[FastAPI, str]) -> None:
    """Whatever is asked of every operation: a status and a shape of the document, and never a fault of ours."""
    app, key = filled_app
    headers = {"Authorization": f"Bearer {key}"}
    schema = schemathesis.openapi.from_asgi("/api/pull/openapi.json", app, headers=headers)
    asked: Counter[str] = Counter()
    answered: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # an invalid operation fails right here
        cases = st.one_of(
            operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        )

        @given(case=cases)
        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            case.headers = {**(case.headers or {}), **headers}
            answer = case.call()
            case.validate_response(answer, excluded_checks=[ignored_auth])  # the key is always ours here
            asked[case.operation.path] += 1
            answered[answer.status_code] += 1

        ask()
    assert 4 == len(asked)
    assert {200} <= set(answered) <= {200, 401, 403, 404, 405, 422}
