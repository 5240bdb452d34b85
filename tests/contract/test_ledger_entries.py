"""Every entry once, in its place, whatever is sent how often; on both databases."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import func, select

from billing_server.models import Alarm, Denial, Entry, ForkedEntry, Journal, MealPassRow
from canteen.access_decision import Reason
from canteen.meal_pass import PassAbandoned, PassCompleted
from sync.facts import OrderApplied
from sync.messages import GENESIS, topic_up, write_batch
from sync.orders import PurgeCause, PurgeOrder
from sync.signing import SigningKey
from tests.unit.billing_server.ledger_bench import LedgerBench, SignedDevice, denied, granted, receipt_for

pytest_plugins = ("tests.unit.billing_server.databases",)


@pytest.fixture
def terminal(bench: LedgerBench) -> SignedDevice:
    return bench.device("terminal-1")


def alarms(bench: LedgerBench) -> list[tuple[str, str]]:
    """Kind and detail of the open alarms."""
    with bench.services.database.reading() as session:
        rows = session.scalars(select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id))
        return [(row.kind, row.detail) for row in rows]


def stored(bench: LedgerBench) -> list[tuple[str, int, str]]:
    with bench.services.database.reading() as session:
        rows = session.execute(
            select(Entry.generation, Entry.sequence, Entry.digest).order_by(Entry.generation, Entry.sequence)
        )
        return [(row.generation, row.sequence, row.digest) for row in rows]


def count(bench: LedgerBench, table: type[MealPassRow | Denial | ForkedEntry]) -> int:
    with bench.services.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_pass_is_in_the_ledger_with_its_outcome(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A grant and its completion are one row, acknowledged up to the last entry."""
    pupil = bench.pupil()
    grant = granted(pupil)
    terminal.note(grant, PassCompleted(grant.pass_id), denied(pupil, Reason.ALREADY_SERVED))
    acknowledged = bench.send(terminal)
    assert [(3, terminal.journal[-1].digest)] == [(a.sequence, a.entry_digest) for a in acknowledged]
    with bench.services.database.reading() as session:
        row = session.scalars(select(MealPassRow)).one()
        assert ("completed", "midi", "hand", 1, 1) == (
            row.outcome,
            row.period,
            row.method,
            row.position,
            row.outcome_position,
        )
        assert terminal.journal[0].recorded_at == row.granted_at
        denial = session.scalars(select(Denial)).one()
        assert ("already-served", row.day, 1) == (denial.reason, denial.day, denial.position)


