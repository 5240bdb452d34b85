"""What devices tell of themselves and of cards: checkups, and numbers that are on no card any more."""

from __future__ import annotations

from sqlalchemy import select

from billing_server.models import Alarm, Entry
from billing_server.reading import device_states
from canteen.credentials import CardNumber
from sync.facts import BoardKeyed, CardIssued, CardRetired, DeviceChecked
from sync.orders import CardBlocked, DeviceRole
from tests.unit.billing_server.ledger_bench import LedgerBench, hours

pytest_plugins = ("tests.unit.billing_server.databases",)


def test_what_a_device_finds_of_itself_is_shown(bench: LedgerBench) -> None:
    """The newest word counts, whatever order they come in; names of checks and firmware alone."""
    terminal = bench.device("terminal-1")
    bench.send(terminal, terminal.note(DeviceChecked(("board",), ("disk",), ("101 ca57ee/7 1.2.3",))))
    bench.clock.advance(60)
    bench.send(terminal, terminal.note(DeviceChecked((), ("newer-check",))))
    with bench.services.database.reading() as session:
        (state,) = device_states(session)
        assert state.checkup is not None
        assert ("", "newer-check", "") == (state.checkup.at_risk, state.checkup.watch, state.checkup.firmware)


def test_when_a_boards_key_was_seen_to_is_shown(bench: LedgerBench) -> None:
    """Of each board the newest word, whatever order they come in; a station has no such boards."""
    terminal, station = bench.device("terminal-1"), bench.device("station-1", DeviceRole.STATION)
    noon = bench.clock.utc_now()
    terminal.note(BoardKeyed(102, "refused"), at=noon + hours(1))
    terminal.note(BoardKeyed(101, "installed"), BoardKeyed(102, "installed"), at=noon)
    terminal.note(BoardKeyed(101, "a word of tomorrow's"), at=noon + hours(2))
    bench.send(terminal)
    bench.send(station, station.note(BoardKeyed(101, "installed")))
    with bench.services.database.reading() as session:
        keys = {state.device.device: state.board_keys for state in device_states(session)}
        assert [] == keys["station-1"]
        assert [(101, "a word of tomorrow's", noon + hours(2)), (102, "refused", noon + hours(1))] == [
            (key.address, key.outcome, key.at) for key in keys["terminal-1"]
        ]


def test_a_retired_card_is_blocked_everywhere(bench: LedgerBench) -> None:
    """Its number opens nothing at any device; a number nobody knows, and a seal of another's, change nothing."""
    terminal, station = bench.device("terminal-1"), bench.device("station-1", DeviceRole.STATION)
    pupil, number = bench.pupil(), CardNumber("04A1B2C3D4E5F6")
    seal = bench.services.opening_key.sealing_key.seal
    octets = number.hexadecimal.encode("ascii")
    context = {"v": 1, "what": "card", "station": "station-1", "pupil": pupil}
    bench.send(station, station.note(CardIssued(pupil, seal(octets, context))))
    retiring = {"v": 1, "what": "card-retired", "station": "station-1"}
    bench.send(station, station.note(CardRetired(seal(b"04000000000001", retiring))))
    assert [] == [order for _, order in bench.orders(terminal) if isinstance(order, CardBlocked)]
    bench.send(station, station.note(CardRetired(seal(octets, retiring)), CardRetired(seal(octets, retiring))))
    assert [CardBlocked(number)] == [order for _, order in bench.orders(terminal) if isinstance(order, CardBlocked)]
    bench.send(station, station.note(CardRetired(seal(octets, context))))
    with bench.services.database.reading() as session:
        assert ["card-unreadable"] == [alarm.kind for alarm in session.scalars(select(Alarm))]
        bodies = session.scalars(select(Entry.body).where(Entry.kind == "card-retired")).all()
        assert [None] * 4 == list(bodies)
    bench.send(terminal, terminal.note(CardRetired(seal(octets, retiring))))
    with bench.services.database.reading() as session:
        assert "not-its-fact" in {alarm.kind for alarm in session.scalars(select(Alarm))}
