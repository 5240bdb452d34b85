"""Who comes in, what leaves a trace, and what a foreign page cannot do."""

from __future__ import annotations

import stat

import pytest

from enrollment_station.app import make_app
from enrollment_station.audit_log import AuditedAction
from enrollment_station.door import COOKIE
from tests.unit.enrollment_station.bench import ADA, CODES, Bench, Client

CARD = {"card": "04A1B2C3D4E5F6"}


def test_without_a_link_nobody_comes_in(bench: Bench) -> None:
    """401 with a way out on pages, JSON for programs; no name on either."""
    bench.fill()
    for path in ("/", f"/eleves/{ADA}", "/nothing"):
        answer = bench.client.get(path)
        assert 401 == answer.status_code
        assert "canteen-station operator" in answer.text
    for path in ("/api/eleves", "/api/etat"):
        answer = bench.client.get(path, headers={"Authorization": "Bearer wrong"})
        assert (401, {"error": "unauthorized"}) == (answer.status_code, answer.json())
    assert 401 == bench.client.post(f"/api/eleves/{ADA}/code").status_code
    assert 401 == bench.client.get("/entrer?jeton=wrong").status_code
    assert [] == bench.station.audit.entries()


def test_the_link_sets_a_cookie_that_scripts_cannot_read(bench: Bench) -> None:
    """HttpOnly, SameSite=Strict, then the list; the file keeps a digest only, for its owner alone."""
    bench.fill()
    answer = bench.client.get(f"/entrer?jeton={bench.token}")
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Desrosiers" in bench.client.get("/").text
    file = bench.folder / "operators.json"
    assert bench.token not in file.read_text()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


def test_a_renewed_or_removed_operator_is_out_at_once(bench: Bench) -> None:
    """A second link of the same name ends the first; so does a file that others can read."""
    renewed = bench.station.operators.add("Mme Delmas")
    assert 401 == bench.client.get("/api/etat", headers=bench.bearer).status_code
    bench.token = renewed
    assert 200 == bench.client.get("/api/etat", headers=bench.bearer).status_code
    (bench.folder / "operators.json").chmod(0o644)
    assert 401 == bench.client.get("/api/etat", headers=bench.bearer).status_code


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://station.evil.example", "http://[bad"])
def test_a_foreign_page_changes_nothing(bench: Bench, origin: str | None) -> None:
    """A change by cookie needs our own Origin."""
    bench.fill()
    headers = {"Cookie": f"{COOKIE}={bench.token}"} | ({"Origin": origin} if origin else {})
    assert 403 == bench.client.post(f"/api/eleves/{ADA}/carte", json=CARD, headers=headers).status_code
    assert not bench.station.store.has_card(ADA)
    headers["Origin"] = "http://station"
    assert 200 == bench.client.post(f"/api/eleves/{ADA}/carte", json=CARD, headers=headers).status_code


def test_pages_bring_nothing_from_elsewhere(bench: Bench) -> None:
    """A policy of our own origin only, no inline script or style, nothing cached."""
    bench.fill()
    for path in ("/", f"/eleves/{ADA}"):
        answer = bench.client.get(path, headers=bench.bearer)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "no-store" == answer.headers["cache-control"]
        assert "<style" not in answer.text
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text
        assert "http" not in answer.text.replace("http-equiv", "")


def test_every_look_leaves_a_line(bench: Bench) -> None:
    """Who, what, of whom: pseudonyms only, and the code is counted apart."""
    bench.fill()
    bench.client.get("/", headers=bench.bearer)
    bench.client.get(f"/eleves/{ADA}", headers=bench.bearer)
    assert {"code": CODES[ADA].digits} == bench.post(f"/api/eleves/{ADA}/code", {}).json()
    bench.client.get("/api/eleves", headers=bench.bearer)
    assert [
        ("Mme Delmas", AuditedAction.ROSTER_SEEN, None),
        ("Mme Delmas", AuditedAction.CODE_SEEN, ADA),
        ("Mme Delmas", AuditedAction.PUPIL_SEEN, ADA),
        ("Mme Delmas", AuditedAction.ROSTER_SEEN, None),
    ] == [(entry.operator, entry.action, entry.pupil) for entry in bench.station.audit.entries()]
    content = b"".join(path.read_bytes() for path in bench.folder.glob("audit.sqlite*"))
    for private in (b"Desrosiers", b"Philippine", CODES[ADA].digits.encode()):
        assert private not in content


def test_the_audit_log_is_append_only(bench: Bench) -> None:
    """Neither a change nor a deletion, also not with SQL; and a log that cannot be written shows nothing."""
    import sqlite3

    bench.fill()
    bench.client.get("/", headers=bench.bearer)
    for statement in ("DELETE FROM audit", "UPDATE audit SET operator = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError):
            bench.station.audit._connection.execute(statement)
    bench.station.audit._connection.execute("PRAGMA query_only = ON")
    answer = bench.client.get("/", headers=bench.bearer)
    assert 503 == answer.status_code
    assert "Desrosiers" not in answer.text
    bench.station.audit._connection.execute("PRAGMA query_only = OFF")


def test_names_are_escaped(bench: Bench) -> None:
    """A name is text, whatever the roster says."""
    from sync.orders import Roster, RosterPupil

    row = RosterPupil(ADA, "<script>alert(1)</script>", '"><img src=x>', "'6e", CODES[ADA], ())
    bench.apply(Roster((row,), whole=True))
    for path in ("/", f"/eleves/{ADA}", "/?q=%3Cscript%3E", "/?etat=%22%3E%3Cb%3E&classe=%3Ci%3E"):
        text = bench.client.get(path, headers=bench.bearer).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert '"><b>' not in text


def test_the_pages_speak_english_too(bench: Bench) -> None:
    """By the browser's wish, or by the address, which is remembered."""
    bench.fill()
    client = Client(make_app(bench.station), bench.bearer)
    assert "Élèves" in client.get("/").text
    assert "Pupils" in client.get("/", headers={"Accept-Language": "en-US,en;q=0.9,fr;q=0.8"}).text
    assert "Pupils" in client.get("/?lang=en").text
    assert "Pupils" in client.get("/").text
    assert "Élèves" in client.get("/?lang=fr").text