def test_an_outcome_may_come_in_a_later_batch(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The pass is open in between."""
    grant = granted(bench.pupil())
    bench.send(terminal, terminal.note(grant))
    bench.send(terminal, terminal.note(PassAbandoned(grant.pass_id)))
    with bench.services.database.reading() as session:
        assert "abandoned" == session.scalars(select(MealPassRow)).one().outcome


def test_the_same_batch_again_is_harmless(bench: LedgerBench, terminal: SignedDevice) -> None:
    """And is acknowledged again, since the first acknowledgement may have been lost."""
    terminal.note(granted(bench.pupil()), denied())
    first, again = bench.send(terminal), bench.send(terminal)
    assert [2] == [a.sequence for a in again] == [a.sequence for a in first]
    assert (2, 1, 1) == (len(stored(bench)), count(bench, MealPassRow), count(bench, Denial))
    assert [] == alarms(bench)


def test_a_kill_between_commit_and_acknowledgement_loses_nothing(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The device sends again, the restarted server knows the entries and acknowledges them."""
    terminal.note(granted(bench.pupil()), denied())
    bench.published.connected = False
    assert [] == bench.send(terminal)
    bench.close()
    bench.restart()
    assert [2] == [a.sequence for a in bench.send(terminal)]
    assert (2, 1) == (len(stored(bench)), count(bench, MealPassRow))


def test_entries_may_come_in_any_order_within_a_batch(bench: LedgerBench, terminal: SignedDevice) -> None:
    """They are put in order before they are judged."""
    terminal.note(*(denied() for _ in range(5)))
    assert [5] == [a.sequence for a in bench.send(terminal, [terminal.journal[i] for i in (3, 0, 4, 1, 2, 0)])]
    assert [1, 2, 3, 4, 5] == [sequence for _, sequence, _ in stored(bench)]


def test_nothing_beyond_a_gap_is_taken(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The acknowledgement says how far the ledger is, the alarm what is missing; both are over when it comes."""
    terminal.note(*(denied() for _ in range(6)))
    bench.send(terminal, terminal.journal[:2])
    assert [2] == [a.sequence for a in bench.send(terminal, terminal.journal[4:])]
    assert [("gap", "3-4")] == alarms(bench)
    assert [6] == [a.sequence for a in bench.send(terminal, terminal.journal[2:])]
    assert [] == alarms(bench)


def test_a_journal_that_begins_in_the_middle_waits_for_its_beginning(
    bench: LedgerBench, terminal: SignedDevice
) -> None:
    terminal.note(denied(), denied())
    acknowledged = bench.send(terminal, terminal.journal[1:])
    assert [(0, GENESIS)] == [(a.sequence, a.entry_digest) for a in acknowledged]
    assert [] == stored(bench)


def test_another_entry_in_a_taken_place_is_a_fork_and_both_are_kept(bench: LedgerBench, terminal: SignedDevice) -> None:
    """An old storage card was put back: the ledger keeps its own and remembers the other, once."""
    terminal.note(denied(), denied(), denied())
    bench.send(terminal)
    other = terminal.sign(granted(bench.pupil()), 2, terminal.journal[0].digest)
    before = stored(bench)
    bench.send(terminal, [other])
    bench.send(terminal, [other])
    assert before == stored(bench)
    assert (1, 0) == (count(bench, ForkedEntry), count(bench, MealPassRow))
    assert [("fork", "2")] == alarms(bench)


def test_an_entry_that_does_not_chain_is_a_fork_too(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The branch goes on where our journal ends: its entries are kept apart, never mixed in."""
    terminal.note(denied(), denied())
    bench.send(terminal)
    assert [2] == [a.sequence for a in bench.send(terminal, [terminal.sign(denied(), 3, "ab" * 32)])]
    assert (2, 1) == (len(stored(bench)), count(bench, ForkedEntry))


def test_a_bad_signature_stops_the_batch_there(bench: LedgerBench, terminal: SignedDevice) -> None:
    """What stood before it is durable; it and the rest are refused and counted."""
    terminal.note(denied(), denied(), denied())
    stranger = dataclasses.replace(terminal, signing=SigningKey(bytes(32)))
    forged = stranger.sign(granted(bench.pupil()), 2, terminal.journal[0].digest)
    assert [1] == [a.sequence for a in bench.send(terminal, [terminal.journal[0], forged, terminal.journal[2]])]
    assert ["bad-signature"] == [kind for kind, _ in alarms(bench)]
    assert [3] == [a.sequence for a in bench.send(terminal)]


def test_the_last_signature_vouches_for_a_straight_chain(bench: LedgerBench, terminal: SignedDevice) -> None:
    """Each entry names the digest of the one before: nobody but the device can have made the earlier ones."""
    terminal.note(denied(), denied(), denied())
    spoiled = [dataclasses.replace(entry, signature=bytes(64)) for entry in terminal.journal[:2]]
    assert [3] == [a.sequence for a in bench.send(terminal, [*spoiled, terminal.journal[2]])]
    terminal.note(denied(), denied())
    last = dataclasses.replace(terminal.journal[4], signature=bytes(64))
    assert [4] == [a.sequence for a in bench.send(terminal, [terminal.journal[3], last])]
    assert ["bad-signature"] == [kind for kind, _ in alarms(bench)]


def test_a_receipt_is_taken_on_its_own_signature_only(bench: LedgerBench, terminal: SignedDevice) -> None:
    """An officer has nothing but the receipt and the key."""
    bench.answer_all(terminal)
    with bench.services.database.writing() as session:
        bench.services.purges.depart(session, bench.pupil(), PurgeCause.DEPARTURE, "Mme Roux")
    for number, order in bench.orders(terminal):
        if isinstance(order, PurgeOrder):
            terminal.note(receipt_for(order, bench.clock.utc_now()), OrderApplied(number), denied())
    receipt = next(entry for entry in terminal.journal if entry.kind == "purge-receipt")
    spoiled = dataclasses.replace(receipt, signature=bytes(64))
    sent = [spoiled if entry is receipt else entry for entry in terminal.journal]
    assert [receipt.sequence - 1] == [a.sequence for a in bench.send(terminal, sent)]
    assert [len(terminal.journal)] == [a.sequence for a in bench.send(terminal)]


def test_a_changed_body_is_a_bad_signature(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The header holds the body's digest."""
    entry = terminal.note(granted(bench.pupil()))[0]
    changed = dataclasses.replace(entry, body={**entry.body, "method": "card"})
    assert [0] == [a.sequence for a in bench.send(terminal, [changed])]


def test_entries_of_another_device_are_refused(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A device may write its own journal only, whatever the broker let through."""
    other = bench.device("terminal-2")
    other.note(denied())
    bench.services.ingest.take_journal(topic_up(terminal.name, "journal"), write_batch(other.journal))
    assert [] == stored(bench)


def test_an_unregistered_device_gets_no_answer(bench: LedgerBench) -> None:
    """Nothing is stored and nothing is said."""
    from canteen.identifiers import DeviceId
    from sync.orders import DeviceRole

    stranger = SignedDevice(DeviceId("stranger"), DeviceRole.TERMINAL, bench.clock)
    stranger.note(denied())
    assert [] == bench.send(stranger)
    assert [] == stored(bench)


def test_a_second_generation_is_taken_and_said(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A terminal that was replaced or reset begins again at 1: on the record, not an error."""
    terminal.note(denied())
    bench.send(terminal)
    terminal.generation, terminal.journal = "0" * 16, []
    terminal.note(denied(), denied())
    assert [2] == [a.sequence for a in bench.send(terminal)]
    assert ["new-generation"] == [kind for kind, _ in alarms(bench)]
    with bench.services.database.reading() as session:
        assert [1, 2] == sorted(session.scalars(select(Journal.up_to)))


def test_a_fact_we_do_not_know_is_kept_and_does_not_stop_the_next(bench: LedgerBench, terminal: SignedDevice) -> None:
    """A terminal may be newer than the server: its entries must not be lost, nor its passes held up."""
    terminal.note(denied(), denied())
    terminal.journal[0] = terminal.resigned(terminal.journal[0], "meal-reheated", {"bowl": 1})
    terminal.journal[1] = terminal.sign(granted(bench.pupil()), 2, terminal.journal[0].digest)
    assert [2] == [a.sequence for a in bench.send(terminal)]
    assert [("malformed-fact", "meal-reheated")] == alarms(bench)
    assert 1 == count(bench, MealPassRow)
    with bench.services.database.reading() as session:
        assert '{"bowl":1}' == session.scalars(select(Entry.body).where(Entry.sequence == 1)).one()


def test_a_pass_told_twice_counts_once(bench: LedgerBench, terminal: SignedDevice) -> None:
    """In one batch or in two."""
    grant = granted(bench.pupil())
    bench.send(terminal, terminal.note(grant, grant))
    bench.send(terminal, terminal.note(grant))
    assert 1 == count(bench, MealPassRow)
    assert {"pass-repeated"} == {kind for kind, _ in alarms(bench)}


def test_a_second_outcome_does_not_replace_the_first(bench: LedgerBench, terminal: SignedDevice) -> None:
    grant = granted(bench.pupil())
    bench.send(terminal, terminal.note(grant, PassCompleted(grant.pass_id), PassAbandoned(grant.pass_id)))
    bench.send(terminal, terminal.note(PassAbandoned(grant.pass_id)))
    with bench.services.database.reading() as session:
        assert "completed" == session.scalars(select(MealPassRow)).one().outcome
    assert {"outcome-conflict"} == {kind for kind, _ in alarms(bench)}


def test_a_station_lets_nobody_through(bench: LedgerBench) -> None:
    """A fact that is not the device's to tell is kept and alarmed, not acted on."""
    from sync.orders import DeviceRole

    station = bench.device("station-1", DeviceRole.STATION)
    station.note(granted(bench.pupil()))
    bench.send(station)
    assert 0 == count(bench, MealPassRow)
    assert ["not-its-fact"] == [kind for kind, _ in alarms(bench)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00\xff" * 100,
        b"[]",
        b'{"v":1}',
        b'{"v":1,"entries":[{}]}',
        b'{"v":2,"entries":[]}',
        b'{"v":1,"entries":[{"header":{"recorded_at":"0001-01-01T00:00:00+12:00"}}]}',
        b"[" * 100_000,
    ],
)
def test_garbage_is_refused_and_the_next_batch_is_as_welcome(
    bench: LedgerBench, terminal: SignedDevice, payload: bytes
) -> None:
    """Nothing is stored or said of it but a count."""
    bench.services.ingest.take_journal(topic_up(terminal.name, "journal"), payload)
    bench.services.ingest.take_hello(topic_up(terminal.name, "hello"), payload)
    bench.services.housekeeping.round()
    terminal.note(denied())
    assert [1] == [a.sequence for a in bench.send(terminal)]


def test_an_instant_without_utc_is_refused(bench: LedgerBench, terminal: SignedDevice) -> None:
    """The year 1 east of Greenwich: signed or not, it has no place on our calendar."""
    wire = write_batch(terminal.note(denied()))
    moved = wire.replace(b"2026-11-23T11:00:00.000000+00:00", b"0001-01-01T00:00:00.000000+12:00")
    assert moved != wire
    bench.services.ingest.take_journal(topic_up(terminal.name, "journal"), moved)
    assert [1] == [a.sequence for a in bench.send(terminal)]


def test_a_lone_surrogate_is_refused(bench: LedgerBench, terminal: SignedDevice) -> None:
    """It is JSON, but has no UTF-8: nobody can have signed it."""
    wire = write_batch(terminal.note(denied()))
    bench.services.ingest.take_journal(
        topic_up(terminal.name, "journal"), wire.replace(b'"nonce":"', b'"nonce":"\\ud800')
    )
    assert [] == stored(bench)


@pytest.mark.parametrize("first", range(7))
def test_batches_of_one_transaction_say_what_one_batch_says(bench: LedgerBench, first: int) -> None:
    """A grant and its outcome apart or together, an outcome before its grant: the first word of each pass stands."""
    device, pupil = bench.device("terminal-1"), bench.pupil()
    left, eaten, early = granted(pupil), granted(pupil), granted(pupil)
    device.note(left, PassAbandoned(left.pass_id), eaten)
    device.note(PassAbandoned(early.pass_id), early, PassCompleted(early.pass_id), PassCompleted(eaten.pass_id))
    parts = [part for part in (device.journal[:first], device.journal[first:]) if part]
    assert bench.services.ingest.take_journals(topic_up(device.name, "journal"), [write_batch(part) for part in parts])
    query = select(MealPassRow.pass_id, MealPassRow.outcome, MealPassRow.outcome_position)
    with bench.services.database.reading() as session:
        rows = session.execute(query.order_by(MealPassRow.position)).all()
    told = [(left, "abandoned", 1), (eaten, "completed", 3), (early, "abandoned", 2)]
    assert [(grant.pass_id, outcome, place) for grant, outcome, place in told] == [tuple(row) for row in rows]
    assert [("outcome-conflict", "pass-completed")] == alarms(bench)
