"""The fast reader of batches and the protocol's own give one answer to any bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing_server.batch_reading import ReadEntry, as_read, read_entries
from billing_server.pass_bodies import pass_body_of, read_pass_bodies, read_pass_body
from canteen.clock import ManualClock
from canteen.identifiers import DeviceId
from canteen.meal_pass import PassCompleted, PassFact
from sync.errors import MalformedMessage
from sync.fact_bodies import read_fact, write_fact
from sync.messages import JournalEntry, read_batch, write_batch
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import SignedDevice, denied, granted

NOON = datetime(2026, 11, 23, 11, tzinfo=UTC)


def _journal() -> list[JournalEntry]:
    from canteen.identifiers import new_pupil_id

    terminal = SignedDevice(DeviceId("terminal-1"), DeviceRole.TERMINAL, ManualClock(NOON))
    for _ in range(3):
        grant = granted(new_pupil_id())
        terminal.note(grant, PassCompleted(grant.pass_id), denied())
    return terminal.journal


JOURNAL = _journal()
WIRE = write_batch(JOURNAL)


def _by_the_protocol(untrusted: bytes) -> list[ReadEntry] | None:
    try:
        return [as_read(entry) for entry in read_batch(untrusted)]
    except MalformedMessage:
        return None


def _fast(untrusted: bytes) -> list[ReadEntry] | None:
    try:
        return read_entries(untrusted)
    except MalformedMessage:
        return None


@given(st.integers(0, len(WIRE)), st.integers(0, 12), st.binary(max_size=12))
@settings(max_examples=400, deadline=None)
@example(0, 0, b"")
@example(len(WIRE) - 8, 0, b",")
def test_any_change_reads_the_same(at: int, gone: int, put: bytes) -> None:
    """Cut, put in, put over: anywhere."""
    changed = WIRE[:at] + put + WIRE[at + gone :]
    assert _by_the_protocol(changed) == _fast(changed)


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_bodies = st.dictionaries(st.text(max_size=8), _scalars | st.lists(_scalars, max_size=2), max_size=5)


@given(_bodies, st.booleans(), st.sampled_from(["T", " "]), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_any_body_reads_the_same(body: dict[str, Any], in_order: bool, between: str, more_signature: int) -> None:
    """Canonical or not: floats, nested, escaped, signed zeros, keys out of order."""
    entry = json.loads(write_batch(JOURNAL[:1]))["entries"][0]
    entry["body"] = body
    entry["header"]["recorded_at"] = entry["header"]["recorded_at"].replace("T", between)
    entry["signature"] = "A" * 84 + "AA==" + "A" * more_signature
    message = {"entries": [entry], "v": 1}
    wire = json.dumps(message, sort_keys=in_order, separators=(",", ":"), ensure_ascii=False)
    untrusted = wire.encode("utf-8", "surrogatepass")
    assert _by_the_protocol(untrusted) == _fast(untrusted)


def test_what_terminals_send_is_read_fast() -> None:
    """And not only after the protocol's reader was asked too."""
    from billing_server.batch_reading import _read_canonical

    assert [as_read(entry) for entry in JOURNAL] == list(_read_canonical(WIRE))


_GOOD = {kind: write_fact(fact)[1] for kind, fact in ((e.kind, read_fact(e.kind, e.body)) for e in JOURNAL)}
_words = st.sampled_from(
    ["hand", "card", "forfait-4", "midi", "2026-11-23", "20261123", "2026-W48-1", "2026-02-30", ""]
)
_ids = st.sampled_from(["p-0123456789abcdef", "p-0123456789ABCDEF", "m-0123456789abcdef01234567", "m-1", "p-1\n"])
_values = _scalars | _words | _ids


@given(st.sampled_from(sorted(_GOOD)), st.sampled_from(sorted(_GOOD)), st.data())
@settings(max_examples=400, deadline=None)
def test_a_pass_body_means_what_the_protocol_says(kind: str, shape: str, data: st.DataObject) -> None:
    """Whatever msgspec takes for a pass, the protocol's own reader takes for the same pass."""
    body: dict[str, Any] = {**_GOOD[shape], "nonce": "AAAAAAAAAAAAAAAA"}
    for name in data.draw(st.sets(st.sampled_from([*sorted(body), "more"]), max_size=2)):
        body[name] = data.draw(_values)
    wire = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    read = read_pass_body(kind, wire)
    if read is not None:
        fact = read_fact(kind, body)
        assert isinstance(fact, PassFact)
        expected = pass_body_of(fact)
        expected.nonce = body["nonce"]
        assert expected == read


def test_what_terminals_write_of_passes_is_read_fast() -> None:
    assert all(as_read(entry).pass_body is not None for entry in JOURNAL)


_BODIES = [json.dumps(body, sort_keys=True, separators=(",", ":")).encode() for body in (*_GOOD.values(), {"a": 1}, {})]


@given(st.lists(st.tuples(st.sampled_from([*sorted(_GOOD), "device-checked"]), st.sampled_from(_BODIES)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_bodies_together_read_as_one_by_one(some: list[tuple[str, bytes]]) -> None:
    kinds, octets = [kind for kind, _ in some], [body for _, body in some]
    assert [read_pass_body(*one) for one in some] == read_pass_bodies(kinds, octets)
