"""The officer's check: with the devices' own keys, on signed bytes alone, in words and by the exit status."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canteen.identifiers import PurgeId
from sync.errors import MalformedMessage
from sync.orders import PurgeCause, PurgeOrder, PurgeScope
from sync.purge_receipts import Verdict, check_document, device_receipts
from sync.signing import SigningKey, VerifyingKey
from terminal import main as program
from terminal import purge_command
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice
from tests.unit.terminal.lane import NOON, TERMINAL, TERMINAL_KEY, School, pupil_id

pytest_plugins = ("tests.unit.billing_server.databases",)


@pytest.fixture
def receipts(small_bench: LedgerBench) -> tuple[SignedDevice, Any]:
    """A departure that its one terminal has confirmed, and the server's file of it."""
    terminal = small_bench.device("terminal-1")
    pupil = small_bench.pupil()
    with small_bench.services.database.writing() as session:
        small_bench.services.purges.depart(session, pupil, PurgeCause.END_OF_SCHOOLING, "Mme Roux")
    small_bench.answer_all(terminal)
    with small_bench.services.database.reading() as session:
        return terminal, json.loads(json.dumps(small_bench.services.evidence.export(session)))


def _written(folder: Path, document: Any) -> str:
    path = folder / "recus.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def _key(device: str, key: VerifyingKey) -> str:
    return f"--key={device}={base64.b64encode(key.octets).decode()}"


def test_everything_the_issuer_promises_is_said(
    receipts: tuple[SignedDevice, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who asked, why, which holder, which record, when, the epochs: in French, then in English."""
    terminal, document = receipts
    path = _written(tmp_path, document)
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    key = _key("terminal-1", terminal.signing.verifying_key)
    assert 0 == program.main(["purge", "verify", path, key])
    said = capsys.readouterr().out
    for part in ("Mme Roux", "fin de la scolarité", "terminal-1", "ab" * 32, "2026-11-23 11:00:00", "4 avant, 5 après"):
        assert part in said
    assert "BON" in said
    assert "que vous avez donnée : terminal-1" in said
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    assert 0 == program.main(["purge", "verify", path])
    said = capsys.readouterr().out
    assert "end of schooling" in said
    assert "asked for by Mme Roux" in said
    assert "canteen-terminal keys" in said


def test_a_server_that_makes_receipts_up_is_found_out(receipts: tuple[SignedDevice, Any], tmp_path: Path) -> None:
    """It can sign the file, name a key of its own for the device, sign receipts with that: not with the true one."""
    terminal, document = receipts
    forger = SigningKey(b"f" * 32)
    statement = document["statement"]
    statement["devices"][0]["verifying_key"] = base64.b64encode(forger.verifying_key.octets).decode()
    receipt = statement["purges"][0]["holders"][0]["receipt"]
    from sync.signing import Purpose

    receipt["signature"] = base64.b64encode(forger.sign(Purpose.JOURNAL_ENTRY, receipt["header"])).decode()
    document["verifying_key"] = base64.b64encode(forger.verifying_key.octets).decode()
    document["signature"] = base64.b64encode(forger.sign(Purpose.PURGE_RECEIPTS, statement)).decode()
    path = _written(tmp_path, document)
    assert 0 == purge_command.main(["verify", path])
    assert 1 == purge_command.main(["verify", path, _key("terminal-1", terminal.signing.verifying_key)])
    checked = check_document(document, {"terminal-1": terminal.signing.verifying_key})
    assert ("terminal-1",) == checked.false_keys
    assert [Verdict.BAD_SIGNATURE] == [one.verdict for one in checked.receipts]
    assert checked.receipts[0].receipt is None


def test_a_missing_receipt_is_said_by_the_exit_status(receipts: tuple[SignedDevice, Any], tmp_path: Path) -> None:
    """And a file that is none of ours, or a key that is none, by another."""
    _, document = receipts
    document["statement"]["purges"][0]["holders"][0].update(confirmed=False)
    assert 1 == purge_command.main(["verify", _written(tmp_path, document)])
    for noise in ("", "{}", "[" * 10_000, '{"purpose":"canteen purge receipts v1","statement":{}}', '"\\ud800"'):
        (tmp_path / "noise").write_text(noise)
        assert 2 == purge_command.main(["verify", str(tmp_path / "noise")])
    assert 2 == purge_command.main(["verify", str(tmp_path / "none")])
    assert 2 == purge_command.main(["verify", _written(tmp_path, document), "--key=terminal-1"])


def test_a_terminals_own_receipts_need_nothing_of_the_server(school: School) -> None:
    """Straight from its journal: the same check, and a changed byte shows."""
    order = PurgeOrder(
        PurgeId("u-" + "1" * 16), pupil_id(1), PurgeScope.REFERENCE, PurgeCause.WITHDRAWAL, NOON, "Mme Roux"
    )
    school.order(order)
    school.settle(2.0)
    document = json.loads(json.dumps(device_receipts(school.journal, TERMINAL, TERMINAL_KEY.verifying_key)))
    (one,) = check_document(document, {TERMINAL: TERMINAL_KEY.verifying_key}).receipts
    assert one.receipt is not None
    assert (Verdict.HOLDS, "Mme Roux", PurgeCause.WITHDRAWAL) == (one.verdict, one.receipt.asked_by, one.receipt.cause)
    assert one.receipt.record_digest is not None
    document["receipts"][0]["body"]["asked_by"] = "M. Autre"
    (one,) = check_document(document).receipts
    assert Verdict.BAD_SIGNATURE == one.verdict


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "purpose",
                    "statement",
                    "devices",
                    "device",
                    "verifying_key",
                    "purges",
                    "holders",
                    "receipt",
                    "signature",
                ]
            )
            | st.text(max_size=8),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(document=json_values, purpose=st.sampled_from(["canteen purge receipts v1", "canteen device receipts v1"]))
@settings(deadline=None, max_examples=200)
def test_garbage_is_no_file_of_receipts(document: Any, purpose: str) -> None:
    """Whatever is in it: refused by name."""
    if isinstance(document, dict):
        document["purpose"] = purpose
    with pytest.raises(MalformedMessage):
        check_document(document)
