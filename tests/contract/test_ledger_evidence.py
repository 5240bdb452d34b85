"""The officer's papers: certificates and receipts that hold offline, and do not once anything in them was changed."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from billing_server import main as program
from billing_server.app import make_app
from billing_server.errors import NotADocument
from billing_server.models import Alarm, Purge
from billing_server.verifying import verify_file
from canteen.identifiers import PurgeId
from sync.orders import DeviceRole, PurgeCause
from tests.unit.billing_server.ledger_bench import LedgerBench

pytest_plugins = ("tests.unit.billing_server.databases",)


def purged(bench: LedgerBench) -> PurgeId:
    """A departure that the terminal has confirmed and the station has not."""
    terminal = bench.device("terminal-1")
    bench.device("station-1", DeviceRole.STATION)
    pupil = bench.pupil("Prénomrare", "Nomtrèsrare")
    with bench.services.database.writing() as session:
        purge = bench.services.purges.depart(session, pupil, PurgeCause.DEPARTURE, "Mme Roux")
    bench.answer_all(terminal)
    return purge


def exported(bench: LedgerBench) -> Any:
    with bench.services.database.reading() as session:
        return json.loads(json.dumps(bench.services.evidence.export(session)))


def written(folder: Path, document: Any) -> Path:
    path = folder / "receipts.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_receipts_are_checked_with_public_keys_alone(bench: LedgerBench, tmp_path: Path) -> None:
    """Nothing of the server is needed but its public key; who has not confirmed is said."""
    purge = purged(bench)
    path = written(tmp_path, exported(bench))
    found = verify_file(path, bench.services.signing_key.verifying_key.octets)
    assert [
        ("server signature", True),
        ("server key is the expected one", True),
        (f"{purge} station-1: no receipt", False),
        (f"{purge} terminal-1: receipt", True),
    ] == [(finding.what, finding.good) for finding in found]
    assert "Nomtrèsrare" not in path.read_text(encoding="utf-8")


def _of_terminal(document: Any) -> Any:
    return next(h for h in document["statement"]["purges"][0]["holders"] if h["device"] == "terminal-1")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: _of_terminal(d)["receipt"]["body"].update(pupil="p-0000000000000000"),
        lambda d: _of_terminal(d)["receipt"]["header"].update(sequence=99),
        lambda d: _of_terminal(d).update(device="station-1"),
        lambda d: d["statement"]["purges"][0].update(pupil="p-0000000000000000"),
        lambda d: d["statement"]["devices"][1].update(verifying_key=b64encode(bytes(32)).decode()),
    ],
)
def test_a_changed_receipt_is_found_even_by_who_could_sign_the_file_again(
    small_bench: LedgerBench, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    """The receipts carry the devices' own signatures: a taken-over server cannot make them."""
    purged(small_bench)
    document = exported(small_bench)
    change(document)
    found = verify_file(written(tmp_path, document))
    assert not found[0].good
    assert not any(finding.good for finding in found if "receipt" in finding.what)


def test_the_command_says_it_by_its_exit_code(small_bench: LedgerBench, tmp_path: Path) -> None:
    """0: all holds; 1: something does not; 2: not a file of ours."""
    purged(small_bench)
    with small_bench.services.database.reading() as session:
        purge = session.scalars(select(Purge)).one()
        certificate = small_bench.services.evidence.certificate(session, purge)
    assert 0 == program.main(["verify", str(written(tmp_path, certificate))])
    assert 1 == program.main(["verify-receipts", str(written(tmp_path, exported(small_bench)))])
    for noise in (b"", b"{}", b"\xff", b"[" * 100_000, b'{"purpose":"canteen purge receipts v1","statement":{}}'):
        (tmp_path / "noise").write_bytes(noise)
        with pytest.raises(NotADocument):
            verify_file(tmp_path / "noise")
        assert 2 == program.main(["verify", str(tmp_path / "noise")])
    assert 2 == program.main(["verify", str(tmp_path / "none")])


def test_at_the_deadline_the_record_says_that_the_lease_has_ended_it(bench: LedgerBench) -> None:
    """Three days before: an alarm; at the deadline another, and the lease of who was not heard is over."""
    purge = purged(bench)

    def kinds() -> list[str]:
        bench.services.housekeeping.round()
        with bench.services.database.reading() as session:
            return list(session.scalars(select(Alarm.kind).where(Alarm.closed_at.is_(None))))

    assert [] == kinds()
    bench.clock.advance(timedelta(days=4, minutes=1).total_seconds())
    assert ["purge-due-soon"] == kinds()
    bench.clock.advance(timedelta(days=3).total_seconds())
    assert ["purge-overdue"] == kinds()
    with bench.services.database.reading() as session:
        assert bench.clock.utc_now() == session.get_one(Purge, purge).lease_ended_at
    found = {finding.what: finding.good for finding in _found(bench)}
    assert found[f"{purge} station-1: no receipt, lease ended"]


def test_a_holder_that_was_heard_lately_may_still_have_its_lease(bench: LedgerBench) -> None:
    """In touch and yet no receipt: nothing has ended by itself, and the record does not say so."""
    from sync.greeting import Hello, write_hello
    from sync.messages import topic_up

    purge = purged(bench)
    bench.clock.advance(timedelta(days=6).total_seconds())
    bench.services.ingest.take_hello(topic_up("station-1", "hello"), write_hello(Hello(0)))
    bench.clock.advance(timedelta(days=2).total_seconds())
    bench.services.housekeeping.round()
    with bench.services.database.reading() as session:
        assert session.get_one(Purge, purge).lease_ended_at is None


def _found(bench: LedgerBench) -> list[Any]:
    return verify_file(written(bench.folder, exported(bench)))


def test_the_page_gives_both(small_bench: LedgerBench) -> None:
    purge = purged(small_bench)
    token = small_bench.services.operators.add("Mme Roux")
    with TestClient(make_app(small_bench.services), headers={"Authorization": f"Bearer {token}"}) as client:
        pdf = client.get(f"/purges/{purge}/certificat.pdf")
        assert ("application/pdf", b"%PDF-") == (pdf.headers["Content-Type"], pdf.content[:5])
        assert client.get(f"/purges/{purge}/certificat.json").json()["statement"]["purge"] == purge
        assert "attachment" in client.get("/api/purges/export").headers["Content-Disposition"]
        assert 404 == client.get("/purges/p-0/certificat.pdf").status_code
        assert f"/purges/{purge}/certificat.pdf" in client.get("/purges").text
