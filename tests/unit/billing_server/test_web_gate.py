"""The door: who gets in, what may change something, how large it may be, and what no answer may repeat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from billing_server.app import make_app
from billing_server.gate import COOKIE
from billing_server.models import Audit
from tests.unit.billing_server.ledger_bench import LedgerBench

pytest_plugins = ("tests.unit.billing_server.databases",)

OURS = "http://testserver"


@pytest.fixture
def token(small_bench: LedgerBench) -> str:
    return small_bench.services.operators.add("Mme Roux")


@pytest.fixture
def stranger(small_bench: LedgerBench) -> Iterator[TestClient]:
    with TestClient(make_app(small_bench.services), follow_redirects=False) as client:
        yield client


@pytest.fixture
def browser(stranger: TestClient, token: str) -> TestClient:
    stranger.get(f"/entrer?jeton={token}")
    return stranger


@pytest.fixture
def program(stranger: TestClient, token: str) -> TestClient:
    stranger.headers["Authorization"] = f"Bearer {token}"
    return stranger


def actions(bench: LedgerBench) -> list[tuple[str, str, str]]:
    with bench.services.database.reading() as session:
        rows = session.scalars(select(Audit).order_by(Audit.id))
        return [(row.operator, row.action, row.subject) for row in rows]


def pupil_body(**changes: object) -> list[dict[str, object]]:
    body = {"first_name": "Léa", "last_name": "Martin", "class_name": "5eB", "entitlements": []}
    return [{**body, **changes}]


@pytest.mark.parametrize("path", ["/", "/eleves", "/purges", "/appareils", "/alarmes", "/direct", "/purges/direct"])
def test_no_page_without_a_link(stranger: TestClient, path: str) -> None:
    """A sentence says how to get one."""
    answer = stranger.get(path, headers={"Accept-Language": "fr"})
    assert 401 == answer.status_code
    assert "Accès réservé au personnel" in answer.text


@pytest.mark.parametrize(
    "path", ["/api/state", "/api/pupils", "/api/passes", "/api/purges", "/api/openapi.json", "/api/nothing"]
)
def test_no_machine_interface_without_a_token(stranger: TestClient, path: str) -> None:
    assert 401 == stranger.get(path).status_code
    assert 401 == stranger.get(path, headers={"Authorization": "Bearer wrong"}).status_code
    assert 401 == stranger.get(path, headers={"Cookie": f"{COOKIE}=wrong"}).status_code


def test_health_says_ready_and_nothing_else(stranger: TestClient) -> None:
    """Anyone may ask it."""
    answer = stranger.get("/api/health")
    assert (200, {"ready": True}) == (answer.status_code, answer.json())


def test_the_link_becomes_a_cookie_no_script_reads(stranger: TestClient, token: str) -> None:
    """HttpOnly, SameSite=Strict; the token leaves the address bar by the redirect."""
    answer = stranger.get(f"/entrer?jeton={token}")
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert 200 == stranger.get("/").status_code


def test_a_wrong_link_opens_nothing(stranger: TestClient) -> None:
    assert 401 == stranger.get("/entrer?jeton=wrong").status_code


def test_a_file_of_operators_that_others_can_read_lets_nobody_in(small_bench: LedgerBench, program: TestClient) -> None:
    """Whoever reads digests may write them too: better nobody than anybody."""
    small_bench.settings.keys.operators.chmod(0o644)
    assert 401 == program.get("/api/state").status_code


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://testserver.evil.example"])
def test_a_change_by_cookie_must_come_from_our_pages(
    small_bench: LedgerBench, browser: TestClient, origin: str | None
) -> None:
    """A foreign page can make a browser send the cookie, not our Origin."""
    pupil = small_bench.pupil()
    headers = {} if origin is None else {"Origin": origin}
    assert 403 == browser.post(f"/eleves/{pupil}/depart", headers=headers).status_code
    assert 303 == browser.post(f"/eleves/{pupil}/depart", headers={"Origin": OURS}).status_code


def test_a_program_needs_no_origin_but_a_wrong_one_is_refused(program: TestClient) -> None:
    assert 201 == program.post("/api/pupils", json=pupil_body()).status_code
    assert 403 == program.post("/api/pupils", json=pupil_body(), headers={"Origin": "http://evil"}).status_code


def test_a_body_beyond_the_limit_is_refused(program: TestClient) -> None:
    """Announced or not."""
    assert 413 == program.post("/api/pupils", content=b"x" * 2_200_000).status_code

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    assert 413 == program.post("/api/pupils", content=endless()).status_code


def test_every_answer_forbids_foreign_content(browser: TestClient) -> None:
    """No script but our own file, nothing inline, no frame, no cache."""
    answer = browser.get("/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "no-store" == answer.headers["cache-control"]
    for markup in ("style=", "onclick", "<script>", "http://", "https://"):
        assert markup not in answer.text


def test_a_refused_body_is_not_repeated(program: TestClient) -> None:
    """A name or code that did not fit must not come back in an answer, a log or an error page."""
    answer = program.post("/api/pupils", json=pupil_body(code="secret-name-and-more", extra="Léa"))
    assert 422 == answer.status_code
    assert "secret" not in answer.text
    assert "Léa" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'[{"first_name": "\xff"}]',
        b"null",
        b'[{"first_name":1,"last_name":2,"class_name":3}]',
        b"[" * 50_000,
    ],
)
def test_garbage_bodies_are_a_clear_error(program: TestClient, body: bytes) -> None:
    answer = program.post("/api/pupils", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert 200 == program.get("/api/state").status_code


@pytest.mark.parametrize("code", ["1235", "12", "abcd", "١٢٣٤"])
def test_a_fixed_code_must_be_valid(program: TestClient, code: str) -> None:
    assert 422 == program.post("/api/pupils", json=pupil_body(code=code)).status_code


def test_a_taken_code_adds_nobody(program: TestClient) -> None:
    """All or none."""
    (first,) = program.post("/api/pupils", json=pupil_body()).json()
    two = pupil_body(first_name="Noé") + pupil_body(code=first["code"])
    assert 409 == program.post("/api/pupils", json=two).status_code
    assert 1 == len(program.get("/api/pupils").json())


def test_codes_are_shown_only_when_asked_for_and_that_is_audited(small_bench: LedgerBench, program: TestClient) -> None:
    (added,) = program.post("/api/pupils", json=pupil_body()).json()
    assert "code" not in program.get("/api/pupils").json()[0]
    assert added["code"] == program.get("/api/pupils?codes=1").json()[0]["code"]
    assert [("Mme Roux", "added-pupils", "1"), ("Mme Roux", "saw-roster", ""), ("Mme Roux", "saw-codes", "")] == (
        actions(small_bench)
    )


def test_a_bad_key_registers_no_device(program: TestClient) -> None:
    """One that nobody can seal for would stop every order after it."""
    from base64 import b64encode

    good = b64encode(bytes(range(32))).decode()
    for verifying, sealing in (("", good), (good, "!"), (good, b64encode(bytes(32)).decode())):
        body = {"device": "terminal-1", "role": "terminal", "verifying_key": verifying, "sealing_key": sealing}
        assert 422 == program.post("/api/devices", json=body).status_code
    body = {"device": "Terminal/#", "role": "terminal", "verifying_key": good, "sealing_key": good}
    assert 422 == program.post("/api/devices", json=body).status_code


@pytest.mark.parametrize(
    "path", ["/api/pupils/p-0000000000000000/departure", "/api/pupils/x/departure", "/api/cards/9/block"]
)
def test_what_is_not_here_is_not_found(program: TestClient, path: str) -> None:
    assert 404 == program.post(path).status_code


def test_a_calendar_is_checked_kept_and_told(small_bench: LedgerBench, program: TestClient) -> None:
    from sync.orders import CalendarOrder

    terminal = small_bench.device("terminal-1")
    small_bench.answer_all(terminal)
    period = {"name": "soir", "weekdays": [0, 1], "starts_minute": 1080, "ends_minute": 1200}
    asked = {"timezone": "Europe/Paris", "periods": [period], "closed_days": ["2026-12-25"], "school_name": "Lycée"}
    assert 422 == program.put("/api/calendar", json={**asked, "timezone": "Mars/Olympus"}).status_code
    assert 422 == program.put("/api/calendar", json={**asked, "closed_days": ["yesterday"]}).status_code
    assert 200 == program.put("/api/calendar", json=asked).status_code
    ((_, order),) = small_bench.orders(terminal)
    assert isinstance(order, CalendarOrder)
    assert ("Lycée", ["soir"]) == (order.school_name, [p.name for p in order.calendar.periods])
